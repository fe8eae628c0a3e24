//! Redis: large values, pipelines, many commands on many connections.

use std::time::Duration;

use tests::pod::Pod;
use tests::process::Process;
use tests::requirement::Requirement;
use tests::server::APP_USER;

use crate::Program;

const READY: &str = "Ready to accept connections";
const READY_WITHIN: Duration = Duration::from_secs(20);

pub(crate) const REDIS: Program = Program {
    needs: &[
        Requirement::Program("redis-server", "redis-server"),
        Requirement::Program("redis-cli", "redis-tools"),
    ],
    start: |pod| vec![start(pod)],
    ask: "\
        redis-cli -x SET large <content; \
        redis-cli --raw GET large | sha256sum; \
        redis-cli STRLEN large; \
        for i in $(seq 5000); do echo SET key$i $i-$i-$i; done | redis-cli --pipe | grep errors; \
        for i in $(seq 5000); do echo GET key$i; done | redis-cli | sha256sum; \
        redis-cli --raw LRANGE none 0 -1; \
        redis-benchmark -t set,get,lpush,lrange_600 -n 5000 -c 20 -P 8 -q | tr '\\r' '\\n' | grep -c 'requests per second'; \
        redis-cli DBSIZE",
    clients: &[],
};

fn start(pod: &Pod) -> Process {
    let command =
        pod.command("redis-server").args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let process = command
        .args(["--dir", &pod.scratch().display().to_string()])
        .user(APP_USER.0, APP_USER.1)
        .spawn()
        .unwrap();
    let ready = process.output().wait(READY_WITHIN, |text| text.contains(READY).then_some(()));
    assert!(ready.is_some(), "{}", process.stdout());
    process
}
