//! PostgreSQL: results and copies in both directions.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::User;
use tests::pod::Pod;
use tests::process::Process;
use tests::requirement::Requirement;

use crate::Program;

const READY: &str = "ready to accept connections";
const READY_WITHIN: Duration = Duration::from_secs(30);

pub(crate) const POSTGRES: Program = Program {
    needs: &[Requirement::Program("pg_ctlcluster", "postgresql")],
    start: |pod| vec![start(pod)],
    ask: "\
        sql='psql -X -q -h 127.0.0.1 -U postgres -v ON_ERROR_STOP=1 -At'; \
        $sql -c \"create table t as select i, md5(i::text) as m from generate_series(1, 100000) i\"; \
        $sql -c \"select md5(string_agg(m, '' order by i)) from t\"; \
        $sql -c 'copy t to stdout' | tee rows | sha256sum; \
        $sql -c 'create table u (like t)' -c 'copy u from stdin' <rows; \
        $sql -c \"select count(*), md5(string_agg(m, '' order by i)) from u\"; \
        for i in $(seq 500); do echo \"select $i, m from t where i = $i;\"; done | $sql | sha256sum; \
        $sql -c \"select repeat('x', 3000000)\" | sha256sum",
    clients: &[],
};

/// Where the newest installed one keeps its programs.
fn programs() -> PathBuf {
    let mut found: Vec<_> =
        std::fs::read_dir("/usr/lib/postgresql").unwrap().filter_map(Result::ok).collect();
    found.sort_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    found.last().unwrap().path().join("bin")
}

fn start(pod: &Pod) -> Process {
    let user = User::from_name("postgres").unwrap().expect("the package makes a user");
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    let data = pod.scratch().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
    chown(&data, Some(uid), Some(gid)).unwrap();
    let initdb =
        pod.command(programs().join("initdb")).args(["-A", "trust", "-N", "-E", "UTF8", "--locale=C", "-D"]);
    initdb.arg(&data).user(uid, gid).run().unwrap();
    let command = pod.command(programs().join("postgres")).args(["-h", "127.0.0.1", "-F", "-k", "", "-D"]);
    let process = command.arg(&data).user(uid, gid).spawn().unwrap();
    // To standard error, when nothing else is configured.
    let deadline = std::time::Instant::now() + READY_WITHIN;
    while !process.stderr().contains(READY) {
        assert!(process.is_running() && std::time::Instant::now() < deadline, "{}", process.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    process
}
