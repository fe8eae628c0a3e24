//! The tests' binary, in a node's namespaces.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    build::{Built, DIRECTORY, HUB},
    outcome::{self, Cases, Outcome},
};
use crate::{
    cluster::{interrupt, record::Cluster},
    step,
};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Of the whole binary; TestTraffic alone takes six minutes on an idle machine of two processors.
const TIMEOUT: &str = "-test.timeout=150m";

/// Where a run leaves what it says.
pub(super) struct Traces<'a> {
    pub(super) log: &'a Path,
    pub(super) work: &'a Path,
}

/// Runs what `regex` names, with more flags for the tests.
///
/// # Errors
/// After a signal, and where no test began: the tests' own set-up failed.
pub(super) fn run(
    cluster: &Cluster,
    built: &Built,
    regex: &str,
    more: &[&str],
    traces: &Traces<'_>,
) -> Result<Cases> {
    std::fs::create_dir_all(traces.work).with_context(|| format!("create {}", traces.work.display()))?;
    let dir = built.module.join(DIRECTORY);
    let words = [
        "env".to_owned(),
        format!("--chdir={}", dir.display()),
        format!("REPO_ROOT={}", built.module.display()),
        format!("HUB={HUB}"),
        "TAG=1".to_owned(),
        "HOME=/root".to_owned(),
        built.tests.display().to_string(),
        outcome::FLAG.to_owned(),
        format!("-test.run={regex}"),
        TIMEOUT.to_owned(),
        "--istio.test.env=kube".to_owned(),
        format!("--istio.test.kube.config={}", cluster.kubeconfig.display()),
        format!("--istio.test.hub={HUB}"),
        "--istio.test.tag=1".to_owned(),
        "--istio.test.pullpolicy=IfNotPresent".to_owned(),
        "--istio.test.kube.deploy=false".to_owned(),
        "--istio.test.skipVM".to_owned(),
        "--istio.test.skipUserNs=false".to_owned(),
        "--istio.test.kube.loadbalancer=false".to_owned(),
        format!("--istio.test.IPFamilies={}", if cluster.dual_stack { "IPv4,IPv6" } else { "IPv4" }),
        format!("--istio.test.work_dir={}", traces.work.display()),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let log = File::create(traces.log).with_context(|| format!("create {}", traces.log.display()))?;
    let mut command = cluster.node(1)?.command(&words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone().context("the log once more")?);
    let mut child = command.spawn().context("run nsenter")?;
    let cases = follow(&mut child, log);
    if cases.is_err() {
        // nsenter alone: what it started ends with the node's namespaces.
        let _ = child.kill();
    }
    let status = child.wait().context("wait for the tests")?;
    let cases = cases?;
    ensure!(!cases.is_empty(), "no test began ({status}); {} says why", traces.log.display());
    Ok(cases)
}

/// Reads until the output ends, and says now and then how far it is.
fn follow(child: &mut Child, mut log: File) -> Result<Cases> {
    let output = child.stdout.take().context("output of the tests")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    let (begun, mut told, mut cases) = (Instant::now(), Instant::now(), Cases::default());
    loop {
        interrupt::check()?;
        match lines.recv_timeout(LOOK_EVERY) {
            Ok(line) => {
                log.write_all(&line).context("write the log")?;
                cases.line(String::from_utf8_lossy(&line).trim_end_matches('\n'));
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let [passed, failed, skipped, running] =
                [Outcome::Passed, Outcome::Failed, Outcome::Skipped, Outcome::Unfinished]
                    .map(|outcome| cases.count(outcome));
            let seconds = begun.elapsed().as_secs();
            step::say(
                "",
                format!("{seconds} s: {passed} passed, {failed} failed, {skipped} skipped, {running} run"),
            );
        }
    }
    Ok(cases)
}
