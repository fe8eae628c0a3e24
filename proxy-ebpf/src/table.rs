//! The decision's view of the maps, and the read-only data the loader fills in.
#![allow(unsafe_code, reason = "the loader replaces these globals; only a volatile read sees that")]

use proxy_common::{
    addr::Addr,
    policy::{Policy, Table},
    wire::Kernel,
};

use crate::maps;

// SAFETY: names the loader looks up; they clash with nothing in this object.
#[unsafe(no_mangle)]
static POLICY: Policy = Policy {
    flags: 0,
    first_uid: 0,
    first_gid: 0,
    tproxy_mark: 0,
    outbound_port: 0,
    inbound_port: 0,
    tunnel_port: 0,
    dns_port: 0,
    loopback_net: [0; 4],
    loopback_mask: [0; 4],
};

// SAFETY: as above.
#[unsafe(no_mangle)]
static KERNEL: Kernel = Kernel {
    netns_cookie: 0,
    sk_socket: 0,
    socket_file: 0,
    file_cred: 0,
    cred_fsuid: 0,
    cred_fsgid: 0,
    inet_opt: 0,
    options_srr: 0,
    inet_pinet6: 0,
    pinet6_opt: 0,
    txoptions_srcrt: 0,
    has_ingress_ifindex: 0,
    has_sock_ops_cookie: 0,
};

/// A read of one field, so that the verifier knows its value and drops what is switched off.
macro_rules! field {
    ($global:ident . $field:ident) => {
        // SAFETY: an initialised static; volatile because the loader writes it before the kernel sees it.
        unsafe { core::ptr::read_volatile(&raw const $global.$field) }
    };
}

/// The workload's tables, as the decision asks for them.
pub(crate) struct Maps;

impl Table for Maps {
    #[inline(always)]
    fn policy(&self) -> Policy {
        Policy {
            flags: field!(POLICY.flags),
            first_uid: field!(POLICY.first_uid),
            first_gid: field!(POLICY.first_gid),
            tproxy_mark: field!(POLICY.tproxy_mark),
            outbound_port: field!(POLICY.outbound_port),
            inbound_port: field!(POLICY.inbound_port),
            tunnel_port: field!(POLICY.tunnel_port),
            dns_port: field!(POLICY.dns_port),
            loopback_net: field!(POLICY.loopback_net),
            loopback_mask: field!(POLICY.loopback_mask),
        }
    }

    #[inline(always)]
    fn port(&self, port: u16) -> u8 {
        maps::port(port)
    }

    #[inline(always)]
    fn id(&self, id: u32) -> u8 {
        maps::id(id)
    }

    #[inline(always)]
    fn range(&self, addr: &Addr) -> u8 {
        maps::range(addr)
    }
}

#[inline(always)]
pub(crate) fn policy() -> Policy {
    Maps.policy()
}

#[inline(always)]
pub(crate) fn kernel() -> Kernel {
    Kernel {
        netns_cookie: field!(KERNEL.netns_cookie),
        sk_socket: field!(KERNEL.sk_socket),
        socket_file: field!(KERNEL.socket_file),
        file_cred: field!(KERNEL.file_cred),
        cred_fsuid: field!(KERNEL.cred_fsuid),
        cred_fsgid: field!(KERNEL.cred_fsgid),
        inet_opt: field!(KERNEL.inet_opt),
        options_srr: field!(KERNEL.options_srr),
        inet_pinet6: field!(KERNEL.inet_pinet6),
        pinet6_opt: field!(KERNEL.pinet6_opt),
        txoptions_srcrt: field!(KERNEL.txoptions_srcrt),
        has_ingress_ifindex: field!(KERNEL.has_ingress_ifindex),
        has_sock_ops_cookie: field!(KERNEL.has_sock_ops_cookie),
    }
}
