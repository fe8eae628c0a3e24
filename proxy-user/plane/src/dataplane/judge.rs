//! Looks at the programs of workloads that ask for it, after they were attached: most pods start their programs then.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, ensure};
use proxy_common::{accel::Executable, names::map};

use super::{
    accelerated,
    acceleration::Plan,
    bpffs,
    known::Known,
    layout::layout,
    lock::Lock,
    meta::Meta,
    node_pins, passthrough6,
    pins::WorkloadPins,
    readers::{self, Files, Hazardous, Programs, Readers, Trust},
};

/// What came of a look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    /// Nothing is known that was not known before.
    Same,
    /// Programs are known that were not: so many to which may be redirected, so many to which not.
    Learnt { safe: usize, hazardous: usize },
    /// Its processes are not visible here.
    Hidden,
    /// The workload is not accelerated.
    Off,
}

/// Remembers what it has looked into.
pub struct Judge {
    known: Known,
    files: Files,
    /// What each workload's programs turned out to be, by tenancy.
    found: HashMap<u64, Programs>,
    /// Of no process of theirs anything better is believed later.
    lowered: BTreeMap<Executable, Hazardous>,
}

/// Of more programs, all are looked at again.
const MOST: usize = 16_384;

impl Judge {
    /// # Errors
    /// When nothing is attached, or by another version.
    pub fn open() -> Result<Self> {
        let known = Known::pinned(&node_pins::dir()).context("nothing is attached by this version")?;
        Ok(Self { known, files: Files::default(), found: HashMap::new(), lowered: BTreeMap::new() })
    }

    /// Looks at the programs that the workload runs now. What they accept and connect from now on is redirected to them
    /// if they are safe.
    pub fn look(&mut self, tenancy: u64, workload: &WorkloadPins) -> Result<Judged> {
        let read = || Meta::read(&workload.map(map::META)).with_context(|| workload.name());
        let meta = read()?;
        ensure!(meta.layout == layout(), "another version of sidestep attached {}", workload.name());
        let plan = Plan::of(&meta.acceleration, &self.known)?;
        if meta.not_accelerated.is_some() || !plan.is_on() {
            return Ok(Judged::Off);
        }
        let mut pids = readers::all_processes(&meta.cgroup_path)?;
        if !pids.is_empty() && pids.iter().all(|pid| *pid == 0) {
            return Ok(Judged::Hidden);
        }
        pids.retain(|pid| *pid != 0);
        let mut readers = Readers::knowing(&meta.config, &plan, std::mem::take(&mut self.files));
        let done = self.apply(tenancy, workload, &meta, &mut readers, &pids);
        self.files = readers.into_known();
        done
    }

    /// Forgets workloads that are gone.
    pub fn keep(&mut self, there: impl Fn(u64) -> bool) {
        self.found.retain(|tenancy, _| there(*tenancy));
    }

    fn apply(
        &mut self,
        tenancy: u64,
        workload: &WorkloadPins,
        meta: &Meta,
        readers: &mut Readers<'_>,
        pids: &[i32],
    ) -> Result<Judged> {
        let mut programs = self.lower(readers.of_processes(pids));
        if let Some(before) = self.found.get(&tenancy) {
            programs.join(before);
        }
        let node_dir = node_pins::dir();
        let vouched: Vec<Executable> =
            meta.acceleration.trusted.iter().filter_map(|path| readers::program(path).ok()).collect();
        let is_new = self.found.get(&tenancy) != Some(&programs);
        if is_new {
            accelerated::trust(&node_dir, &programs, &[])?;
        }
        let netns =
            passthrough6::find(&meta.netns_path, meta.netns).context("its network namespace is gone")?;
        let trust = Trust { programs: &programs, vouched: &vouched, guards: meta.not_guarded.is_none() };
        let marked =
            readers.mark_listeners(&netns, &meta.compiled().policy, &node_dir, &trust, Some(pids))?;
        if is_new || marked > 0 {
            accelerated::forget_servers(&node_dir, meta.slot..meta.slot + 1)?;
        }
        if !is_new {
            return Ok(Judged::Same);
        }
        tell(workload, meta, trust.named())?;
        let learnt = Judged::Learnt { safe: programs.safe.len(), hazardous: programs.hazardous.len() };
        self.found.insert(tenancy, programs);
        Ok(learnt)
    }

    /// A program that one process has shown to be hazardous stays so, whatever its others have mapped.
    fn lower(&mut self, mut programs: Programs) -> Programs {
        if self.lowered.len() >= MOST {
            self.lowered.clear();
        }
        for (program, hazardous) in &self.lowered {
            let runs = programs.safe.contains(program)
                || programs.guarded.contains_key(program)
                || programs.hazardous.contains_key(program);
            if runs {
                programs.add_hazardous(*program, hazardous.clone());
            }
        }
        programs.settle();
        for (program, hazardous) in &programs.hazardous {
            if !programs.unclear.contains(program) {
                self.lowered.insert(*program, hazardous.clone());
            }
        }
        programs
    }
}

/// The workload's description names the programs to which nothing is redirected.
fn tell(workload: &WorkloadPins, seen: &Meta, hazardous: Vec<Hazardous>) -> Result<()> {
    if seen.hazardous == hazardous {
        return Ok(());
    }
    let Some(_lock) = Lock::take(&bpffs::root())? else { return Ok(()) };
    let now = Meta::read(&workload.map(map::META)).with_context(|| workload.name())?;
    // Attached again meanwhile: then its programs were looked at, too.
    if now != *seen {
        return Ok(());
    }
    Meta { hazardous, ..now }.replace(workload)
}
