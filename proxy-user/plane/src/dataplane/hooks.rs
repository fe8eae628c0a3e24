//! Which program hangs where, in the order of attaching: what answers questions comes before what redirects, so that
//! no connection is ever turned to a sidecar that could not find out where it wanted to go.

use proxy_common::{names::program, policy::flag, workload::feature};

use crate::sys::bpf_link::AttachType;

/// What a program is attached to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Cgroup,
    Netns,
}

/// What decides whether a hook is needed.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    pub dns: bool,
    pub tproxy: bool,
    /// The kernel does not say how to read a socket's creator: remember it.
    pub owner_record: bool,
    /// Connections are observed.
    pub observe: bool,
    /// Their turnarounds are measured.
    pub time: bool,
    /// splice(2) from sockets that are redirected to is refused.
    pub guard: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Hook {
    pub program: &'static str,
    pub kind: AttachType,
    pub target: Target,
    needed: fn(Needs) -> bool,
}

impl Needs {
    /// Of a workload with these features ([`feature`]).
    pub const fn of_features(features: u32, owner_record: bool) -> Self {
        Self {
            dns: features & flag::DNS != 0,
            tproxy: features & flag::TPROXY != 0,
            owner_record,
            observe: features & feature::OBSERVE != 0,
            time: features & feature::TIME != 0,
            guard: features & feature::GUARD != 0,
        }
    }
}

impl Hook {
    pub fn is_needed(&self, needs: Needs) -> bool {
        (self.needed)(needs)
    }
}

const fn on_cgroup(program: &'static str, kind: AttachType, needed: fn(Needs) -> bool) -> Hook {
    Hook { program, kind, target: Target::Cgroup, needed }
}

const fn always(_: Needs) -> bool {
    true
}

const fn dns(needs: Needs) -> bool {
    needs.dns
}

const fn tproxy(needs: Needs) -> bool {
    needs.tproxy
}

const fn observe(needs: Needs) -> bool {
    needs.observe
}

const fn time(needs: Needs) -> bool {
    needs.time
}

const fn guard(needs: Needs) -> bool {
    needs.guard
}

const fn owner_record(needs: Needs) -> bool {
    needs.owner_record
}

pub const HOOKS: &[Hook] = &[
    on_cgroup(program::SOCK_CREATE, AttachType::SockCreate, owner_record),
    on_cgroup(program::SPLICE_GUARD, AttachType::LsmCgroup, guard),
    on_cgroup(program::SETSOCKOPT, AttachType::Setsockopt, always),
    on_cgroup(program::SOCK_OPS, AttachType::SockOps, always),
    on_cgroup(program::FLOW_RELEASE, AttachType::SockRelease, observe),
    on_cgroup(program::FLOW_OPS, AttachType::SockOps, observe),
    on_cgroup(program::FLOW_IN, AttachType::InetIngress, time),
    on_cgroup(program::FLOW_OUT, AttachType::InetEgress, time),
    on_cgroup(program::GETSOCKOPT, AttachType::Getsockopt, always),
    on_cgroup(program::GETPEERNAME4, AttachType::Getpeername4, always),
    on_cgroup(program::GETPEERNAME6, AttachType::Getpeername6, always),
    on_cgroup(program::GETSOCKNAME4, AttachType::Getsockname4, tproxy),
    on_cgroup(program::GETSOCKNAME6, AttachType::Getsockname6, tproxy),
    on_cgroup(program::RECVMSG4, AttachType::Recvmsg4, dns),
    on_cgroup(program::RECVMSG6, AttachType::Recvmsg6, dns),
    on_cgroup(program::BIND4, AttachType::Bind4, tproxy),
    on_cgroup(program::BIND6, AttachType::Bind6, tproxy),
    Hook { program: program::INBOUND, kind: AttachType::SkLookup, target: Target::Netns, needed: always },
    on_cgroup(program::CONNECT4, AttachType::Connect4, always),
    on_cgroup(program::CONNECT6, AttachType::Connect6, always),
    on_cgroup(program::SENDMSG4, AttachType::Sendmsg4, dns),
    on_cgroup(program::SENDMSG6, AttachType::Sendmsg6, dns),
];
