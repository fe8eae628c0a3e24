//! bpf(2): the attributes of each command are a prefix of the kernel's `union bpf_attr`.
#![allow(unsafe_code)]

use std::io;

/// Runs one command. `attr` must be laid out as the kernel's attribute structure for it.
pub(super) fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the attributes live for the call and are as long as said; longer kernels' structures read as zero.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret as libc::c_int) }
}

/// The kernel keeps 15 bytes of a name.
pub(super) fn name(of: &str) -> [u8; 16] {
    let mut name = [0; 16];
    for (to, byte) in name[..15].iter_mut().zip(of.bytes()) {
        *to = byte;
    }
    name
}
