//! Offsets of structure members, from the kernel's own type information. Format: Documentation/bpf/btf.rst.

use std::{collections::HashMap, fs, path::Path, sync::OnceLock};

use anyhow::{Context, Result, anyhow, bail, ensure};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

/// What programs and loader look into.
const STRUCTURES: &[&str] = &[
    "sock_common",
    "sock",
    "socket",
    "file",
    "epitem",
    "cred",
    "tcp_sock",
    "inet_sock",
    "ip_options_rcu",
    "ip_options",
    "ipv6_pinfo",
    "ipv6_txoptions",
    "task_struct",
    "mm_struct",
    "inode",
    "super_block",
    "proto",
    "mem_cgroup",
    "page_counter",
    "dst_entry",
    "net_device",
    "sk_psock",
    "sk_msg",
    "sk_msg_sg",
    "files_struct",
    "fdtable",
    "pt_regs",
];

/// Functions that programs are attached to.
const FUNCTIONS: &[&str] = &[FILE_PERMISSION];

/// What BPF LSM programs on `file_permission` are attached to.
pub(super) const FILE_PERMISSION: &str = "bpf_lsm_file_permission";

/// Where named members are: `(struct, member)`; and the numbers of functions.
#[derive(Debug)]
pub struct Offsets {
    members: HashMap<(String, String), Place>,
    functions: HashMap<String, u32>,
}

/// Where a member begins.
#[derive(Clone, Copy, Debug)]
struct Place {
    byte: u32,
    /// Of a bit field, in the byte.
    bit: u32,
}

impl Offsets {
    /// The running kernel's, read once. An error: the kernel has none, or none that is readable here.
    pub fn of_running_kernel() -> Result<&'static Self> {
        static READ: OnceLock<Result<Offsets, String>> = OnceLock::new();
        let read = || {
            let data = fs::read(Path::new(VMLINUX)).with_context(|| format!("read {VMLINUX}"))?;
            Self::parse(&data, STRUCTURES).with_context(|| format!("parse {VMLINUX}"))
        };
        let read = READ.get_or_init(|| read().map_err(|error: anyhow::Error| format!("{error:#}")));
        read.as_ref().map_err(|error| anyhow!("{error}"))
    }

    pub fn get(&self, strukt: &str, member: &str) -> Option<u32> {
        self.place(strukt, member).map(|place| place.byte)
    }

    /// Byte offset and mask of a member of one bit.
    pub fn get_bit(&self, strukt: &str, member: &str) -> Option<(u32, u32)> {
        self.place(strukt, member).map(|place| (place.byte, 1 << place.bit))
    }

    /// The number of a function's type.
    pub(super) fn function(&self, name: &str) -> Option<u32> {
        self.functions.get(name).copied()
    }

    fn place(&self, strukt: &str, member: &str) -> Option<Place> {
        self.members.get(&(strukt.to_owned(), member.to_owned())).copied()
    }

    fn parse(data: &[u8], wanted: &[&str]) -> Result<Self> {
        let types = Types::index(data)?;
        let (mut members, mut functions) = (HashMap::new(), HashMap::new());
        for id in 1..types.at.len() {
            let head = types.head(id)?;
            if head.kind == KIND_STRUCT && wanted.contains(&head.name) {
                types.members(id, head.name, 0, &mut members)?;
            }
            if head.kind == KIND_FUNC && FUNCTIONS.contains(&head.name) {
                functions.insert(head.name.to_owned(), u32::try_from(id)?);
            }
        }
        Ok(Self { members, functions })
    }
}

/// Where each type's description is.
struct Types<'a> {
    data: &'a [u8],
    strings: usize,
    /// By type id; 0 is void.
    at: Vec<usize>,
}

struct Head<'a> {
    name: &'a str,
    kind: u32,
    count: usize,
    bitfields: bool,
}

impl<'a> Types<'a> {
    fn index(data: &'a [u8]) -> Result<Self> {
        ensure!(data.len() >= 24 && u16_at(data, 0)? == MAGIC, "no BTF header");
        let header = u32_at(data, 4)? as usize;
        let start = header + u32_at(data, 8)? as usize;
        let end = start + u32_at(data, 12)? as usize;
        let strings = header + u32_at(data, 16)? as usize;
        let mut types = Self { data, strings, at: vec![0] };
        let mut at = start;
        while at < end {
            types.at.push(at);
            let head = types.head(types.at.len() - 1)?;
            at += 12 + trailing(head.kind, head.count)?;
        }
        Ok(types)
    }

    fn head(&self, id: usize) -> Result<Head<'a>> {
        let at = *self.at.get(id).context("type id")?;
        let info = u32_at(self.data, at + 4)?;
        Ok(Head {
            name: self.name(u32_at(self.data, at)?)?,
            kind: info >> 24 & 0x1f,
            count: (info & 0xffff) as usize,
            bitfields: info >> 31 != 0,
        })
    }

    /// Members of a structure, those of unnamed structures and unions inside it included.
    fn members(
        &self,
        id: usize,
        strukt: &str,
        base: u32,
        found: &mut HashMap<(String, String), Place>,
    ) -> Result<()> {
        let head = self.head(id)?;
        if !matches!(head.kind, KIND_STRUCT | KIND_UNION) {
            return Ok(());
        }
        for i in 0..head.count {
            let member = self.at[id] + 12 + i * 12;
            let bits = u32_at(self.data, member + 8)?;
            let bits = if head.bitfields { bits & 0x00ff_ffff } else { bits };
            let place = Place { byte: base + bits / 8, bit: bits % 8 };
            let name = self.name(u32_at(self.data, member)?)?;
            if name.is_empty() {
                self.members(u32_at(self.data, member + 4)? as usize, strukt, place.byte, found)?;
            } else {
                // A second definition of the same name never replaces the first.
                found.entry((strukt.to_owned(), name.to_owned())).or_insert(place);
            }
        }
        Ok(())
    }

    fn name(&self, offset: u32) -> Result<&'a str> {
        let tail = self.data.get(self.strings + offset as usize..).context("string offset")?;
        let end = tail.iter().position(|byte| *byte == 0).context("unterminated string")?;
        Ok(std::str::from_utf8(&tail[..end])?)
    }
}

/// Bytes that follow a type's common head.
fn trailing(kind: u32, count: usize) -> Result<usize> {
    Ok(match kind {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * count,
        KIND_ENUM | KIND_FUNC_PROTO => 8 * count,
        // Pointers, forwards, typedefs, qualifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => 0,
        other => bail!("unknown BTF kind {other}"),
    })
}

fn u16_at(data: &[u8], at: usize) -> Result<u16> {
    let bytes = data.get(at..at + 2).context("BTF is truncated")?;
    Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn u32_at(data: &[u8], at: usize) -> Result<u32> {
    let bytes = data.get(at..at + 4).context("BTF is truncated")?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_an_error_not_a_panic() {
        assert!(Offsets::parse(&[], &["sock"]).is_err());
        assert!(Offsets::parse(&[0x9f, 0xeb, 1, 0], &["sock"]).is_err());
        let mut header = vec![0u8; 64];
        header[..2].copy_from_slice(&MAGIC.to_le_bytes());
        header[4] = 24;
        header[12] = 200;
        assert!(Offsets::parse(&header, &["sock"]).is_err());
    }
}
