//! Programs start when they like: the first time that nobody knows the program of a socket, userspace is asked to look at
//! the workload's programs.

use super::Executable;

/// A program is asked about no more often, as long as nobody answers.
const ASK_AGAIN_NS: u64 = 1_000_000_000;
/// Bytes of the ring of those who ask.
pub const ASKS_SIZE: u32 = 16 << 10;
/// Programs with times of their own; more share them, and are asked about a little later.
const PROGRAMS: usize = 8;

/// When a workload's programs were asked about, by slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Asked {
    /// The number of the workload that asked (`Workload::number`).
    number: u32,
    reserved: u32,
    at: [u64; PROGRAMS],
}

impl Asked {
    /// Whether to ask about a program of this workload now, by a clock that only goes forward.
    #[inline(always)]
    pub const fn is_due(&mut self, number: u32, program: &Executable, now: u64) -> bool {
        if self.number != number {
            // The slot was another workload's.
            *self = Self { number, reserved: 0, at: [0; PROGRAMS] };
        }
        let at = &mut self.at[(program.ino ^ program.ino >> 3) as usize & (PROGRAMS - 1)];
        if *at != 0 && now.wrapping_sub(*at) < ASK_AGAIN_NS {
            return false;
        }
        *at = now;
        true
    }
}

const _: () = assert!(size_of::<Asked>() == 72);

#[cfg(test)]
mod tests {
    use super::*;

    const fn program(ino: u64) -> Executable {
        Executable { ino, dev: 1, reserved: 0, changed: 0 }
    }

    #[test]
    fn each_program_is_asked_about_and_again_after_a_while() {
        let (mut asked, now) = (Asked::default(), 1 << 40);
        assert!(asked.is_due(7, &program(1), now));
        assert!(!asked.is_due(7, &program(1), now + ASK_AGAIN_NS - 1));
        assert!(asked.is_due(7, &program(2), now + 1));
        assert!(asked.is_due(7, &program(1), now + ASK_AGAIN_NS));
    }

    #[test]
    fn who_has_the_slot_next_asks_anew() {
        let (mut asked, now) = (Asked::default(), 1 << 40);
        assert!(asked.is_due(7, &program(1), now));
        assert!(asked.is_due(8, &program(1), now + 1));
    }
}
