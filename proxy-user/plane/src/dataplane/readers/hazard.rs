//! How a program may read that misses bytes of a socket in the map, as far as its code tells.

use anyhow::{Context, Result};
use object::{Architecture, Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

/// A function of Go's runtime, named in every Go program that can use the network.
const GO_SPLICE: &[u8] = b"internal/poll.Splice";
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
}

impl Hazard {
    /// Whether another look may find another answer.
    pub(super) const fn may_pass(self) -> bool {
        matches!(self, Self::Changing | Self::Unread)
    }
}

/// What a file of code may do; `asking`: FIONREAD counts too. None: nothing that misses bytes.
pub(super) fn of(data: &[u8], is_program: bool, asking: bool) -> Option<Hazard> {
    in_elf(data, is_program, asking).unwrap_or(Some(Hazard::Hidden))
}

fn in_elf(data: &[u8], is_program: bool, asking: bool) -> Result<Option<Hazard>> {
    let elf = object::File::parse(data).context("not an ELF file")?;
    let dynamic: Vec<_> = elf.dynamic_symbols().collect();
    if is_program && dynamic.is_empty() {
        return Ok(Some(Hazard::Hidden));
    }
    let imports_splice = dynamic.iter().any(|it| it.is_undefined() && it.name() == Ok("splice"));
    if imports_splice || is_program && memchr::memmem::find(data, GO_SPLICE).is_some() {
        return Ok(Some(Hazard::Splices));
    }
    let exempt = || {
        let mut defined = dynamic.iter().filter(|it| it.is_definition()).filter_map(|it| it.name().ok());
        defined.any(|name| NOT_OF_CONNECTIONS.contains(&name))
    };
    if asking && asks_waiting(&elf)? && !exempt() {
        return Ok(Some(Hazard::AsksWaiting));
    }
    Ok(None)
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
        assert_eq!(of(b"#!/bin/sh\n", true, false), Some(Hazard::Hidden));
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
