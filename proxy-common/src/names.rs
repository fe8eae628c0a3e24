//! Names of programs and maps in the object, and of their pins. `tests/names.rs` asserts that each exists.

/// Programs of the redirection.
pub mod program {
    pub const CONNECT4: &str = "connect4";
    pub const CONNECT6: &str = "connect6";
    pub const GETPEERNAME4: &str = "getpeername4";
    pub const GETPEERNAME6: &str = "getpeername6";
    pub const GETSOCKOPT: &str = "getsockopt";
    pub const SETSOCKOPT: &str = "setsockopt";
    pub const SOCK_CREATE: &str = "sock_create";
    pub const SOCK_OPS: &str = "sock_ops";
    pub const INBOUND: &str = "inbound";
    pub const SENDMSG4: &str = "sendmsg4";
    pub const SENDMSG6: &str = "sendmsg6";
    pub const RECVMSG4: &str = "recvmsg4";
    pub const RECVMSG6: &str = "recvmsg6";
    /// sk_msg: the program of the map, and the one it passes on to.
    pub const DISPATCH: &str = "dispatch";
    pub const REDIRECT: &str = "redirect";
    /// sk_msg of the self-test at attach.
    pub const SELF_TEST: &str = "self_test";
    pub const GUEST_IN: &str = "guest_in";
    pub const GUEST_OUT: &str = "guest_out";
    pub const BIND4: &str = "bind4";
    pub const BIND6: &str = "bind6";
    pub const GETSOCKNAME4: &str = "getsockname4";
    pub const GETSOCKNAME6: &str = "getsockname6";
    /// Observation: the life of each connection, and what its application has read when it lets go.
    pub const FLOW_OPS: &str = "flow_ops";
    pub const FLOW_RELEASE: &str = "flow_release";
    /// Run by readers: list live flows, add them up.
    pub const FLOW_LIST: &str = "flow_list";
    pub const FLOW_SUM: &str = "flow_sum";
}

/// Read-only globals of the object.
pub mod global {
    pub const FEATURES: &str = "FEATURES";
    pub const KERNEL: &str = "KERNEL";
    pub const ACCEL: &str = "ACCEL";
    pub const FLOW: &str = "FLOW";
}

/// Maps. All are the node's; what is one workload's is found in them by its slot.
pub mod map {
    /// Slots by cgroup: the one map that no build may ever change (kernel.md: a link keeps the storage it was made with).
    pub const SLOT: &str = "SLOT";
    pub const WORKLOADS: &str = "WORKLOADS";
    pub const SHARES: &str = "SHARES";
    pub const LIMITS: &str = "LIMITS";
    pub const CALLER: &str = "CALLER";
    /// Programs by slot, for those that no cgroup leads to.
    pub const INBOUND: &str = "INBOUND";
    pub const GUEST_IN: &str = "GUEST_IN";
    pub const GUEST_OUT: &str = "GUEST_OUT";

    pub const POLICIES: &str = "POLICIES";
    pub const RANGES: &str = "RANGES";
    pub const ROUTES: &str = "ROUTES";
    pub const LISTS: &str = "LISTS";

    pub const SOCKETS: &str = "SOCKETS";
    pub const OWNERS: &str = "OWNERS";
    pub const GUEST_GATEWAYS: &str = "GUEST_GATEWAYS";
    pub const GUEST_PORTS: &str = "GUEST_PORTS";
    pub const GUEST_FLOWS: &str = "GUEST_FLOWS";
    pub const DNS_SERVERS: &str = "DNS_SERVERS";
    pub const PENDING: &str = "PENDING";
    pub const LISTENERS: &str = "LISTENERS";
    pub const COUNTERS: &str = "COUNTERS";

    pub const SOCKS: &str = "SOCKS";
    pub const ENDS: &str = "ENDS";
    pub const RECORDS: &str = "RECORDS";
    pub const SWITCHES: &str = "SWITCHES";
    pub const LOCAL_ADDRS: &str = "LOCAL_ADDRS";
    pub const READERS: &str = "READERS";
    pub const READER_MARKS: &str = "READER_MARKS";
    pub const SERVERS: &str = "SERVERS";
    pub const ACTIVITY: &str = "ACTIVITY";
    pub const ACCEL_COUNTERS: &str = "ACCEL_COUNTERS";
    pub const DISPATCH: &str = "DISPATCH";

    /// aya-log's ring; the name is its own.
    pub const LOGS: &str = "AYA_LOGS";

    pub const FLOWS: &str = "FLOWS";
    pub const FLOW_PEERS: &str = "FLOW_PEERS";
    pub const LIVE: &str = "LIVE";
    pub const LIVE_PLACES: &str = "LIVE_PLACES";
    pub const LISTED: &str = "LISTED";
    pub const LISTED_HEAD: &str = "LISTED_HEAD";
    pub const JOURNAL: &str = "JOURNAL";
    pub const JOURNAL_HEAD: &str = "JOURNAL_HEAD";
    pub const FLOW_TOTALS: &str = "FLOW_TOTALS";
    pub const OPEN_TOTALS: &str = "OPEN_TOTALS";

    /// Of the self-test, gone with it.
    pub const SELF_TEST: &str = "SELF_TEST";
    pub const SELF_TEST_SOCKS: &str = "SELF_TEST_SOCKS";

    /// Who is attached and how, as JSON in chunks: not the programs', but userspace's.
    pub const META: &str = "META";

    /// Pinned with the node.
    pub const NODE: &[&str] = &[
        WORKLOADS,
        SHARES,
        LIMITS,
        CALLER,
        INBOUND,
        POLICIES,
        RANGES,
        ROUTES,
        LISTS,
        SOCKETS,
        OWNERS,
        DNS_SERVERS,
        PENDING,
        LISTENERS,
        COUNTERS,
        SOCKS,
        ENDS,
        RECORDS,
        SWITCHES,
        LOCAL_ADDRS,
        READERS,
        READER_MARKS,
        SERVERS,
        ACTIVITY,
        ACCEL_COUNTERS,
        DISPATCH,
        LOGS,
        FLOWS,
        FLOW_PEERS,
        LIVE,
        LIVE_PLACES,
        LISTED,
        LISTED_HEAD,
        JOURNAL,
        JOURNAL_HEAD,
        FLOW_TOTALS,
        OPEN_TOTALS,
    ];
    /// The same, once a workload has virtual machines: they take their memory at once.
    pub const GUESTS: &[&str] = &[GUEST_GATEWAYS, GUEST_PORTS, GUEST_FLOWS, GUEST_IN, GUEST_OUT];
}
