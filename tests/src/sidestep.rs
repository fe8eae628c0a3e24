//! The data plane under test, known only by its command line.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::agent;
use crate::any_reader;
use crate::counters::Counters;
use crate::pin_root;
use crate::pod::Pod;
use crate::process::print_tail;

/// What istio-init passes in a default installation.
#[rustfmt::skip]
pub const DEFAULT_FLAGS: [&str; 18] = [
    "-p", "15001", "-z", "15006", "-u", "1337", "-g", "1337", "-m", "REDIRECT",
    "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020",
];

/// The binary: `SIDESTEP_BIN`, else `target/release/sidestep`, else next to the running binary.
pub fn binary() -> Result<PathBuf> {
    let release = agent::repository().join("target/release/sidestep");
    std::env::var_os("SIDESTEP_BIN")
        .map(PathBuf::from)
        .or_else(|| release.is_file().then_some(release))
        .or_else(|| agent::beside_current_exe("sidestep"))
        .context("no sidestep binary: `cargo xtask build`, or set SIDESTEP_BIN")
}

/// A pod with sidestep attached; detaches when dropped.
#[derive(Debug)]
pub struct Sidestep {
    pod: Pod,
    attached: bool,
    warnings: String,
}

impl Sidestep {
    /// Runs `sidestep attach` with these istio-iptables flags for `pod`, from outside of it.
    pub fn attach(pod: &Pod, flags: &[&str]) -> Result<Self> {
        Self::attach_with(pod, flags, &[])
    }

    /// The same with environment variables.
    pub fn attach_with(pod: &Pod, flags: &[&str], env: &[(&str, &str)]) -> Result<Self> {
        ensure!(!pod.is_alike(), "{}: see Network::with_own_addresses", pod.name());
        let mut detach = vec![binary()?.display().to_string(), "detach".into()];
        detach.extend(workload(pod));
        pod.undo_at_end(&[detach])?;
        // A guard from here on: a failing attach that leaves something is detached all the same.
        let mut sidestep = Self { pod: pod.clone(), attached: true, warnings: String::new() };
        let (flags, bits) = any_reader::of_product(flags);
        let mut command = Command::new(binary()?);
        command.arg("attach").args(workload(pod)).args(flags).envs(env.iter().copied());
        sidestep.warnings = output(command)?.1;
        if bits != 0 {
            sidestep.allow(bits)?;
        }
        Ok(sidestep)
    }

    /// A pod that this process attaches or has attached itself; detaches when dropped.
    pub fn around(pod: &Pod) -> Self {
        Self { pod: pod.clone(), attached: true, warnings: String::new() }
    }

    /// Runs `sidestep attach` again, with other flags.
    pub fn attach_again(&self, flags: &[&str]) -> Result<String> {
        let (flags, bits) = any_reader::of_product(flags);
        let said = run(&[&["attach"], &*flags].concat(), &self.pod)?;
        if bits != 0 {
            self.allow(bits)?;
        }
        Ok(said)
    }

    fn allow(&self, bits: u32) -> Result<()> {
        let slot = self.meta()?["slot"].as_u64().context("the description says no slot")?;
        any_reader::allow(&pin_root::directory(), slot, bits)
    }

    /// Decisions and events so far.
    pub fn counters(&self) -> Result<Counters> {
        Counters::of_pod(&self.pod)
    }

    /// The pod.
    pub fn pod(&self) -> &Pod {
        &self.pod
    }

    /// What attach said on standard error.
    pub fn warnings(&self) -> &str {
        &self.warnings
    }

    /// How often an event was counted (`sidestep status`), 0 for one that never was.
    pub fn event(&self, name: &str) -> Result<u64> {
        self.counter("events", name)
    }

    /// How often a rule decided.
    pub fn rule(&self, name: &str) -> Result<u64> {
        self.counter("rules", name)
    }

    /// Its connections between SYN and accept.
    pub fn pending(&self) -> Result<usize> {
        let mut command = Command::new("bpftool");
        command.args(["--json", "map", "dump", "pinned"]).arg(self.node_map("PENDING")?);
        let dump: serde_json::Value = serde_json::from_str(&succeed(command)?)?;
        let entries = dump.as_array().context("bpftool printed no list")?;
        let slot = self.meta()?["slot"].as_u64().context("the description says no slot")?;
        // A map without type information: bytes, of which the last four are the slot (`proxy_common::wire::ConnectionKey`).
        let of = |entry: &serde_json::Value| -> Option<u64> {
            let bytes = entry["key"]
                .as_array()?
                .iter()
                .map(|byte| u8::from_str_radix(byte.as_str()?.strip_prefix("0x")?, 16).ok());
            let key: Vec<u8> = bytes.collect::<Option<_>>()?;
            Some(u32::from_ne_bytes(*key.last_chunk()?).into())
        };
        let slots: Option<Vec<u64>> = entries.iter().map(of).collect();
        let slots = slots.with_context(|| format!("bpftool printed other keys: {dump}"))?;
        Ok(slots.into_iter().filter(|found| *found == slot).count())
    }

    /// Where one of the node's maps is pinned.
    pub fn node_map(&self, map: &str) -> Result<PathBuf> {
        node_map_in(&pin_root::directory(), map)
    }

