//! What sidestep asks of a kernel: one table for the loader, `doctor`, the tests' skip rules and docs/compatibility.md.

use serde::Serialize;

use super::{
    probe,
    version::{KernelRelease, KernelVersion},
};

/// What a kernel may lack.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    SkLookup,
    CgroupLinks,
    PeerNameHooks,
    SocketOptionHook,
    Btf,
    ReadKernelMemory,
    NetnsCookie,
    NetnsCookieInSockOps,
    IngressIfindex,
    LookupTestRun,
    Tcx,
    Sockmap,
    SafeSockmap,
    CurrentTaskInSockOps,
    AtomicFetch,
    BpfLsm,
}

/// What its absence comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Attach refuses.
    NoRedirection,
    /// Redirection works, with a difference.
    Difference,
    /// Redirection is whole; local connections stay on the stack.
    NoAcceleration,
    /// The acceleration works for fewer sockets.
    LessAcceleration,
    /// The rest is whole; connections are not recorded.
    NoObservation,
}

/// What a probe found. Not being allowed to ask is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Yes,
    /// With what the kernel said.
    No(String),
    /// With why nothing is known.
    Inconclusive(String),
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    /// The release that brought it.
    pub since: KernelVersion,
    pub effect: Effect,
    pub needed_by: &'static str,
    pub without: &'static str,
}

impl Feature {
    pub const ALL: [Self; 16] = [
        Self::SkLookup,
        Self::CgroupLinks,
        Self::PeerNameHooks,
        Self::SocketOptionHook,
        Self::Btf,
        Self::ReadKernelMemory,
        Self::NetnsCookie,
        Self::NetnsCookieInSockOps,
        Self::IngressIfindex,
        Self::LookupTestRun,
        Self::Tcx,
        Self::Sockmap,
        Self::SafeSockmap,
        Self::CurrentTaskInSockOps,
        Self::AtomicFetch,
        Self::BpfLsm,
    ];

    #[rustfmt::skip]
    pub const fn row(self) -> Row {
        use Effect::{Difference, LessAcceleration, NoAcceleration, NoObservation, NoRedirection};
        let (name, major, minor, effect, needed_by, without) = match self {
            Self::SkLookup => ("sk_lookup", 5, 9, NoRedirection,
                "inbound capture", "attach refuses"),
            Self::CgroupLinks => ("cgroup_links", 5, 7, NoRedirection,
                "every hook on the workload's cgroup", "attach refuses"),
            Self::PeerNameHooks => ("peer_name_hooks", 5, 8, NoRedirection,
                "`getpeername` of captured connections", "attach refuses"),
            Self::SocketOptionHook => ("socket_option_hook", 5, 3, NoRedirection,
                "`SO_ORIGINAL_DST`", "attach refuses"),
            Self::Btf => ("btf", 5, 4, Difference,
                "socket owners as `xt_owner` sees them; the acceleration; flow records",
                "owners are recorded when a socket is created: real ids, not for sockets that exist already; neither of the others"),
            Self::ReadKernelMemory => ("read_kernel_memory", 5, 5, Difference,
                "the same", "the same; lockdown `confidentiality` withholds it"),
            Self::NetnsCookie => ("netns_cookie", 5, 14, Difference,
                "telling the workload's namespace from others",
                "a process of the cgroup in another namespace is decided as if it were in the workload's"),
            Self::NetnsCookieInSockOps => ("netns_cookie_in_sock_ops", 5, 15, Difference,
                "the same, for listeners; the routes connections really take",
                "a process of the cgroup that listens on a sidecar port in another namespace is taken for the sidecar; \
                 addresses and routes are those attach found"),
            Self::IngressIfindex => ("ingress_ifindex", 5, 17, Difference,
                "excluded (`-c`) and virtual (`-k`) interfaces, inbound",
                "they have no effect on inbound connections"),
            Self::LookupTestRun => ("lookup_test_run", 5, 13, Difference,
                "`verify`", "`verify` does not ask the inbound program"),
            Self::Tcx => ("tcx", 6, 6, Difference,
                "virtual machines (`-k`)",
                "what a virtual machine sends to others than the pod is not captured; attach warns"),
            Self::Sockmap => ("sockmap", 5, 7, NoRedirection,
                "the sidecar's listeners (`LISTENERS`); the acceleration", "attach refuses"),
            Self::SafeSockmap => ("safe_sockmap", 5, 15, NoAcceleration,
                "the acceleration",
                "local connections stay on the stack; safe are 5.15.216, 6.1.183, 6.12.104, 6.18, 7.2 and later of each"),
            Self::CurrentTaskInSockOps => ("current_task_in_sock_ops", 5, 10, LessAcceleration,
                "trusting programs that start after attach",
                "only the sidecar, and listeners that are there at attach, are trusted readers"),
            Self::AtomicFetch => ("atomic_fetch", 5, 12, NoObservation,
                "flow records", "`flows` and the metrics of flows have nothing to show; the rest is whole"),
            Self::BpfLsm => ("bpf_lsm", 6, 0, LessAcceleration,
                "the splice guard: redirecting to Go programs, HAProxy and CPython",
                "what these are sent stays on the stack; `bpf` has to be among the kernel's security modules (`lsm=`)"),
        };
        Row { name, since: KernelVersion(major, minor), effect, needed_by, without }
    }

    /// Asks the running kernel.
    pub fn probe(self) -> Answer {
        probe::probe(self)
    }

    /// Whether a kernel of this release has it, unless its configuration leaves it out.
    pub fn expected(self, release: &KernelRelease) -> bool {
        match self {
            Self::SafeSockmap => release.allows_acceleration().is_ok(),
            // What is built in may be left out at boot.
            Self::BpfLsm => release.version >= self.row().since && probe::runs_bpf_lsm() == Some(true),
            other => release.version >= other.row().since,
        }
    }
}

impl Answer {
    pub fn is_yes(&self) -> bool {
        *self == Self::Yes
    }

    /// `yes`, `no` or `inconclusive`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No(_) => "no",
            Self::Inconclusive(_) => "inconclusive",
        }
    }

    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Yes => None,
            Self::No(detail) | Self::Inconclusive(detail) => Some(detail),
        }
    }
}

/// Features without which nothing is redirected and that this kernel says it does not have.
pub fn missing_for_redirection() -> Vec<(Row, String)> {
    Feature::ALL
        .into_iter()
        .filter(|feature| feature.row().effect == Effect::NoRedirection)
        .filter_map(|feature| match feature.probe() {
            Answer::No(detail) => Some((feature.row(), detail)),
            // If it is missing after all, the load says so, and the attach is taken back.
            Answer::Yes | Answer::Inconclusive(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_enum() {
        for feature in Feature::ALL {
            assert_eq!(serde_json::to_value(feature).unwrap(), feature.row().name);
        }
    }

    #[test]
    fn not_being_allowed_is_never_no() {
        for feature in Feature::ALL {
            if let Answer::No(detail) = feature.probe() {
                assert!(!detail.contains("os error 1)"), "{feature:?}: {detail}");
            }
        }
    }
}
