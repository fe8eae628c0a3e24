//! A JVM that asks its sockets how much waits (`InputStream.available`, which is FIONREAD) and reads no more.

use std::time::Duration;

use tests::requirement::Requirement;
use tests::server::APP_USER;

use crate::Program;

const SOURCE: &str = include_str!("Waiting.java");
const READY_WITHIN: Duration = Duration::from_secs(60);
const ASK: &str = "for i in 1 2 3; do \
    curl -sS -m 10 -H Expect: --data-binary @content http://127.0.0.1:8080/; done";

pub(crate) const JVM: Program = Program {
    needs: &[Requirement::Program("javac", "default-jdk-headless"), Requirement::Program("curl", "curl")],
    start: |pod| {
        let source = pod.scratch().join("Waiting.java");
        std::fs::write(&source, SOURCE).unwrap();
        let java = pod.command("java").args(["-XX:TieredStopAtLevel=1", "-Xshare:auto"]).arg(&source);
        let process = java.user(APP_USER.0, APP_USER.1).spawn().unwrap();
        let ready = process.output().wait(READY_WITHIN, |text| text.starts_with("ready").then_some(()));
        ready.unwrap_or_else(|| panic!("java: {}", process.stderr()));
        vec![process]
    },
    ask: ASK,
    clients: &["/usr/bin/curl"],
};
