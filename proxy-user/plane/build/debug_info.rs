//! Takes DWARF out of the BPF object. It is four fifths of it, and nobody reads it: the kernel and bpftool read BTF. The
//! compiler has to write it all the same, because bpf-linker makes BTF of it.

/// Of an ELF header (elf.h: Elf64_Ehdr): where the table of sections is, how many there are, which has their names.
const E_SHOFF: usize = 40;
const E_SHNUM: usize = 60;
const E_SHSTRNDX: usize = 62;
const HEADER: usize = 64;
/// Of a section (elf.h: Elf64_Shdr).
const SECTION: usize = 64;
const SH_TYPE: usize = 4;
const SH_OFFSET: usize = 24;
const SH_SIZE: usize = 32;
const SH_ADDRALIGN: usize = 48;
const SHT_NOBITS: usize = 8;

/// The object without what is in its sections `.debug_*`. These stay, empty: others are known by their numbers.
pub(crate) fn removed(object: &[u8]) -> Vec<u8> {
    let number = |at: usize, bytes: usize| {
        let field = &object[at..at + bytes];
        field.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    if !object.starts_with(b"\x7fELF\x02\x01") {
        // Of a big-endian machine.
        return object.to_vec();
    }
    let (table, count) = (number(E_SHOFF, 8), number(E_SHNUM, 2));
    let names = number(table + number(E_SHSTRNDX, 2) * SECTION + SH_OFFSET, 8);
    let mut left = object[..HEADER].to_vec();
    let mut sections = object[table..table + count * SECTION].to_vec();
    for (index, header) in sections.chunks_exact_mut(SECTION).enumerate() {
        let at = table + index * SECTION;
        let name = &object[names + number(at, 4)..];
        let (offset, size) = (number(at + SH_OFFSET, 8), number(at + SH_SIZE, 8));
        let is_debug = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
        let has_bytes = number(at + SH_TYPE, 4) != SHT_NOBITS && !is_debug;
        align(&mut left, number(at + SH_ADDRALIGN, 8));
        header[SH_OFFSET..][..8].copy_from_slice(&(left.len() as u64).to_le_bytes());
        if has_bytes {
            left.extend(&object[offset..offset + size]);
        }
        if is_debug {
            header[SH_SIZE..][..8].copy_from_slice(&[0; 8]);
        }
    }
    align(&mut left, 8);
    let table = left.len() as u64;
    left[E_SHOFF..][..8].copy_from_slice(&table.to_le_bytes());
    left.extend(sections);
    left
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to.max(1)), 0);
}
