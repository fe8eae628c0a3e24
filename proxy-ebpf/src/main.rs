//! The BPF programs. Entry points only: read the context, ask the decision, act, count.
//!
//! | program | hook | takes the place of |
//! |---|---|---|
//! | connect4/6 | cgroup/connect | nat OUTPUT: ISTIO_OUTPUT, ISTIO_REDIRECT, ISTIO_IN_REDIRECT |
//! | sendmsg4/6, recvmsg4/6 | cgroup/sendmsg, recvmsg | nat OUTPUT for DNS and the way back |
//! | inbound | sk_lookup | nat PREROUTING: ISTIO_INBOUND |
//! | sock_ops | cgroup/sock_ops | conntrack: original destinations from SYN to accept; knows the listeners |
//! | getsockopt | cgroup/getsockopt | SO_ORIGINAL_DST |
//! | setsockopt | cgroup/setsockopt | nothing: kernel TLS stays away from accelerated sockets, source routes from captured ones |
//! | getpeername4/6 | cgroup/getpeername | conntrack: the application sees its true peer |
//! | bind4/6, getsockname4/6 | cgroup/bind, getsockname | TPROXY mode: marks, `ip rule` and table 133 |
//! | guest_in, guest_out | tc, on the interfaces of virtual machines | nat PREROUTING: ISTIO_REDIRECT, for what is forwarded |
//! | flow_ops, flow_release | cgroup/sock_ops, cgroup/sock_release | conntrack -L, ss: flow records |
//! | flow_list, flow_sum | none: run by readers | the same |
//! | splice_guard | lsm_cgroup/file_permission | nothing: who would miss redirected bytes reads them |
//! | sock_create | cgroup/sock_create | xt_owner, on kernels whose structures are not described by BTF |
//!
//! Functions are `inline(always)` for one reason, unless they say another. A function that stays one is a call between BPF
//! functions: it takes five arguments in registers and gives back one, so that an `Option` of an address goes over the
//! caller's stack, and the frames of all functions in a chain of calls share 512 bytes. LLVM would make functions of much
//! that is called once here, because each entry point exists for IPv4 and for IPv6.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![deny(unsafe_code)]

mod accel;
mod atomic;
mod clock;
mod connect;
mod ctx;
mod dns;
mod dns_servers;
mod flow;
mod getpeername;
mod getsockopt;
mod guest;
mod guest_flows;
mod inbound;
mod kernel_memory;
mod listeners;
mod log;
mod maps;
mod outgoing;
mod own_route;
mod owner;
mod packet;
mod rodata;
mod routes;
mod setsockopt;
mod sock_addr;
mod sock_create;
mod sock_ops;
mod sock_ops_call;
mod storage;
mod tproxy;
mod uapi;
mod workload;

#[cfg(target_arch = "bpf")]
#[allow(unsafe_code, reason = "the section is what the kernel reads the licence from")]
// SAFETY: a plain byte string in a section of its own.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an object in which this can be reached.
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
