//! Which programs are known not to read sockets with splice(2), which does not see redirected bytes.
//!
//! A program could splice if it, or a library it has mapped, imports the libc function, if it is a Go program (whose
//! `io.Copy` splices by itself), or if it is statically linked and so shows nothing. Unknown is treated as could.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::Read as _,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, SkStorage};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use object::{Object as _, ObjectSymbol as _};
use proxy_common::{
    accel::{Executable, Mark, end_flag},
    names::map,
    policy::Policy,
};

use super::{late_listeners, pins::map_in, wire::Raw};
use crate::netns::{self, Netns};

/// Larger files are not looked into.
const MAX_SIZE: u64 = 512 << 20;
/// A function of Go's runtime, named in every Go program that can use the network.
const GO_SPLICE: &[u8] = b"internal/poll.Splice";

/// The programs of the processes below a cgroup that are known not to splice.
pub(super) fn in_cgroup(cgroup: &Path) -> Result<BTreeSet<(u64, u32)>> {
    let mut verdicts: HashMap<PathBuf, bool> = HashMap::new();
    let mut safe = BTreeSet::new();
    for pid in processes(cgroup)? {
        let Ok(program) = executable(pid) else { continue };
        if is_safe(pid, &mut verdicts).unwrap_or(false) {
            safe.insert((program.ino, program.dev));
        } else {
            // One process that may splice is enough against its program: another one may map the library later.
            safe.remove(&(program.ino, program.dev));
        }
    }
    Ok(safe)
}

/// Marks the listeners that are there already: what they accept from now on is read by a trusted process.
pub(super) fn mark_listeners(
    netns: &Netns,
    policy: &Policy,
    node_dir: &Path,
    vouched: &[Executable],
) -> Result<()> {
    let path = map_in(node_dir, map::READER_MARKS);
    let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
    let mut marks: SkStorage<MapData, Raw<Mark>> = SkStorage::try_from(Map::SkStorage(data))?;
    let mut verdicts = HashMap::new();
    for listener in netns::listeners(Some(netns))? {
        // Not ours to look into: its connections stay on the stack.
        let Ok(Some((pid, socket))) = late_listeners::socket_of(netns, &listener) else { continue };
        let sidecar = [policy.outbound_port, policy.inbound_port].contains(&listener.addr.port());
        let named = executable(pid).is_ok_and(|program| vouched.contains(&program));
        let trusted = sidecar || named || is_safe(pid, &mut verdicts).unwrap_or(false);
        let nonblocking = fcntl(&socket, FcntlArg::F_GETFL)
            .is_ok_and(|flags| OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
        let flags = if trusted { end_flag::NO_SPLICE } else { 0 }
            | if nonblocking { end_flag::EVENT_LOOP } else { 0 };
        let mark = Mark { flags, reserved: 0, sk: 0, cookie: 0 };
        marks.insert(&socket.as_fd(), Raw(mark), 0).context("mark a listener")?;
    }
    Ok(())
}

/// Whether the process could splice: its program and every library it has mapped.
pub(super) fn is_safe(pid: i32, verdicts: &mut HashMap<PathBuf, bool>) -> Result<bool> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).context("read the process's mappings")?;
    let files: BTreeSet<&str> = maps
        .lines()
        .filter(|line| line.contains(" r-xp "))
        .filter_map(|line| line.split_once(" /"))
        .map(|(_, path)| path)
        .collect();
    let exe = fs::read_link(format!("/proc/{pid}/exe")).context("read the process's program")?;
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let mut all = vec![(exe, true)];
    all.extend(files.iter().map(|path| (Path::new("/").join(path), false)));
    for (path, is_program) in all {
        let seen = root.join(path.strip_prefix("/").unwrap_or(&path));
        let safe = match verdicts.get(&seen) {
            Some(verdict) => *verdict,
            None => {
                let verdict = !may_splice(&seen, is_program).unwrap_or(true);
                verdicts.insert(seen, verdict);
                verdict
            }
        };
        if !safe {
            return Ok(false);
        }
    }
    Ok(true)
}

fn may_splice(path: &Path, is_program: bool) -> Result<bool> {
    let mut file = fs::File::open(path)?;
    if file.metadata()?.len() > MAX_SIZE {
        return Ok(true);
    }
    let mut data = Vec::new();
    file.read_to_end(&mut data)?;
    let elf = object::File::parse(&*data).context("not an ELF file")?;
    let mut dynamic = elf.dynamic_symbols().peekable();
    if is_program && dynamic.peek().is_none() {
        return Ok(true);
    }
    if dynamic.any(|symbol| symbol.is_undefined() && matches!(symbol.name(), Ok("splice"))) {
        return Ok(true);
    }
    Ok(is_program && find(&data, GO_SPLICE))
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// The kernel's numbers of a process's program.
fn executable(pid: i32) -> Result<Executable> {
    program(Path::new(&format!("/proc/{pid}/exe")))
}

/// The kernel's numbers of a program file.
pub(super) fn program(path: &Path) -> Result<Executable> {
    let meta = fs::metadata(path).with_context(|| format!("program {}: stat", path.display()))?;
    let (major, minor) = (libc::major(meta.dev()), libc::minor(meta.dev()));
    Ok(Executable { ino: meta.ino(), dev: major << 20 | minor, reserved: 0 })
}

fn processes(cgroup: &Path) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    let text = fs::read_to_string(cgroup.join("cgroup.procs"))
        .with_context(|| format!("list the processes of {}", cgroup.display()))?;
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid != 0));
    for entry in
        fs::read_dir(cgroup).with_context(|| format!("list {}", cgroup.display()))?.filter_map(Result::ok)
    {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // A container that ends meanwhile takes its directory with it.
            found.extend(processes(&entry.path()).unwrap_or_default());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_program_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("garbage");
        fs::write(&path, b"#!/bin/sh\n").unwrap();
        assert!(may_splice(&path, true).unwrap_or(true));
    }
}
