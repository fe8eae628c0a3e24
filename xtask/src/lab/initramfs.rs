//! The guest's file system: this machine's own programs with their libraries, the test binaries, a kernel's modules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use cpio::newc;
use serde::Serialize;

use super::{boot, closure, declared::Kernel, package::Image};
use crate::{machine::Machine, step, workspace::Workspace};

/// Programs the tests run in the guest. What is missing here is missing there, and a test that needs it says so.
const PROGRAMS: &[&str] = &[
    "bash",
    "bpftool",
    "cat",
    "conntrack",
    "cp",
    "curl",
    "dash",
    "dig",
    "dnsmasq",
    "dmesg",
    "env",
    "getent",
    "grep",
    "haproxy",
    "head",
    "id",
    "ip",
    "ip6tables-nft-restore",
    "ip6tables-nft-save",
    "ip6tables-restore",
    "iptables-legacy-restore",
    "iptables-legacy-save",
    "iptables-nft-restore",
    "iptables-nft-save",
    "iptables-restore",
    "kmod",
    "ls",
    "mkdir",
    "modprobe",
    "mount",
    "nft",
    "nginx",
    "nsenter",
    "seq",
    "setpriv",
    "sh",
    "sleep",
    "ss",
    "stat",
    "tc",
    "timeout",
    "touch",
    "true",
    "unshare",
];

/// Files that programs open by themselves.
const FILES: &[&str] = &["/etc/protocols", "/etc/services", "/etc/iproute2"];

/// Of unpacked packages, what no program opens.
const UNREAD: [&str; 6] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/bash-completion",
    "var",
    "usr/lib/python3",
];
/// Directories that are symlinks in a system, and not in its packages.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Of this project, at the paths they have here.
const OF_THE_PROJECT: &[&str] = &["deploy/systemd", "docs/schema"];

/// Modules the kernel may ask for, by path below the release's directory.
const MODULES: &[&str] = &[
    // libcrc32c, which nf_conntrack is linked with, asks for it by name.
    "kernel/crypto/crc32c",
    "kernel/drivers/net/dummy.ko",
    "kernel/drivers/net/veth.ko",
    "kernel/net/ipv4/netfilter/",
    "kernel/net/ipv6/netfilter/",
    "kernel/net/netfilter/",
    "kernel/net/sched/",
    "kernel/net/ipv4/tcp_diag.ko",
    "kernel/net/ipv4/inet_diag.ko",
    "kernel/net/netlink/",
    "kernel/net/mptcp/",
    "kernel/net/tls/",
];

/// Loaded by init: the rest comes when the kernel asks for it.
const LOADED: &[&str] = &["veth", "nf_conntrack"];

const LAB: &str = "/lab";

/// What is the same for every kernel.
pub(crate) struct Base {
    /// In the guest, in the order they run.
    pub(crate) runs: Vec<Run>,
    files: BTreeMap<String, Source>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) name: String,
    program: String,
    args: Vec<String>,
}

#[derive(Serialize)]
struct Plan<'a> {
    modules: &'a [&'a str],
    env: BTreeMap<&'a str, &'a str>,
    runs: &'a [Run],
    hide: &'a [String],
    /// Of each run.
    most_seconds: u64,
}

#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Link(PathBuf),
    Text(Vec<u8>),
}

/// What a guest's own programs are.
pub(crate) struct Programs {
    pub(crate) machine: Machine,
    /// Where this project's programs are.
    pub(crate) built: PathBuf,
    /// Name and path of each test binary.
    pub(crate) tests: Vec<(String, PathBuf)>,
    /// Unpacked packages with the programs of others; none: they are this machine's.
    pub(crate) others: Option<PathBuf>,
}

