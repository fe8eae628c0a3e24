//! Which programs are known to read sockets in a way that misses nothing in the map.
//!
//! A program could splice if it, or a library it has mapped, imports the libc function, if it is a Go program (whose
//! `io.Copy` splices by itself), or if it is statically linked and so shows nothing; it could ask FIONREAD if code of
//! its own or of such a library has the number. Unknown is treated as could. Where the guard refuses splice(2), those that
//! are known to read then are safe (`splicing`), unless they may have io_uring splice.

mod code;
mod hazard;
mod splicing;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
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

use serde::{Deserialize, Serialize};

use self::{
    hazard::{Hazard, Look},
    splicing::Reads,
};
use super::{acceleration::Plan, late_listeners, pins::map_in, wire::Raw};
use crate::{
    netns::{self, Netns},
    sys::socket_cookie,
};

/// The programs of a cgroup, but for the sidecar's, which is trusted whatever it is.
#[derive(Debug, Default)]
pub(super) struct Programs {
    pub(super) safe: BTreeSet<Executable>,
    /// Safe where splice(2) is refused, with their flags; elsewhere as said.
    pub(super) guarded: BTreeMap<Executable, (u32, Hazardous)>,
    pub(super) hazardous: BTreeMap<Executable, Hazardous>,
}

impl Programs {
    /// Those to which nothing is redirected, for people to see; `guards`: splice(2) is refused. Those the user vouches for do
    /// not.
    pub(super) fn named(&self, vouched: &[Executable], guards: bool) -> Vec<Hazardous> {
        let guarded = self.guarded.iter().filter(|_| !guards).map(|(program, (_, why))| (program, why));
        let stays = |(program, _): &(&Executable, &Hazardous)| !vouched.contains(program);
        self.hazardous.iter().chain(guarded).filter(stays).map(|(_, hazardous)| hazardous.clone()).collect()
    }

    /// One process is enough against its program: another one may map the library later.
    fn settle(&mut self) {
        let Self { safe, guarded, hazardous } = self;
        guarded.retain(|program, _| !hazardous.contains_key(program));
        safe.retain(|program| !hazardous.contains_key(program) && !guarded.contains_key(program));
    }
}

/// How a process reads.
#[derive(Clone, Copy)]
enum Class {
    Safe,
    /// Safe where splice(2) is refused.
    Guarded(Reads, Hazard),
    Hazardous(Hazard),
}

/// A program to which nothing is redirected.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hazardous {
    pub program: PathBuf,
    pub reason: String,
    /// Whether what its servers send is redirected all the same, where their sockets do not block.
    #[serde(default)]
    pub sends: bool,
}

/// Looks into processes, each file of code once.
pub(super) struct Readers<'a> {
    config: &'a Config,
    /// This kernel's FIONREAD is wrong.
    asking: bool,
    /// Programs that are not safe send in the map all the same.
    unknown_send: bool,
    /// splice(2) is refused from what is redirected to.
    guards: bool,
    known: HashMap<code::Identity, Look>,
    /// What was not looked at by then stays out.
    deadline: Instant,
}

/// The sidecar, and what the user vouches for.
pub(super) const TRUSTED_ANYWAY: u32 = end_flag::TRUSTED | end_flag::DRAINS;

/// For all programs of a workload together. What a container has in store to be read must not hold up others.
const PATIENCE: Duration = Duration::from_secs(2);

const TICK: Duration = Duration::from_millis(20);

impl<'a> Readers<'a> {
    pub(super) fn new(config: &'a Config, plan: &Plan) -> Self {
        Self {
            config,
            asking: plan.findings.miscounts_waiting,
            unknown_send: plan.unknown_send(),
            guards: plan.guards(),
            known: HashMap::new(),
            deadline: Instant::now() + PATIENCE,
        }
    }

