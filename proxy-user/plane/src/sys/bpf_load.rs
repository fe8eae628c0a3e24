//! BPF_PROG_LOAD of a few instructions: what a probe asks the verifier, and the small programs of a workload.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd, OwnedFd},
};

use super::{
    bpf::{self, bpf},
    bpf_link::AttachType,
};

const BPF_PROG_LOAD: libc::c_int = 5;

/// `enum bpf_prog_type`, the ones in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ProgramType {
    SchedCls = 3,
    SockOps = 13,
    SkMsg = 16,
    CgroupSockAddr = 18,
    CgroupSockopt = 25,
    Lsm = 29,
    SkLookup = 30,
}

/// One instruction, `struct bpf_insn`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    /// Source in the upper half, destination in the lower.
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    /// `r0 = value`
    pub const fn result(value: i32) -> Self {
        Self { code: 0xb7, registers: 0, offset: 0, immediate: value }
    }

    /// `r0 = *(u32 *)(r1 + offset)`, r1 being the context.
    pub const fn load_u32(offset: i16) -> Self {
        Self { code: 0x61, registers: 0x10, offset, immediate: 0 }
    }

    /// `call helper`, with the context in r1.
    pub const fn call(helper: i32) -> Self {
        Self { code: 0x85, registers: 0, offset: 0, immediate: helper }
    }

    /// `rN = value`
    pub const fn set(register: u8, value: i32) -> Self {
        Self { code: 0xb7, registers: register, offset: 0, immediate: value }
    }

    /// `r1 = r10 - 8`, after `*(u64 *)(r10 - 8) = 0`: a buffer.
    pub const fn buffer() -> [Self; 3] {
        [
            Self { code: 0x7a, registers: 10, offset: -8, immediate: 0 },
            Self { code: 0xbf, registers: 0xa1, offset: 0, immediate: 0 },
            Self { code: 0x07, registers: 1, offset: 0, immediate: -8 },
        ]
    }

    /// `r2 = atomic_fetch_add((u64 *)r1, r2)`
    pub const fn fetch_add() -> Self {
        Self { code: 0xdb, registers: 0x21, offset: 0, immediate: 0x01 }
    }

    /// `to = from`
    pub const fn copy(to: u8, from: u8) -> Self {
        Self { code: 0xbf, registers: from << 4 | to, offset: 0, immediate: 0 }
    }

    /// `register += value`
    pub const fn add(register: u8, value: i32) -> Self {
        Self { code: 0x07, registers: register, offset: 0, immediate: value }
    }

    /// `*(u32 *)(base + offset) = value`
    pub const fn store_word(base: u8, offset: i16, value: i32) -> Self {
        Self { code: 0x62, registers: base, offset, immediate: value }
    }

    /// `*(u32 *)(base + offset) = register`
    pub const fn store(base: u8, offset: i16, register: u8) -> Self {
        Self { code: 0x63, registers: register << 4 | base, offset, immediate: 0 }
    }

    /// `to = *(u32 *)(base + offset)`
    pub const fn load_word(to: u8, base: u8, offset: i16) -> Self {
        Self { code: 0x61, registers: base << 4 | to, offset, immediate: 0 }
    }

    /// `to = *(u8 *)(base + offset)`
    pub const fn load_byte(to: u8, base: u8, offset: i16) -> Self {
        Self { code: 0x71, registers: base << 4 | to, offset, immediate: 0 }
    }

    /// `*(u8 *)(base + offset) = register`
    pub const fn store_byte(base: u8, offset: i16, register: u8) -> Self {
        Self { code: 0x73, registers: register << 4 | base, offset, immediate: 0 }
    }

    /// `register &= value`
    pub const fn and(register: u8, value: i32) -> Self {
        Self { code: 0x57, registers: register, offset: 0, immediate: value }
    }

    /// `to |= from`
    pub const fn or(to: u8, from: u8) -> Self {
        Self { code: 0x4f, registers: from << 4 | to, offset: 0, immediate: 0 }
    }

    /// `if register != value goto +offset`
    pub const fn skip_unless(register: u8, value: i32, offset: i16) -> Self {
        Self { code: 0x55, registers: register, offset, immediate: value }
    }

    /// `if one != other goto +offset`
    pub const fn skip_unless_same(one: u8, other: u8, offset: i16) -> Self {
        Self { code: 0x5d, registers: other << 4 | one, offset, immediate: 0 }
    }

    /// `if register == value goto +offset`
    pub const fn skip_if(register: u8, value: i32, offset: i16) -> Self {
        Self { code: 0x15, registers: register, offset, immediate: value }
    }

    /// `if register == 0 goto +offset`
    pub const fn skip_if_zero(register: u8, offset: i16) -> Self {
        Self::skip_if(register, 0, offset)
    }

    /// `register = map`
    pub fn load_map(register: u8, map: BorrowedFd<'_>) -> [Self; 2] {
        const BPF_PSEUDO_MAP_FD: u8 = 1;
        [
            Self {
                code: 0x18,
                registers: BPF_PSEUDO_MAP_FD << 4 | register,
                offset: 0,
                immediate: map.as_raw_fd(),
            },
            Self { code: 0, registers: 0, offset: 0, immediate: 0 },
        ]
    }

    pub const fn exit() -> Self {
        Self { code: 0x95, registers: 0, offset: 0, immediate: 0 }
    }
}

/// The head of the attributes, up to `attach_btf_id`.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    /// Of BTF, for whoever has some: nobody here.
    unused: [u32; 9],
    attach_btf_id: u32,
}

/// Has the kernel verify a program.
///
/// # Errors
/// EPERM: not allowed to ask. EINVAL or EACCES: the kernel does not know the type, a helper or a member of the context.
pub fn load(
    kind: ProgramType,
    attach: Option<AttachType>,
    name: &str,
    program: &[Instruction],
) -> io::Result<OwnedFd> {
    load_for(kind, attach, 0, name, program)
}

/// The same for one function of the kernel, by the number of its type.
///
/// # Errors
/// As above.
pub fn load_for(
    kind: ProgramType,
    attach: Option<AttachType>,
    function: u32,
    name: &str,
    program: &[Instruction],
) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut attr = LoadAttr {
        prog_type: kind as u32,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: bpf::name(name),
        prog_ifindex: 0,
        expected_attach_type: attach.map_or(0, |attach| attach as u32),
        unused: [0; 9],
        attach_btf_id: function,
    };
    let fd = bpf(BPF_PROG_LOAD, &mut attr)?;
    // SAFETY: a descriptor the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
