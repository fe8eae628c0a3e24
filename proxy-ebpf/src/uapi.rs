//! Numbers of the kernel's interface (`include/uapi/linux`) that aya-ebpf does not name, or names with another type.

use aya_ebpf::bindings;

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;

pub(crate) const IPPROTO_TCP: u32 = 6;
pub(crate) const IPPROTO_UDP: u32 = 17;

pub(crate) const SOL_IP: i32 = 0;
pub(crate) const SOL_SOCKET: i32 = 1;
pub(crate) const SOL_TCP: i32 = 6;
pub(crate) const SOL_IPV6: i32 = 41;

/// Flags of maps. Socket storage has them as `usize`: they are the length of an array in its BTF definition.
pub(crate) const BPF_F_NO_PREALLOC: u32 = bindings::BPF_F_NO_PREALLOC;
pub(crate) const BPF_F_CLONE: u32 = bindings::BPF_F_CLONE;

/// An insertion fails where there is an entry.
pub(crate) const BPF_NOEXIST: u64 = bindings::BPF_NOEXIST as u64;
/// A message goes to the receive queue of the other socket.
pub(crate) const BPF_F_INGRESS: u64 = bindings::BPF_F_INGRESS as u64;
/// The network namespace of the caller, in which a socket is looked up.
pub(crate) const BPF_F_CURRENT_NETNS: u64 = u64::MAX;

/// What cgroup programs return.
pub(crate) mod cgroup {
    /// The call goes on.
    pub(crate) const ALLOW: i32 = 1;
    /// The call fails with EPERM.
    pub(crate) const REFUSE: i32 = 0;
}
