//! Offsets of structure members, from the kernel's own type information. Format: Documentation/bpf/btf.rst.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

/// Byte offsets of named members: `(struct, member)`.
#[derive(Debug)]
pub struct Offsets(HashMap<(String, String), u32>);

impl Offsets {
    /// Reads the running kernel's. An error: the kernel has none, or none that is readable here.
    pub fn of_running_kernel(wanted: &[&str]) -> Result<Self> {
        let data = fs::read(Path::new(VMLINUX)).with_context(|| format!("read {VMLINUX}"))?;
        Self::parse(&data, wanted).with_context(|| format!("parse {VMLINUX}"))
    }

    pub fn get(&self, strukt: &str, member: &str) -> Option<u32> {
        self.0.get(&(strukt.to_owned(), member.to_owned())).copied()
    }

    fn parse(data: &[u8], wanted: &[&str]) -> Result<Self> {
        ensure!(data.len() >= 24 && u16_at(data, 0)? == MAGIC, "no BTF header");
        let header = u32_at(data, 4)? as usize;
        let types = header + u32_at(data, 8)? as usize;
        let types_end = types + u32_at(data, 12)? as usize;
        let strings = header + u32_at(data, 16)? as usize;
        let name = |offset: u32| -> Result<&str> {
            let tail = data.get(strings + offset as usize..).context("string offset")?;
            let end = tail.iter().position(|byte| *byte == 0).context("unterminated string")?;
            Ok(std::str::from_utf8(&tail[..end])?)
        };
        let mut found = HashMap::new();
        let mut at = types;
        while at < types_end {
            let (name_off, info) = (u32_at(data, at)?, u32_at(data, at + 4)?);
            let (kind, count, bitfields) = (info >> 24 & 0x1f, info & 0xffff, info >> 31 != 0);
            at += 12;
            if kind == KIND_STRUCT && wanted.contains(&name(name_off)?) {
                for i in 0..count as usize {
                    let member = at + i * 12;
                    let bits = u32_at(data, member + 8)?;
                    let bits = if bitfields { bits & 0x00ff_ffff } else { bits };
                    let key = (name(name_off)?.to_owned(), name(u32_at(data, member)?)?.to_owned());
                    // A forward-declared or second definition never replaces the first.
                    found.entry(key).or_insert(bits / 8);
                }
            }
            at += trailing(kind, count as usize)?;
        }
        Ok(Self(found))
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