impl Base {
    /// Collects those of the test binaries that `filters` pick, and everything they need.
    pub(crate) fn build(
        workspace: &Workspace,
        dir: &Path,
        programs: Programs,
        filters: &[String],
    ) -> Result<Self> {
        let Programs { machine, built, tests, others } = programs;
        let mut base = Self { runs: Vec::new(), files: BTreeMap::new() };
        for name in MERGED {
            base.files.insert(format!("/{name}"), Source::Link(format!("usr/{name}").into()));
        }
        let stripped = dir.join("stripped").join(machine.of_images());
        fs::create_dir_all(&stripped).with_context(|| format!("create {}", stripped.display()))?;
        let strip = |program: &Path| strip(machine, program, &stripped);
        base.add_program(&strip(&built.join("lab-init"))?, "/init")?;
        for name in ["sidestep", "sidestep-cni", "lab-agent"] {
            base.add_program(&strip(&built.join(name))?, &format!("{LAB}/{name}"))?;
        }
        for (name, binary) in tests {
            let Some(args) = super::test_binaries::arguments(&name, filters) else { continue };
            let program = format!("{LAB}/tests/{name}");
            base.add_program(&strip(&binary)?, &program)?;
            base.runs.push(Run { name, program, args });
        }
        match others {
            Some(unpacked) => base.add_system(&unpacked, &unpacked)?,
            None => {
                for program in PROGRAMS.iter().filter_map(|program| step::find(program)) {
                    let place = real_place(&program)?;
                    base.add_program(&program, &place)?;
                }
                let plugins = format!("/usr/lib/{}/xtables", machine.of_gnu());
                for file in FILES.iter().copied().chain([plugins.as_str()]) {
                    base.add_tree(Path::new(file))?;
                }
            }
        }
        for file in OF_THE_PROJECT {
            base.add_tree(&workspace.root.join(file))?;
        }
        base.add_text(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
        );
        base.add_text("/etc/group", "root:x:0:\nnogroup:x:65534:\n");
        base.add_text("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
        // Never asked: a host's own resolver, of which `attach --redirect-dns` reads the servers.
        base.add_text("/etc/resolv.conf", "nameserver 192.0.2.53\n");
        base.add_text("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n");
        Ok(base)
    }

    /// The same machine with one line for the shell to run.
    pub(crate) fn with_line(&self, name: &str, line: &str) -> Self {
        let args = vec!["-c".to_owned(), line.to_owned()];
        let run = Run { name: name.to_owned(), program: "/bin/sh".to_owned(), args };
        Self { runs: vec![run], files: self.files.clone() }
    }

    fn add_text(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), Source::Text(text.into()));
    }

    fn add_program(&mut self, file: &Path, place: &str) -> Result<()> {
        for library in closure::libraries(file)? {
            let place = real_place(&library)?;
            self.files.insert(place, Source::File(library));
        }
        self.files.insert(place.to_owned(), Source::File(file.to_owned()));
        Ok(())
    }

    /// A file or a directory with all in it; programs and plug-ins bring their libraries.
    fn add_tree(&mut self, path: &Path) -> Result<()> {
        if path.is_dir() {
            for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
                self.add_tree(&entry?.path())?;
            }
        } else if path.is_file() {
            let place = real_place(path)?;
            self.add_program(path, &place)?;
        }
        Ok(())
    }

    /// Everything below a directory of unpacked packages, `root` at the top.
    fn add_system(&mut self, root: &Path, directory: &Path) -> Result<()> {
        for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
            let entry = entry?;
            let path = entry.path();
            let below = path.strip_prefix(root).context("it is below the root")?;
            if UNREAD.iter().any(|unread| below.starts_with(unread)) {
                continue;
            }
            let first = below.iter().next().and_then(|name| name.to_str()).unwrap_or_default();
            let merged = if MERGED.contains(&first) { Path::new("/usr") } else { Path::new("/") };
            let place = merged.join(below).to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                self.files.insert(place, Source::Link(fs::read_link(&path)?));
            } else if kind.is_dir() {
                self.add_system(root, &path)?;
            } else {
                self.files.insert(place, Source::File(path));
            }
        }
        Ok(())
    }

    /// Writes the archive for one kernel.
    pub(crate) fn write(&self, image: &Image, kernel: &Kernel, may_skip: &str, archive: &Path) -> Result<()> {
        let mut files = self.files.clone();
        let root = format!("/usr/lib/modules/{}", image.release);
        let wanted = |path: &str| MODULES.iter().any(|part| path.starts_with(part));
        let mut modules = closure::modules(&image.modules, wanted)?;
        ensure!(!modules.is_empty(), "{} has none of the modules", image.release);
        for list in fs::read_dir(&image.modules)? {
            let list = list?;
            if list.file_type()?.is_file() {
                modules.insert(list.file_name().to_string_lossy().into_owned());
            }
        }
        for module in modules {
            files.insert(format!("{root}/{module}"), Source::File(image.modules.join(module)));
        }
        let (sidestep, agent) = (format!("{LAB}/sidestep"), format!("{LAB}/lab-agent"));
        let withheld = kernel.withheld.join(",");
        let env = BTreeMap::from([
            ("PATH", "/usr/sbin:/usr/bin"),
            ("SIDESTEP_BIN", sidestep.as_str()),
            ("SIDESTEP_LAB_AGENT", agent.as_str()),
            ("SIDESTEP_STRICT", "1"),
            ("SIDESTEP_SHORT", "1"),
            ("SIDESTEP_MAY_SKIP", may_skip),
            ("SIDESTEP_WITHHELD", withheld.as_str()),
            ("RUST_BACKTRACE", "0"),
        ]);
        let most_seconds = boot::MOST_OF_A_RUN.as_secs();
        let plan = Plan { modules: LOADED, env, runs: &self.runs, hide: &kernel.hide, most_seconds };
        let plan = serde_json::to_vec(&plan)?;
        files.insert(format!("{LAB}/plan.json"), Source::Text(plan));
        write(&files, archive).with_context(|| format!("write {}", archive.display()))
    }
}

