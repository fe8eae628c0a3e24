//! `sidestep bench` that is interrupted, or was killed before, leaves nothing.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rstest::rstest;
use tests::cgroup;
use tests::data_plane::DataPlane;
use tests::sidestep;

fn cgroups(of: u32) -> BTreeSet<PathBuf> {
    let all = std::fs::read_dir(cgroup::mount().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let prefix = format!("sidestep-bench-{of}-");
    all.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&prefix)).collect()
}

#[rstest]
#[case::ctrl_c(Signal::SIGINT)]
#[case::told_to_end(Signal::SIGTERM)]
#[case::its_terminal_goes(Signal::SIGHUP)]
fn it_takes_everything_away(#[case] signal: Signal) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let mut command = Command::new(sidestep::binary().unwrap());
    // A group of its own: a terminal sends the signal to all of it.
    command.args(["bench", "--seconds", "60", "--connections", "1"]).process_group(0);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let errors = BufReader::new(child.stderr.take().unwrap());
    let begun = Instant::now();
    while cgroups(child.id()).len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    let told = Instant::now();
    killpg(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    let status = child.wait().unwrap();
    let said: Vec<String> = errors.lines().map_while(Result::ok).collect();
    assert_eq!(status.code(), Some(1), "{said:?}");
    assert!(told.elapsed() < Duration::from_secs(20), "{:?}", told.elapsed());
    assert_eq!(
        said.last().map(String::as_str),
        Some("sidestep: interrupted: everything it had made is taken away")
    );
    assert_eq!(cgroups(child.id()), BTreeSet::new());
}
