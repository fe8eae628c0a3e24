//! What the head of a program says of it.

use anyhow::{Context as _, Result, bail, ensure};

/// Of a program header: the path of the dynamic linker (elf.h).
const PT_INTERP: u32 = 3;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

fn bytes(image: &[u8], at: usize, count: usize) -> Result<&[u8]> {
    ensure!(image.starts_with(b"\x7fELF\x02\x01"), "it is no 64-bit little-endian ELF");
    image.get(at..at + count).context("it is cut short")
}

fn half(image: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(bytes(image, at, 2)?.try_into()?))
}

/// Whether a 64-bit ELF program has the kernel start a dynamic linker first.
pub(crate) fn has_interpreter(image: &[u8]) -> Result<bool> {
    let table = usize::try_from(u64::from_le_bytes(bytes(image, 32, 8)?.try_into()?))?;
    let (size, count) = (usize::from(half(image, 54)?), usize::from(half(image, 56)?));
    for index in 0..count {
        if u32::from_le_bytes(bytes(image, table + index * size, 4)?.try_into()?) == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What it runs on, as container images name it.
pub(crate) fn architecture(image: &[u8]) -> Result<&'static str> {
    match half(image, 18)? {
        EM_X86_64 => Ok("amd64"),
        EM_AARCH64 => Ok("arm64"),
        other => bail!("it is for machine {other} of elf.h; images are made for x86_64 and aarch64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with headers of these kinds.
    fn program(kinds: &[u32]) -> Vec<u8> {
        let mut image = b"\x7fELF\x02\x01".to_vec();
        image.resize(64, 0);
        image[18] = EM_AARCH64 as u8;
        image[32] = 64;
        image[54] = 56;
        image[56] = kinds.len() as u8;
        for kind in kinds {
            image.extend(kind.to_le_bytes());
            image.resize(image.len() + 52, 0);
        }
        image
    }

    #[test]
    fn a_program_without_dynamic_linker_has_no_header_for_it() {
        assert!(!has_interpreter(&program(&[1, 1, 2])).unwrap());
        assert!(has_interpreter(&program(&[1, PT_INTERP])).unwrap());
        assert!(has_interpreter(&program(&[1, PT_INTERP])[..100]).is_err());
        assert!(has_interpreter(b"#!/bin/sh").is_err());
        assert_eq!(architecture(&program(&[])).unwrap(), "arm64");
    }

    /// This one is linked as cargo does it of itself.
    #[test]
    fn a_test_has_a_dynamic_linker() {
        let image = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(has_interpreter(&image).unwrap());
        let here = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        assert_eq!(architecture(&image).unwrap(), here);
    }
}
