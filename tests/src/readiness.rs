//! Waiting for a server that cannot say it is ready: an HTTP question asked again, inside the pod.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::pod::Pod;
use crate::process::{Command, Process};
use crate::report::HttpAnswer;

/// How long the question is repeated between looks at the server's process.
const LOOK_EVERY: Duration = Duration::from_millis(500);

fn question(pod: &Pod, at: SocketAddr, path: &str) -> Result<Command> {
    Ok(pod.agent("http")?.args(["--at", &at.to_string(), "--path", path]))
}

/// Asks `GET path` at `at` once, as `user`; any status is an answer.
pub fn http_get(pod: &Pod, user: (u32, u32), at: SocketAddr, path: &str) -> Result<HttpAnswer> {
    question(pod, at, path)?.user(user.0, user.1).run_json()
}

/// Asks, as root, until the answer is 200 and contains `text`; fails after `within`, or as soon as `server` has ended.
pub fn http_contains(
    server: &Process,
    at: SocketAddr,
    path: &str,
    text: &str,
    within: Duration,
) -> Result<HttpAnswer> {
    let deadline = Instant::now() + within;
    let patience = LOOK_EVERY.as_millis().to_string();
    loop {
        let asking =
            question(server.pod(), at, path)?.args(["--until-contains", text, "--patience-ms", &patience]);
        match asking.run_json() {
            Ok(answer) => return Ok(answer),
            Err(_) if !server.is_running() => bail!("{} ended: {}", server.line(), server.stderr().trim()),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("{}: {}", server.line(), server.stderr().trim())));
            }
            Err(_) => {}
        }
    }
}

/// Asks, as root, until the answer is 200.
pub fn http_ok(server: &Process, at: SocketAddr, path: &str, within: Duration) -> Result<HttpAnswer> {
    http_contains(server, at, path, "", within)
}
