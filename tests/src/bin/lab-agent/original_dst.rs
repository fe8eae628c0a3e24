//! SO_ORIGINAL_DST with any buffer length: nix's typed option checks optlen, which the kernel leaves as it was.

use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use tests::report::OriginalDst;

/// SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST.
const OPTION: i32 = 80;

/// Asks at `level` (SOL_IP or SOL_IPV6) with a buffer of `length` bytes, at most 128.
pub(crate) fn read(socket: impl AsFd, level: i32, length: u32) -> OriginalDst {
    // SAFETY: sockaddr_storage is plain data; all zeroes is a value of it.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let mut optlen = length.min(size_of::<libc::sockaddr_storage>() as u32);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the buffer is writable for `optlen` bytes, and both pointers outlive the call.
    let result = unsafe { libc::getsockopt(fd, level, OPTION, (&raw mut storage).cast(), &mut optlen) };
    if Errno::result(result).is_err() {
        return OriginalDst { errno: Some(Errno::last_raw()), ..OriginalDst::default() };
    }
    OriginalDst { address: address(&storage), length: Some(optlen), errno: None }
}

fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    // SAFETY: the pointer is to a whole sockaddr_storage; without a length nix goes by the family in it.
    let parsed = unsafe { SockaddrStorage::from_raw((&raw const *storage).cast(), None) }?;
    parsed
        .as_sockaddr_in()
        .map(|v4| SocketAddr::from((v4.ip(), v4.port())))
        .or_else(|| parsed.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
}
