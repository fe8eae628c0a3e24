//! BPF_PROG_TEST_RUN: has a program run that nothing has called. For sk_lookup (>= 5.13) it asks which listener a
//! connection would get, without one.
#![allow(unsafe_code)]

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, BorrowedFd},
};

use super::bpf::bpf;

const BPF_PROG_TEST_RUN: libc::c_int = 10;
const SK_PASS: u32 = 1;

/// What the program says of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// It chose a listener.
    Listener,
    /// It leaves the choice to the kernel.
    Passed,
    /// It refuses the connection.
    Dropped,
}

/// The `test` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct TestAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// `struct bpf_sk_lookup`.
#[repr(C)]
#[derive(Default)]
struct Context {
    cookie: u64,
    family: u32,
    protocol: u32,
    remote_ip4: [u8; 4],
    remote_ip6: [u8; 16],
    /// Network order, then two bytes of nothing.
    remote_port: [u8; 4],
    local_ip4: [u8; 4],
    local_ip6: [u8; 16],
    /// Host order.
    local_port: u32,
    /// Has to be 0 here (`net/bpf/test_run.c: bpf_prog_test_run_sk_lookup`).
    ingress_ifindex: u32,
    reserved: u32,
}

/// Runs the program for a TCP connection between two addresses of one family.
pub fn sk_lookup(prog: BorrowedFd<'_>, remote: SocketAddr, local: SocketAddr) -> io::Result<Lookup> {
    let mut context = Context {
        family: if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u32,
        protocol: libc::IPPROTO_TCP as u32,
        local_port: u32::from(local.port()),
        ..Context::default()
    };
    let [high, low] = remote.port().to_be_bytes();
    context.remote_port = [high, low, 0, 0];
    (context.remote_ip4, context.remote_ip6) = bytes(remote.ip());
    (context.local_ip4, context.local_ip6) = bytes(local.ip());
    let address = &raw mut context as u64;
    let size = size_of::<Context>() as u32;
    let mut attr = TestAttr {
        prog_fd: prog.as_raw_fd() as u32,
        ctx_size_in: size,
        ctx_size_out: size,
        ctx_in: address,
        ctx_out: address,
        ..TestAttr::default()
    };
    match bpf(BPF_PROG_TEST_RUN, &mut attr) {
        // It chose a member of a SO_REUSEPORT group, of which a test run does not take one.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Lookup::Listener),
        Err(error) => Err(error),
        Ok(_) if attr.retval != SK_PASS => Ok(Lookup::Dropped),
        Ok(_) if context.cookie != 0 => Ok(Lookup::Listener),
        Ok(_) => Ok(Lookup::Passed),
    }
}

/// Runs a tc program that looks at no packet, `times` times; the number is the kernel's to hold to, unless a signal
/// comes (EINTR).
pub fn classifier(prog: BorrowedFd<'_>, times: u32) -> io::Result<()> {
    // The kernel wants an Ethernet header.
    let packet = [0u8; 14];
    let mut attr = TestAttr {
        prog_fd: prog.as_raw_fd() as u32,
        data_size_in: size_of_val(&packet) as u32,
        data_in: packet.as_ptr() as u64,
        repeat: times,
        ..TestAttr::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attr).map(drop)
}

/// Runs a tc program once on these bytes, behind an Ethernet header of nothing; what it returns.
pub fn classifier_on(prog: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<u32> {
    let packet = [&[0u8; 14], bytes].concat();
    let mut attr = TestAttr {
        prog_fd: prog.as_raw_fd() as u32,
        data_size_in: packet.len() as u32,
        data_in: packet.as_ptr() as u64,
        ..TestAttr::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attr)?;
    Ok(attr.retval)
}

fn bytes(ip: IpAddr) -> ([u8; 4], [u8; 16]) {
    match ip {
        IpAddr::V4(ip) => (ip.octets(), Ipv6Addr::UNSPECIFIED.octets()),
        IpAddr::V6(ip) => ([0; 4], ip.octets()),
    }
}
