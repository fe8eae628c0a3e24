//! Which programs are known to read sockets in a way that misses nothing in the map.
//!
//! A program could splice if it, or a library it has mapped, imports the libc function, if it is a Go program (whose
//! `io.Copy` splices by itself), or if it is statically linked and so shows nothing; it could ask FIONREAD if code of
//! its own or of such a library has the number. Unknown is treated as could. Where the guard refuses splice(2), those that
//! are known to read then are safe (`splicing`), unless they may have io_uring splice.

mod code;
mod found;
mod hazard;
mod splicing;

use std::{
    collections::HashMap,
    fs,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, SkStorage};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use proxy_common::{
    accel::{Executable, Mark, changed_at, end_flag},
    names::map,
    policy::Policy,
};
use proxy_core::config::Config;

pub use self::found::Hazardous;
pub(super) use self::found::{Programs, Trust};
use self::{
    hazard::{Hazard, Look},
    splicing::Reads,
};
use super::{acceleration::Plan, late_listeners, pins::map_in, wire::Raw};
use crate::{
    netns::{self, Netns},
    sys::socket_cookie,
};

/// How a process reads.
#[derive(Clone, Copy)]
enum Class {
    Safe,
    /// Safe where splice(2) is refused.
    Guarded(Reads, Unsafe),
    Hazardous(Unsafe),
}

/// Why nothing is redirected to it.
#[derive(Clone, Copy)]
struct Unsafe {
    hazard: Hazard,
    /// What its servers send may be redirected all the same.
    sends: bool,
    /// None of its sockets blocks.
    nonblocking: bool,
}

/// Looks into processes, each file of code once.
pub(super) struct Readers<'a> {
    config: &'a Config,
    /// This kernel's FIONREAD is wrong.
    asking: bool,
    /// Programs that are not safe send in the map all the same.
    unknown_send: bool,
    /// Those do of which that is all that is not safe: which ask FIONREAD, and which do not.
    asking_send: bool,
    silent_send: bool,
    /// splice(2) is refused from what is redirected to.
    guards: bool,
    known: Files,
    /// What was not looked at by then stays out.
    deadline: Instant,
}

/// Files of code that were looked into.
#[derive(Debug, Default)]
pub(super) struct Files(HashMap<code::Identity, Look>);

impl Files {
    /// Of more, all are looked into again.
    const MOST: usize = 32_768;

    fn note(&mut self, file: code::Identity, look: Look) {
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.insert(file, look);
    }
}

/// The sidecar, and what the user vouches for.
pub(super) const TRUSTED_ANYWAY: u32 = end_flag::TRUSTED | end_flag::DRAINS;

/// For all programs of a workload together. What a container has in store to be read must not hold up others.
const PATIENCE: Duration = Duration::from_secs(2);

const TICK: Duration = Duration::from_millis(20);

impl<'a> Readers<'a> {
    pub(super) fn new(config: &'a Config, plan: &Plan) -> Self {
        Self::knowing(config, plan, Files::default())
    }

    /// With what was found out before.
    pub(super) fn knowing(config: &'a Config, plan: &Plan, known: Files) -> Self {
        Self {
            config,
            asking: plan.findings.miscounts_waiting,
            unknown_send: plan.unknown_send(),
            asking_send: plan.may_send(true),
            silent_send: plan.may_send(false),
            guards: plan.guards(),
            known,
            deadline: Instant::now() + PATIENCE,
        }
    }

    pub(super) fn into_known(self) -> Files {
        self.known
    }

    /// The programs of the processes below a cgroup.
    pub(super) fn in_cgroup(&mut self, cgroup: &Path) -> Result<Programs> {
        Ok(self.of_processes(&processes(cgroup)?))
    }

    /// Of these.
    pub(super) fn of_processes(&mut self, pids: &[i32]) -> Programs {
        let mut found = Programs::default();
        for &pid in pids {
            if self.is_sidecar(pid) {
                continue;
            }
            let Ok(program) = executable(pid) else { continue };
            let class =
                if is_recent(program.changed) { self.hazardous(Hazard::Changing) } else { self.class(pid) };
            let named = |why: Unsafe| Hazardous {
                program: fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default(),
                reason: why.hazard.describe().to_owned(),
                sends: why.sends,
                nonblocking: why.nonblocking,
            };
            match class {
                Class::Safe => drop(found.safe.insert(program)),
                Class::Guarded(reads, why) => {
                    let flags = end_flag::GUARDED | reads.flags();
                    found.guarded.insert(program, (flags, named(why)));
                }
                Class::Hazardous(why) => {
                    found.add_hazardous(program, named(why));
                    if why.hazard.may_pass() {
                        found.unclear.insert(program);
                    }
                }
            }
        }
        found.settle();
        found
    }

