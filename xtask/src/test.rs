//! `cargo xtask test`: every test, under the profile of the binary they run.

use std::{
    env, fs,
    io::{self, Read, Write as _},
    iter,
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    apt, build, cluster, dist, earlier, envoy, room, setup, step, tally::Tally, workspace::Workspace,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// For cargo test, e.g. `-- -p tests --test ipv6 -- --nocapture`
    #[arg(last = true)]
    cargo: Vec<String>,
}

impl Args {
    fn has(&self, flags: &[&str]) -> bool {
        self.cargo.iter().any(|arg| flags.contains(&arg.as_str()))
    }

    /// cargo lets --workspace win over -p without a word.
    fn picks_package(&self) -> bool {
        self.has(&["-p", "--package"]) || self.cargo.iter().any(|arg| arg.starts_with("--package="))
    }
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    ensure!(
        apt::is_root() || args.picks_package(),
        "the lab tests make network namespaces and load BPF programs: run as root, \
         or name a package without them: `cargo xtask test -- -p proxy-common`"
    );
    let everything = args.cargo.is_empty();
    if everything {
        room::for_tests(workspace)?;
    }
    setup::run(workspace)?;
    build::binaries(workspace)?;
    dist::image::prepare(workspace)?;
    // Some tests run programs of the cluster's.
    let of_cluster = if everything { cluster::prepare(workspace)? } else { None };
    if everything {
        earlier::prepare(workspace)?;
    }

    let mut cargo = workspace.cargo("test");
    cargo.args(["--release", "--no-fail-fast"]);
    if !args.picks_package() {
        cargo.arg("--workspace");
    }
    cargo.args(&args.cargo);
    environment(workspace, &mut cargo);

    step::say("Testing", args.cargo.join(" "));
    let started = Instant::now();
    let (mut success, mut tally) = stream(&mut cargo)?;
    // cargo has put its own in its place.
    build::plugin(workspace)?;
    if everything {
        if let Some(bin) = of_cluster {
            step::say("Testing", "the agent with the cluster's container runtime");
            let others = env::var_os("PATH").unwrap_or_default();
            let path = env::join_paths(iter::once(bin).chain(env::split_paths(&others)))
                .context("put the cluster's programs before the machine's")?;
            let (also, more) = stream(containerd(workspace).env("PATH", path))?;
            success &= also;
            tally.add(&more);
        }
        let (also, more) = cluster::tests(workspace)?;
        success &= also;
        tally.add(&more);
    }
    step::say("Finished", format!("{tally} in {:.1} s", started.elapsed().as_secs_f64()));
    ensure!(success, "cargo test failed ({tally})");
    ensure!(
        tally.ran() > 0 || args.has(&["--no-run", "--list", "--help"]),
        "no test ran: nothing was checked"
    );
    Ok(())
}

/// The tests that start a container runtime: the first one in PATH.
pub(crate) fn containerd(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo("test");
    cargo.args(["--release", "--no-fail-fast", "-p", "tests", "--test", "containerd"]);
    environment(workspace, &mut cargo);
    cargo
}

/// What the tests and the demo look up: the binary under test, Envoy and Istio's istio-iptables if they are there.
pub(crate) fn environment(workspace: &Workspace, command: &mut Command) {
    command.env("SIDESTEP_BIN", workspace.release("sidestep"));
    command.env("SIDESTEP_CNI", workspace.release("sidestep-cni"));
    command.env("SIDESTEP_IMAGE", dist::image::archive(workspace));
    command.env("SIDESTEP_SKIPS", workspace.target_for("skips"));
    let ours = envoy::binary(workspace);
    if env::var_os("SIDESTEP_ENVOY").is_none() && ours.is_file() {
        command.env("SIDESTEP_ENVOY", ours);
    }
    // The machine's own history is of what is done to its own workloads.
    command.env("SIDESTEP_HISTORY", workspace.target_for("history.jsonl"));
    command.env("SIDESTEP_EARLIER", workspace.target_for("earlier"));
    let istio = workspace.target_for("cluster").join("bin/istio-iptables");
    if env::var_os("SIDESTEP_ISTIO_IPTABLES").is_none() && istio.is_file() {
        command.env("SIDESTEP_ISTIO_IPTABLES", istio);
    }
}

/// Where tests note what they skipped: they count as passed for libtest.
fn skips(command: &Command) -> Option<PathBuf> {
    let set = command.get_envs().find(|(name, _)| *name == "SIDESTEP_SKIPS")?;
    set.1.map(PathBuf::from)
}

/// Runs `command`, passing its stdout on as it comes (a test that hangs has already printed its name) while
/// counting the results in it.
pub(crate) fn stream(command: &mut Command) -> Result<(bool, Tally)> {
    if let Some(skips) = skips(command) {
        fs::write(&skips, "").with_context(|| format!("write {}", skips.display()))?;
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("run cargo test")?;
    let mut output = child.stdout.take().context("stdout of cargo test")?;
    let mut tally = Tally::default();
    let mut pending = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        let len = output.read(&mut chunk).context("read the output of cargo test")?;
        if len == 0 {
            break;
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&chunk[..len]).and_then(|()| stdout.flush()).context("write to stdout")?;
        pending.extend_from_slice(&chunk[..len]);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            tally.line(&String::from_utf8_lossy(&line));
        }
    }
    let status = child.wait().context("wait for cargo test")?;
    if let Some(skips) = skips(command) {
        tally.skipped(&fs::read_to_string(&skips).with_context(|| format!("read {}", skips.display()))?);
    }
    Ok((status.success(), tally))
}
