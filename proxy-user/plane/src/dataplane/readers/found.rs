//! What the programs of a workload turned out to be.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use proxy_common::accel::{Executable, end_flag};
use serde::{Deserialize, Serialize};

use super::{TRUSTED_ANYWAY, hazard::Hazard};

/// The programs of a cgroup, but for the sidecar's, which is trusted whatever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::dataplane) struct Programs {
    pub(in crate::dataplane) safe: BTreeSet<Executable>,
    /// Safe where splice(2) is refused, with their flags; elsewhere as said.
    pub(in crate::dataplane) guarded: BTreeMap<Executable, (u32, Hazardous)>,
    pub(in crate::dataplane) hazardous: BTreeMap<Executable, Hazardous>,
    /// Those of the hazardous that another look may find safe.
    pub(in crate::dataplane) unclear: BTreeSet<Executable>,
}

impl Programs {
    /// By one more of its processes. What one of them may not do the others' may not.
    pub(in crate::dataplane) fn add_hazardous(&mut self, program: Executable, mut named: Hazardous) {
        if let Some(known) = self.hazardous.get(&program) {
            named.sends &= known.sends;
            named.nonblocking &= known.nonblocking;
        }
        self.hazardous.insert(program, named);
    }

    /// One process is enough against its program: another one may map the library later.
    pub(in crate::dataplane) fn settle(&mut self) {
        let Self { safe, guarded, hazardous, unclear } = self;
        guarded.retain(|program, _| !hazardous.contains_key(program));
        safe.retain(|program| !hazardous.contains_key(program) && !guarded.contains_key(program));
        unclear.retain(|program| hazardous.contains_key(program));
    }

    /// With those that ran before, of which nothing better is believed now, unless another look was to be had. Of very many
    /// those that run now.
    pub(in crate::dataplane) fn join(&mut self, before: &Self) {
        if before.safe.len() + before.guarded.len() + before.hazardous.len() > Self::MOST {
            return;
        }
        let is_known = |it: &Self, program: &Executable| {
            it.safe.contains(program)
                || it.guarded.contains_key(program)
                || it.hazardous.contains_key(program)
        };
        for (program, named) in &before.hazardous {
            let was_unclear = before.unclear.contains(program);
            if was_unclear && is_known(self, program) {
                continue;
            }
            self.add_hazardous(*program, named.clone());
            self.unclear.remove(program);
            if was_unclear {
                self.unclear.insert(*program);
            }
        }
        self.guarded.extend(before.guarded.iter().map(|(program, why)| (*program, why.clone())));
        self.safe.extend(&before.safe);
        self.settle();
    }

    /// A workload that runs more programs than this starts ever new ones.
    const MOST: usize = 256;
}

/// What is made of them.
pub(in crate::dataplane) struct Trust<'a> {
    pub(in crate::dataplane) programs: &'a Programs,
    /// Those the user vouches for.
    pub(in crate::dataplane) vouched: &'a [Executable],
    /// splice(2) is refused.
    pub(in crate::dataplane) guards: bool,
}

impl Trust<'_> {
    /// Those to which nothing is redirected, for people to see.
    pub(in crate::dataplane) fn named(&self) -> Vec<Hazardous> {
        let guarded = self.programs.guarded.iter().filter(|_| !self.guards);
        let guarded = guarded.map(|(program, (_, why))| (program, why));
        let stays = |(program, _): &(&Executable, &Hazardous)| !self.vouched.contains(program);
        let all: BTreeSet<&Hazardous> =
            self.programs.hazardous.iter().chain(guarded).filter(stays).map(|(_, named)| named).collect();
        all.into_iter().cloned().collect()
    }

    /// Flags of what a program's listeners accept. None: nobody has looked at it.
    pub(super) fn of(&self, program: &Executable) -> Option<u32> {
        let Programs { safe, guarded, hazardous, .. } = self.programs;
        if self.vouched.contains(program) {
            Some(TRUSTED_ANYWAY)
        } else if let Some(named) = hazardous.get(program) {
            Some(named.flags())
        } else if let Some((flags, named)) = guarded.get(program) {
            Some(if self.guards { flags & !end_flag::GUARDED | end_flag::TRUSTED } else { named.flags() })
        } else {
            safe.contains(program).then_some(end_flag::TRUSTED)
        }
    }
}

/// A program to which nothing is redirected.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Hazardous {
    pub program: PathBuf,
    pub reason: String,
    /// Whether what its servers send is redirected all the same, where their sockets do not block and their answers are large.
    #[serde(default)]
    pub sends: bool,
    /// Whether none of its sockets blocks.
    #[serde(default)]
    pub nonblocking: bool,
}

/// What such a program may, as bits of [`end_flag`].
pub(super) const fn flags(sends: bool, nonblocking: bool) -> u32 {
    match (sends, nonblocking) {
        (true, true) => end_flag::SENDS | end_flag::NONBLOCKING,
        (true, false) => end_flag::SENDS,
        (false, _) => 0,
    }
}

impl Hazardous {
    /// Of [`end_flag`].
    pub(in crate::dataplane) const fn flags(&self) -> u32 {
        flags(self.sends, self.nonblocking)
    }

    /// Whether it stays on the stack because it may splice.
    pub fn may_splice(&self) -> bool {
        self.reason == Hazard::Splices.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn program(ino: u64) -> Executable {
        Executable { ino, dev: 1, reserved: 0, changed: 0 }
    }

    fn hazardous(name: &str) -> Hazardous {
        Hazardous { program: name.into(), reason: String::new(), sends: false, nonblocking: false }
    }

    #[test]
    fn nothing_better_is_believed_later() {
        let before = Programs {
            safe: [program(1)].into(),
            hazardous: [(program(2), hazardous("a")), (program(3), hazardous("b"))].into(),
            unclear: [program(3)].into(),
            ..Programs::default()
        };
        let mut now = Programs { safe: [program(2), program(3), program(4)].into(), ..Programs::default() };
        now.join(&before);
        assert_eq!(now.safe, [program(1), program(3), program(4)].into());
        assert_eq!(now.hazardous.keys().copied().collect::<Vec<_>>(), [program(2)]);
        assert!(now.unclear.is_empty());

        let mut later = Programs { hazardous: [(program(1), hazardous("c"))].into(), ..Programs::default() };
        later.join(&now);
        assert_eq!(later.safe, [program(3), program(4)].into());
        let trust = Trust { programs: &later, vouched: &[program(2)], guards: false };
        assert_eq!(trust.named(), [hazardous("c")]);
        let of = [1, 2, 3, 5].map(|ino| trust.of(&program(ino)));
        assert_eq!(of, [Some(0), Some(TRUSTED_ANYWAY), Some(end_flag::TRUSTED), None]);
    }
}