    /// Marks the listeners that are there already: what they accept from now on is read by a trusted process. `of`: whose
    /// they are, if not any process's of the namespace. How many are marked otherwise than before.
    pub(super) fn mark_listeners(
        &mut self,
        netns: &Netns,
        policy: &Policy,
        node_dir: &Path,
        trust: &Trust<'_>,
        of: Option<&[i32]>,
    ) -> Result<usize> {
        let path = map_in(node_dir, map::READER_MARKS);
        let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
        let mut marks: SkStorage<MapData, Raw<Mark>> = SkStorage::try_from(Map::SkStorage(data))?;
        let mut changed = 0;
        let listeners = netns::listeners(Some(netns))?;
        let borrowed = match of {
            Some(pids) => late_listeners::borrow_of(pids, &listeners),
            None => late_listeners::borrow(netns, &listeners)?,
        };
        for (listener, found) in borrowed {
            // Not ours to look into: its connections stay on the stack.
            let Ok(Some((pid, socket))) = found else { continue };
            let sidecar = [policy.outbound_port, policy.inbound_port].contains(&listener.addr.port());
            let known = || executable(pid).ok().and_then(|program| trust.of(&program));
            let reads = if sidecar || self.is_sidecar(pid) {
                TRUSTED_ANYWAY
            } else if let Some(known) = known() {
                known
            } else {
                match self.class(pid) {
                    Class::Safe => end_flag::TRUSTED,
                    Class::Guarded(reads, _) if trust.guards => end_flag::TRUSTED | reads.flags(),
                    Class::Guarded(_, why) | Class::Hazardous(why) => {
                        found::flags(why.sends, why.nonblocking)
                    }
                }
            };
            let nonblocking = fcntl(&socket, FcntlArg::F_GETFL)
                .is_ok_and(|flags| OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
            let flags = reads | if nonblocking { end_flag::EVENT_LOOP } else { 0 };
            let trusts = |flags: u32| flags & (TRUSTED_ANYWAY | end_flag::SENDS);
            let old = marks.get(&socket.as_fd(), 0).ok().map(|old| old.0);
            if old.is_some_and(|old| trusts(old.flags) == trusts(flags)) {
                continue;
            }
            changed += 1;
            let cookie = socket_cookie::socket_cookie(socket.as_fd()).context("SO_COOKIE")?;
            // Whether it blocks can be asked of the socket itself where it is known.
            let sk = old.filter(|old| old.cookie == cookie).map_or(0, |old| old.sk);
            let program = if sidecar { None } else { executable(pid).ok() };
            let mark = Mark { flags, reserved: 0, sk, cookie, program: program.unwrap_or(Executable::NONE) };
            marks.insert(&socket.as_fd(), Raw(mark), 0).context("mark a listener")?;
        }
        Ok(changed)
    }

    /// As the programs ask of a socket (`proxy_common::tproxy::is_sidecar`).
    fn is_sidecar(&self, pid: i32) -> bool {
        fs::metadata(format!("/proc/{pid}")).is_ok_and(|process| {
            self.config.proxy_uids.contains(&process.uid()) || self.config.proxy_gids.contains(&process.gid())
        })
    }

    /// Of the process's program and every library it has mapped.
    fn class(&mut self, pid: i32) -> Class {
        let Ok(files) = code::files_of(pid) else { return self.hazardous(Hazard::Unread) };
        let (mut first, mut reads) = (None, Some(Reads::Otherwise));
        let (mut asks, mut uring) = (false, false);
        for file in &files {
            let look = self.look_into(file).unwrap_or(Look::UNREAD);
            match look.hazard {
                // Whatever else it does.
                Some(hazard) if !hazard.is_known() => return self.hazardous(hazard),
                hazard => first = first.or(hazard),
            }
            asks |= look.asks;
            uring |= look.uring;
            reads = reads.zip(look.guarded).map(|(one, other)| one.max(other));
        }
        let Some(hazard) = first else { return Class::Safe };
        let sends = if asks { self.asking_send } else { self.silent_send };
        let nonblocking = reads == Some(Reads::Drained);
        let why = Unsafe { hazard, sends: sends || self.unknown_send, nonblocking };
        match reads.filter(|_| self.guards && !uring) {
            Some(reads) => Class::Guarded(reads, why),
            None => Class::Hazardous(why),
        }
    }

    /// One of which nothing else is known.
    fn hazardous(&self, hazard: Hazard) -> Class {
        Class::Hazardous(Unsafe { hazard, sends: self.unknown_send, nonblocking: false })
    }

    /// What one file of code may do, which is read once.
    fn look_into(&mut self, file: &code::Code) -> Result<Look> {
        let (identity, readable) = file.open()?;
        if let Some(known) = self.known.0.get(&identity) {
            return Ok(*known);
        }
        let look = hazard::of(&readable.read(self.deadline)?, file.is_program, self.asking, self.guards);
        self.known.note(identity, look);
        Ok(look)
    }
}

/// Whether a file that is written now could still have the same time of its last change: the kernel's clock for it ticks
/// every few milliseconds before Linux 6.13.
fn is_recent(changed: u64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_sub(TICK).as_nanos()).unwrap_or(u64::MAX) <= changed
}

/// The kernel's numbers of a process's program.
fn executable(pid: i32) -> Result<Executable> {
    program(Path::new(&format!("/proc/{pid}/exe")))
}

/// The kernel's numbers of a program file.
pub(super) fn program(path: &Path) -> Result<Executable> {
    let meta = fs::metadata(path).with_context(|| format!("program {}: stat", path.display()))?;
    let (major, minor) = (libc::major(meta.dev()), libc::minor(meta.dev()));
    let changed = changed_at(meta.ctime() as u64, meta.ctime_nsec() as u32);
    Ok(Executable { ino: meta.ino(), dev: major << 20 | minor, reserved: 0, changed })
}

/// Of a cgroup and those below it, as far as they are visible.
pub(super) fn processes(cgroup: &Path) -> Result<Vec<i32>> {
    let mut found = all_processes(cgroup)?;
    found.retain(|pid| *pid != 0);
    Ok(found)
}

/// 0: one that is not visible here, in another namespace of processes.
pub(super) fn all_processes(cgroup: &Path) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    let text = fs::read_to_string(cgroup.join("cgroup.procs"))
        .with_context(|| format!("list the processes of {}", cgroup.display()))?;
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in
        fs::read_dir(cgroup).with_context(|| format!("list {}", cgroup.display()))?.filter_map(Result::ok)
    {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // A container that ends meanwhile takes its directory with it.
            found.extend(all_processes(&entry.path()).unwrap_or_default());
        }
    }
    Ok(found)
}
