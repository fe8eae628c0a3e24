//! mmap(2) of an array map made with BPF_F_MMAPABLE: its values, one behind the other, as programs write them.
#![allow(unsafe_code)]

use std::{
    io,
    ops::Range,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{self, NonNull},
};

/// A mapped array, shared with the programs that write it.
#[derive(Debug)]
pub struct Mapping {
    at: NonNull<libc::c_void>,
    len: usize,
}

// SAFETY: memory that belongs to nobody; it is read and written by copy.
unsafe impl Send for Mapping {}

impl Mapping {
    /// The first `len` bytes of a map's values, to read.
    pub fn new(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::with(map, len, libc::PROT_READ)
    }

    /// The same, to write too.
    pub fn writable(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::with(map, len, libc::PROT_READ | libc::PROT_WRITE)
    }

    fn with(map: BorrowedFd<'_>, len: usize, protection: libc::c_int) -> io::Result<Self> {
        // SAFETY: a new mapping of an open descriptor.
        let at =
            unsafe { libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, map.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(at).map(|at| Self { at, len }).ok_or_else(|| io::Error::other("mapped at zero"))
    }

    /// Copies words out. The programs may write at the same time: what comes is to be checked.
    pub fn read(&self, offset: usize, words: &mut [u64]) {
        self.check(offset, words.len());
        for (i, word) in words.iter_mut().enumerate() {
            // SAFETY: inside the mapping, aligned, as asserted; volatile because others write.
            *word = unsafe { self.at.cast::<u64>().add(offset / 8 + i).read_volatile() };
        }
    }
}

impl Mapping {
    /// Writes one word of a writable mapping.
    pub fn write(&mut self, offset: usize, word: u64) {
        self.check(offset, 1);
        // SAFETY: inside the mapping, aligned, as asserted; volatile because others read.
        unsafe { self.at.cast::<u64>().add(offset / 8).write_volatile(word) };
    }

    /// Zeroes these bytes of a writable mapping, word by word.
    pub fn clear(&mut self, bytes: Range<usize>) {
        bytes.step_by(size_of::<u64>()).for_each(|at| self.write(at, 0));
    }

    fn check(&self, offset: usize, words: usize) {
        assert!(offset.is_multiple_of(8) && offset + words * 8 <= self.len, "outside of the mapping");
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, used no more.
        unsafe { libc::munmap(self.at.as_ptr(), self.len) };
    }
}
