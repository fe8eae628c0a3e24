//! Where a node of a test lives: namespaces of its own for mounts, network, processes and cgroups, with a bpffs, a /run and
//! a cgroup2 of its own. Nothing of it is the machine's, and all of it ends with this value, or with the test's process.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use tests::cgroup;

/// $1: the node's cgroup, $2: its directory. Standard input closes when the test ends, however it does.
const OUTSIDE: &str = r#"
(echo 0 > "$1/cgroup.procs" &&
    exec unshare -m -n -p -C --fork --kill-child --mount-proc --propagation private sh -c "$3")
# What was killed may not be gone yet.
for _ in $(seq 100); do
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
    [ -d "$1" ] || break
    sleep 0.05
done
rm -rf "$2"
"#;

/// The first process of the node; it also takes in what has lost its parent.
const INSIDE: &str = r#"
set -e
# As systemd has it on a node: what is mounted is seen by containers that ask for it. Nobody outside is a peer.
mount --make-rshared /
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /run
mkdir -p /var/lib/cni /run/netns /run/containerd /sys/fs/cgroup/init
mount -t tmpfs tmpfs /var/lib/cni
echo 1 > /sys/fs/cgroup/init/cgroup.procs
ip link set lo up
exec 3<&0
echo ready
cat <&3 > /dev/null &
wait $!
"#;

static NUMBER: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
pub(crate) struct Enclosure {
    outside: Child,
    input: Option<ChildStdin>,
    /// Of its first process, as the machine counts.
    first: u32,
    cgroup: PathBuf,
    directory: PathBuf,
}

impl Enclosure {
    pub(crate) fn make() -> Result<Self> {
        let name = format!("sidestep-node-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let cgroup = cgroup::mount()?.join(&name);
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir(&cgroup).with_context(|| format!("make {}", cgroup.display()))?;
        fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
        let mut outside = Command::new("sh")
            .args(["-c", OUTSIDE, "sh"])
            .args([&cgroup, &directory])
            .arg(INSIDE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // An interrupt from the terminal ends the test, and the cleaning goes on.
            .process_group(0)
            .spawn()
            .context("make a node")?;
        let input = outside.stdin.take();
        let output = outside.stdout.take().context("a node without standard output")?;
        let mut made = Self { outside, input, first: 0, cgroup, directory };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("read from the node")?;
        ensure!(line.trim() == "ready", "the node's namespaces could not be made; see above");
        let [unshare] = cgroup::processes(&made.cgroup)?[..] else {
            bail!("the node's processes have ended")
        };
        made.first = child(unshare.as_raw().cast_unsigned())?;
        // The root of the cgroups may have no processes once it has controllers.
        fs::write(made.cgroup.join("init/cgroup.procs"), unshare.to_string()).context("move a process")?;
        Ok(made)
    }

    /// A directory that is the same inside and outside.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is the root of the cgroups inside.
    pub(crate) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// A path of the node, as everybody else reaches it.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.first))
    }

    /// `program`, to be run inside.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo 0 > "$0/cgroup.procs" && exec nsenter -m -n -p -C -t "$@""#]);
        command.arg(self.cgroup.join("init")).arg(self.first.to_string()).arg("--").arg(program.as_ref());
        command
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        self.input = None;
        match self.outside.wait() {
            Ok(_) if !self.cgroup.exists() && !self.directory.exists() => {}
            outcome => eprintln!("lab: {} is left behind ({outcome:?})", self.cgroup.display()),
        }
    }
}

/// The process that a command of [`Enclosure::command`] has become, as the machine counts.
pub(crate) fn process(command: &Child) -> Result<u32> {
    child(command.id())
}

/// The only child of a process.
fn child(of: u32) -> Result<u32> {
    let children = format!("/proc/{of}/task/{of}/children");
    let text = fs::read_to_string(&children).with_context(|| format!("read {children}"))?;
    text.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("it has started nothing")
}