    /// Whether one of the node's maps holds nothing.
    pub fn node_map_is_empty(&self, map: &str) -> Result<bool> {
        let path = self.node_map(map)?;
        // Sockets have no value that userspace could read, keys can be walked.
        let first = Command::new("bpftool").args(["map", "getnext", "pinned"]).arg(&path).output()?;
        let said =
            String::from_utf8_lossy(&first.stderr).into_owned() + &String::from_utf8_lossy(&first.stdout);
        ensure!(first.status.success() || said.contains("No such file"), "{}: {said}", path.display());
        Ok(!first.status.success())
    }

    /// Where one of its links is pinned.
    pub fn link(&self, program: &str) -> Result<PathBuf> {
        let name = self.pod.workload()?;
        Ok(pin_root::directory().join(name).join(format!("link_{program}")))
    }

    /// What `sidestep status` says of how it was attached.
    pub fn meta(&self) -> Result<serde_json::Value> {
        Ok(self.status()?["meta"].take())
    }

    fn counter(&self, kind: &str, name: &str) -> Result<u64> {
        Ok(self.status()?["counters"][kind][name].as_u64().unwrap_or(0))
    }

    fn status(&self) -> Result<serde_json::Value> {
        let mut command = Command::new(binary()?);
        command.args(["status", "--output", "json"]);
        let mut status: serde_json::Value = serde_json::from_str(&succeed(command)?)?;
        let inode = self.pod.netns_inode()?;
        let workloads = status["workloads"].as_array_mut().context("status lists no workloads")?;
        let ours = workloads.iter_mut().find(|workload| workload["meta"]["netns"]["ino"] == inode);
        Ok(ours.context("status does not list the pod")?.take())
    }

    /// Runs `sidestep detach` now and reports its failure.
    pub fn detach(mut self) -> Result<()> {
        self.detach_once()
    }

    fn detach_once(&mut self) -> Result<()> {
        if std::mem::take(&mut self.attached) {
            run(&["detach"], &self.pod)?;
            self.pod.undo_at_end(&[])?;
        }
        Ok(())
    }
}

impl Drop for Sidestep {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("lab: {}", self.pod.nsenter_line());
            print_tail("sidestep status", &status().unwrap_or_else(|error| format!("{error:#}")));
        }
        if let Err(error) = self.detach_once() {
            eprintln!("lab: {error:#}");
        }
    }
}

/// Where a map that all workloads share is pinned, below sidestep's directory.
pub(crate) fn node_map_in(directory: &Path, map: &str) -> Result<PathBuf> {
    let nodes = std::fs::read_dir(directory).context("list the pins")?;
    let node =
        nodes.filter_map(Result::ok).find(|entry| entry.file_name().as_encoded_bytes().starts_with(b"node"));
    Ok(node.context("no node maps")?.path().join(format!("map_{map}")))
}

/// `--netns` and `--cgroup` of a pod.
pub fn workload(pod: &Pod) -> [String; 4] {
    let (netns, cgroup) = (pod.netns().display().to_string(), pod.cgroup().display().to_string());
    ["--netns".into(), netns, "--cgroup".into(), cgroup]
}

/// Runs `sidestep <verb...> --netns .. --cgroup ..` for `pod`; an error unless it succeeds. Returns what it printed.
pub fn run(verb: &[&str], pod: &Pod) -> Result<String> {
    let mut command = Command::new(binary()?);
    command.args(verb).args(workload(pod));
    succeed(command)
}

/// What `sidestep status` prints.
pub fn status() -> Result<String> {
    let mut command = Command::new(binary()?);
    command.arg("status");
    succeed(command)
}

/// What it says of a pod's workload.
pub fn status_of(pod: &Pod) -> Result<serde_json::Value> {
    of_status(&ended(STATUS_JSON)?, pod)
}

pub(crate) const STATUS_JSON: [&str; 3] = ["status", "--output", "json"];

/// A pod's workload in what `sidestep status --output json` has printed. Exit code 1 is about other workloads, whose pins
/// may be half there while their tests attach.
pub(crate) fn of_status(ended: &Ended, pod: &Pod) -> Result<serde_json::Value> {
    let mut status: serde_json::Value =
        serde_json::from_str(&ended.stdout).with_context(|| format!("sidestep status printed {ended:?}"))?;
    let name = pod.workload()?;
    let all = status["workloads"].as_array_mut().context("status lists no workloads")?;
    let ours = all.iter_mut().find(|workload| workload["workload"] == name.as_str());
    let found =
        ours.with_context(|| format!("pod {} ({name}) is not attached: {:?}", pod.name(), ended.stderr));
    Ok(found?.take())
}

/// How a run of `sidestep` ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the binary with these arguments, whatever it says.
pub fn ended(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    command.args(args);
    ended_command(command)
}

/// The same for any command.
pub fn ended_command(mut command: Command) -> Result<Ended> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

fn succeed(command: Command) -> Result<String> {
    output(command).map(|(stdout, _)| stdout)
}

/// Standard output and standard error of a command; an error unless it succeeds.
fn output(mut command: Command) -> Result<(String, String)> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, stderr.trim());
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), stderr))
}
