//! How a program may read that misses bytes of a socket in the map, as far as its code tells.

use anyhow::{Context, Result};
use object::{Architecture, Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

use super::splicing::{self, Reads};

/// Defined by the C library, which asks FIONREAD of its resolver's UDP sockets, by libstdc++, of files, and by libsystemd,
/// of sockets of datagrams (`src/basic/socket-util.c: next_datagram_size_fd`): none of them of anybody's connection.
const NOT_OF_CONNECTIONS: [&str; 3] = ["ioctl", "_ZNSt12__basic_fileIcE9showmanycEv", "sd_notify"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hazard {
    /// splice(2) does not see redirected bytes.
    Splices,
    /// Where this kernel's FIONREAD does not count all bytes: nginx stops reading at 0, and waits for more.
    AsksWaiting,
    /// Its file was written in this moment.
    Changing,
    /// Shows nothing.
    Hidden,
    /// What it runs could not be looked into this time.
    Unread,
}

impl Hazard {
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Splices => "may read with splice(2), which does not see redirected bytes",
            Self::AsksWaiting => {
                "may ask FIONREAD, which this kernel answers wrongly for sockets in a sockmap"
            }
            Self::Changing => "its file changed while it was looked at",
            Self::Hidden => {
                "shows nothing of how it reads: it is statically linked, or no program of this machine"
            }
            Self::Unread => "could not be looked into: not readable, or not in time",
        }
    }

    /// Whether how it reads is known, but for that.
    pub(super) const fn is_known(self) -> bool {
        matches!(self, Self::Splices | Self::AsksWaiting)
    }

    /// Whether another look may find another answer.
    pub(super) const fn may_pass(self) -> bool {
        matches!(self, Self::Changing | Self::Unread)
    }
}

/// What a file of code may do that misses bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Look {
    pub(super) hazard: Option<Hazard>,
    /// The same where splice(2) is refused. None: it may still.
    pub(super) guarded: Option<Reads>,
    /// It may ask FIONREAD where this kernel answers wrongly.
    pub(super) asks: bool,
    /// It may have io_uring splice, which the guard does not see.
    pub(super) uring: bool,
}

impl Look {
    pub(super) const HIDDEN: Self =
        Self { hazard: Some(Hazard::Hidden), guarded: None, asks: true, uring: false };
    pub(super) const UNREAD: Self = Self { hazard: Some(Hazard::Unread), ..Self::HIDDEN };
}

/// `asking`: FIONREAD counts too. `guards`: splice(2) is refused from what is redirected to.
pub(super) fn of(data: &[u8], is_program: bool, asking: bool, guards: bool) -> Look {
    in_elf(data, is_program, asking, guards).unwrap_or(Look::HIDDEN)
}

fn in_elf(data: &[u8], is_program: bool, asking: bool, guards: bool) -> Result<Look> {
    let elf = object::File::parse(data).context("not an ELF file")?;
    let dynamic: Vec<_> = elf.dynamic_symbols().collect();
    let exempt = || {
        let mut defined = dynamic.iter().filter(|it| it.is_definition()).filter_map(|it| it.name().ok());
        defined.any(|name| NOT_OF_CONNECTIONS.contains(&name))
    };
    let imports = dynamic.iter().any(|it| it.is_undefined() && it.name() == Ok("splice"));
    let is_go = is_program && splicing::is_go(data);
    let waiting = (asking && asks_waiting(&elf)? && !exempt()).then_some(Hazard::AsksWaiting);
    // A Go program shows what it does, linked as it may be.
    let hazard = if is_program && dynamic.is_empty() && !is_go {
        Some(Hazard::Hidden)
    } else if imports || is_go {
        Some(Hazard::Splices)
    } else {
        waiting
    };
    let guarded = match (hazard, waiting) {
        (None, _) => Some(Reads::Otherwise),
        (_, Some(_)) => None,
        _ if is_go && !imports => splicing::of_go(&elf, data),
        (Some(Hazard::Splices), None) => splicing::of_others(&elf, data, is_program),
        _ => None,
    };
    Ok(Look { hazard, guarded, asks: waiting.is_some(), uring: guards && splicing::knows_uring(data) })
}

/// Whether the code loads FIONREAD into a register. A program that has the number from elsewhere is not noticed.
fn asks_waiting(elf: &object::File<'_>) -> Result<bool> {
    let loads: fn(&[u8]) -> bool = match elf.architecture() {
        Architecture::X86_64 => x86_loads,
        Architecture::Aarch64 => arm_loads,
        _ => return Ok(true),
    };
    for section in elf.sections().filter(|section| section.kind() == SectionKind::Text) {
        if loads(section.data().context("read the code")?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `mov $0x541b, %r32`
fn x86_loads(code: &[u8]) -> bool {
    let number = u32::try_from(libc::FIONREAD).unwrap_or(u32::MAX).to_le_bytes();
    memchr::memmem::find_iter(code, &number).any(|at| at > 0 && (0xb8..=0xbf).contains(&code[at - 1]))
}

/// `mov w<n>, #0x541b`, `mov x<n>, #0x541b`
fn arm_loads(code: &[u8]) -> bool {
    const MOVZ: u32 = 0x5280_0000;
    const REGISTER: u32 = 0b1_1111;
    const WIDE: u32 = 1 << 31;
    let load = MOVZ | u32::try_from(libc::FIONREAD).unwrap_or(u32::MAX) << 5;
    code.as_chunks::<4>().0.iter().any(|word| u32::from_le_bytes(*word) & !(REGISTER | WIDE) == load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_program_is_not_trusted() {
        assert_eq!(of(b"#!/bin/sh\n", true, false, true), Look::HIDDEN);
    }

    /// This test imports splice, and nobody knows what it does when it may not.
    #[test]
    fn who_splices_is_trusted_only_where_it_is_known_to_read_instead() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let look = of(&own, true, false, true);
        assert_eq!((look.hazard, look.guarded), (Some(Hazard::Splices), None));
    }

    #[test]
    fn loading_the_number_is_seen_and_comparing_with_it_is_not() {
        // mov $0x541b,%esi; cmp $0x541b,%eax; mov $0x5421,%esi (FIONBIO)
        assert!(x86_loads(&[0x90, 0xbe, 0x1b, 0x54, 0, 0]));
        assert!(!x86_loads(&[0x3d, 0x1b, 0x54, 0, 0]));
        assert!(!x86_loads(&[0xbe, 0x21, 0x54, 0, 0]));
        // mov w1, #0x541b; mov x2, #0x541b; mov w1, #0x5421
        assert!(arm_loads(&[0x61, 0x83, 0x8a, 0x52]));
        assert!(arm_loads(&[0, 0, 0, 0, 0x62, 0x83, 0x8a, 0xd2]));
        assert!(!arm_loads(&[0x21, 0x84, 0x8a, 0x52]));
    }
}