    /// The programs of the processes below a cgroup.
    pub(super) fn in_cgroup(&mut self, cgroup: &Path) -> Result<Programs> {
        let mut found = Programs::default();
        for pid in processes(cgroup)? {
            if self.is_sidecar(pid) {
                continue;
            }
            let Ok(program) = executable(pid) else { continue };
            let class =
                if is_recent(program.changed) { Class::Hazardous(Hazard::Changing) } else { self.class(pid) };
            let named = |hazard: Hazard| Hazardous {
                program: fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default(),
                reason: hazard.describe().to_owned(),
                sends: self.unknown_send,
            };
            match class {
                Class::Safe => drop(found.safe.insert(program)),
                Class::Guarded(reads, hazard) => {
                    found.guarded.insert(program, (end_flag::GUARDED | reads.flags(), named(hazard)));
                }
                Class::Hazardous(hazard) => drop(found.hazardous.insert(program, named(hazard))),
            }
        }
        found.settle();
        Ok(found)
    }

    /// Marks the listeners that are there already: what they accept from now on is read by a trusted process. `guards`:
    /// splice(2) is refused.
    pub(super) fn mark_listeners(
        &mut self,
        netns: &Netns,
        policy: &Policy,
        node_dir: &Path,
        vouched: &[Executable],
        guards: bool,
    ) -> Result<()> {
        let path = map_in(node_dir, map::READER_MARKS);
        let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
        let mut marks: SkStorage<MapData, Raw<Mark>> = SkStorage::try_from(Map::SkStorage(data))?;
        for (listener, found) in late_listeners::borrow(netns, &netns::listeners(Some(netns))?)? {
            // Not ours to look into: its connections stay on the stack.
            let Ok(Some((pid, socket))) = found else { continue };
            let sidecar = [policy.outbound_port, policy.inbound_port].contains(&listener.addr.port());
            let named = executable(pid).is_ok_and(|program| vouched.contains(&program));
            let sidecar = sidecar || self.is_sidecar(pid);
            let reads = if sidecar || named {
                TRUSTED_ANYWAY
            } else {
                match self.class(pid) {
                    Class::Safe => end_flag::TRUSTED,
                    Class::Guarded(reads, _) if guards => end_flag::TRUSTED | reads.flags(),
                    Class::Guarded(..) | Class::Hazardous(_) => 0,
                }
            };
            let nonblocking = fcntl(&socket, FcntlArg::F_GETFL)
                .is_ok_and(|flags| OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
            let flags = reads | if nonblocking { end_flag::EVENT_LOOP } else { 0 };
            let cookie = socket_cookie::socket_cookie(socket.as_fd()).context("SO_COOKIE")?;
            let mark = Mark { flags, reserved: 0, sk: 0, cookie };
            marks.insert(&socket.as_fd(), Raw(mark), 0).context("mark a listener")?;
        }
        Ok(())
    }

    /// As the programs ask of a socket (`proxy_common::tproxy::is_sidecar`).
    fn is_sidecar(&self, pid: i32) -> bool {
        fs::metadata(format!("/proc/{pid}")).is_ok_and(|process| {
            self.config.proxy_uids.contains(&process.uid()) || self.config.proxy_gids.contains(&process.gid())
        })
    }

    /// Of the process's program and every library it has mapped.
    fn class(&mut self, pid: i32) -> Class {
        let Ok(files) = code::files_of(pid) else { return Class::Hazardous(Hazard::Hidden) };
        let (mut hazard, mut reads, mut uring) = (None, Some(Reads::Otherwise), false);
        for file in &files {
            let look = self.look_into(file).unwrap_or(Look::HIDDEN);
            hazard = hazard.or(look.hazard);
            uring |= look.uring;
            reads = reads.zip(look.guarded).map(|(one, other)| one.max(other));
            if let Some(hazard) = hazard.filter(|_| !self.guards || reads.is_none()) {
                return Class::Hazardous(hazard);
            }
        }
        match (hazard, reads.filter(|_| !uring)) {
            (None, _) => Class::Safe,
            (Some(hazard), Some(reads)) => Class::Guarded(reads, hazard),
            (Some(hazard), None) => Class::Hazardous(hazard),
        }
    }

    /// What one file of code may do, which is read once.
    fn look_into(&mut self, file: &code::Code) -> Result<Look> {
        let (identity, readable) = file.open()?;
        if let Some(known) = self.known.get(&identity) {
            return Ok(*known);
        }
        let look = hazard::of(&readable.read(self.deadline)?, file.is_program, self.asking, self.guards);
        self.known.insert(identity, look);
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

/// Of a cgroup and those below it.
pub(super) fn processes(cgroup: &Path) -> Result<Vec<i32>> {
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