/// Where a file really is: parents without symlinks (`/lib` is `/usr/lib`), the last name as it was.
fn real_place(path: &Path) -> Result<String> {
    let parent = path.parent().context("a file has a parent")?;
    let parent = parent.canonicalize().with_context(|| format!("resolve {}", parent.display()))?;
    Ok(parent.join(path.file_name().context("a file has a name")?).to_string_lossy().into_owned())
}

/// Symbols are four fifths of a test binary.
fn strip(machine: Machine, file: &Path, into: &Path) -> Result<PathBuf> {
    let copy = into.join(file.file_name().context("a file has a name")?);
    let age = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified());
    if let (Ok(copied), Ok(built)) = (age(&copy), age(file))
        && copied > built
    {
        return Ok(copy);
    }
    let status =
        step::command(machine.tool("strip")).arg("-o").arg(&copy).arg(file).status().context("run strip")?;
    ensure!(status.success(), "could not strip {}", file.display());
    Ok(copy)
}

fn write(files: &BTreeMap<String, Source>, archive: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(archive)?);
    let mut directories = BTreeSet::new();
    // Parents come before what is in them: the kernel makes no directories by itself (init/initramfs.c: do_name).
    for path in files.keys() {
        directories.extend(Path::new(path).ancestors().skip(1).filter(|dir| dir.parent().is_some()));
    }
    let mut number = 0;
    let mut builder = |path: &str, mode: u32| {
        number += 1;
        newc::Builder::new(path.trim_start_matches('/')).ino(number).nlink(1).mode(mode)
    };
    for directory in directories {
        builder(&directory.to_string_lossy(), 0o040_755).write(&mut out, 0).finish()?;
    }
    for (path, source) in files {
        match source {
            Source::Link(target) => {
                let target = target.as_os_str().as_encoded_bytes();
                entry(builder(path, 0o120_777), target.len(), &mut &*target, &mut out)?;
            }
            Source::Text(text) => entry(builder(path, 0o100_644), text.len(), &mut &text[..], &mut out)?,
            Source::File(file) => {
                let mut from = File::open(file).with_context(|| format!("open {}", file.display()))?;
                let meta = from.metadata()?;
                let mode = 0o100_000 | meta.permissions().mode() & 0o777;
                entry(builder(path, mode), usize::try_from(meta.len())?, &mut from, &mut out)?;
            }
        }
    }
    newc::trailer(&mut out)?;
    out.flush()?;
    Ok(())
}

fn entry(builder: newc::Builder, len: usize, from: &mut impl io::Read, out: &mut impl Write) -> Result<()> {
    let mut writer = builder.write(out, u32::try_from(len).context("a file over 4 GiB")?);
    io::copy(from, &mut writer)?;
    writer.finish()?;
    Ok(())
}
