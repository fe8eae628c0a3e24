//! Waiting for a server that cannot say it is ready: an HTTP question asked again, inside the pod.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::pod::Pod;
use crate::report::HttpAnswer;

/// Asks `GET path` at `at`, from inside `pod`, until the answer is 200; fails after `within`.
pub fn http_ok(pod: &Pod, at: SocketAddr, path: &str, within: Duration) -> Result<HttpAnswer> {
    pod.agent("http")?
        .args(["--at", &at.to_string(), "--path", path, "--until-ok-ms", &within.as_millis().to_string()])
        .run_json()
}

/// Asks `GET path` once, as `user`; any status is an answer.
pub fn http_get(pod: &Pod, user: (u32, u32), at: SocketAddr, path: &str) -> Result<HttpAnswer> {
    let command = pod.agent("http")?.user(user.0, user.1);
    command.args(["--at", &at.to_string(), "--path", path]).run_json()
}
