//! Names of programs, globals and maps in the object, and of their pins. `proxy-user/plane/tests/names.rs` asserts that each is
//! in the object, and that the object has no others.

/// Constants, and a list of all of them.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        /// Every one of these.
        pub const ALL: &[&str] = &[$($name),*];
    };
}

/// Programs.
pub mod program {
    names! {
        CONNECT4 = "connect4";
        CONNECT6 = "connect6";
        GETPEERNAME4 = "getpeername4";
        GETPEERNAME6 = "getpeername6";
        GETSOCKOPT = "getsockopt";
        SETSOCKOPT = "setsockopt";
        SOCK_CREATE = "sock_create";
        SOCK_OPS = "sock_ops";
        INBOUND = "inbound";
        SENDMSG4 = "sendmsg4";
        SENDMSG6 = "sendmsg6";
        RECVMSG4 = "recvmsg4";
        RECVMSG6 = "recvmsg6";
        /// sk_msg: the program of the map, and the one it passes on to.
        DISPATCH = "dispatch";
        REDIRECT = "redirect";
        /// sk_msg of the self-test at attach.
        SELF_TEST = "self_test";
        /// lsm_cgroup: no splice(2) from sockets that are redirected to.
        SPLICE_GUARD = "splice_guard";
        GUEST_IN = "guest_in";
        GUEST_OUT = "guest_out";
        BIND4 = "bind4";
        BIND6 = "bind6";
        GETSOCKNAME4 = "getsockname4";
        GETSOCKNAME6 = "getsockname6";
        /// Observation: the life of each connection, and what its application has read when it lets go.
        FLOW_OPS = "flow_ops";
        FLOW_RELEASE = "flow_release";
        /// Run by readers: list live flows, add them up.
        FLOW_LIST = "flow_list";
        FLOW_SUM = "flow_sum";
        /// Turnarounds: packets that a socket receives, and that it sends.
        FLOW_IN = "flow_in";
        FLOW_OUT = "flow_out";
    }
}

/// Read-only globals of the object.
pub mod global {
    names! {
        FEATURES = "FEATURES";
        KERNEL = "KERNEL";
        ACCEL = "ACCEL";
        FLOW = "FLOW";
    }
}

/// Maps. Those pinned with the node have every workload's entries; what is one workload's is found by its slot.
pub mod map {
    names! {
        /// Slots by cgroup: the one map that no build may ever change (docs/kernel.md: "Whose call it is").
        SLOT = "SLOT";
        WORKLOADS = "WORKLOADS";
        SHARES = "SHARES";
        LIMITS = "LIMITS";
        CALLER = "CALLER";
        /// Programs by slot, for those that no cgroup leads to.
        INBOUND = "INBOUND";
        GUEST_IN = "GUEST_IN";
        GUEST_OUT = "GUEST_OUT";

        POLICIES = "POLICIES";
        RANGES = "RANGES";
        ROUTES = "ROUTES";
        LISTS = "LISTS";

        SOCKETS = "SOCKETS";
        OWNERS = "OWNERS";
        GUEST_GATEWAYS = "GUEST_GATEWAYS";
        GUEST_PORTS = "GUEST_PORTS";
        GUEST_FLOWS = "GUEST_FLOWS";
        DNS_SERVERS = "DNS_SERVERS";
        PENDING = "PENDING";
        LISTENERS = "LISTENERS";
        COUNTERS = "COUNTERS";

        SOCKS = "SOCKS";
        ENDS = "ENDS";
        RECORDS = "RECORDS";
        SWITCHES = "SWITCHES";
        LOCAL_ADDRS = "LOCAL_ADDRS";
        READERS = "READERS";
        ASKED = "ASKED";
        ASKS = "ASKS";
        CAPTURE = "CAPTURE";
        CAPTURED = "CAPTURED";
        READER_MARKS = "READER_MARKS";
        SERVERS = "SERVERS";
        ACTIVITY = "ACTIVITY";
        ACCEL_COUNTERS = "ACCEL_COUNTERS";
        DISPATCH = "DISPATCH";

        /// aya-log's ring; the name is its own.
        LOGS = "AYA_LOGS";

        FLOWS = "FLOWS";
        FLOW_PEERS = "FLOW_PEERS";
        FLOW_KILLED = "FLOW_KILLED";
        LIVE = "LIVE";
        LIVE_PLACES = "LIVE_PLACES";
        LISTED = "LISTED";
        LISTED_HEAD = "LISTED_HEAD";
        JOURNAL = "JOURNAL";
        JOURNAL_HEAD = "JOURNAL_HEAD";
        KEPT = "KEPT";
        KEPT_HEADS = "KEPT_HEADS";
        FLOW_TOTALS = "FLOW_TOTALS";
        OPEN_TOTALS = "OPEN_TOTALS";
        TURNAROUNDS = "TURNAROUNDS";
        NO_TURNAROUNDS = "NO_TURNAROUNDS";
        DNS_ASKED = "DNS_ASKED";
        DNS_QUESTIONS = "DNS_QUESTIONS";
        DNS_RESOLVERS = "DNS_RESOLVERS";

        /// Room of the programs on virtual machines' interfaces, which each set of them has to itself.
        GUEST_WORK = "GUEST_WORK";

        /// The map of the self-test, gone with it.
        SELF_TEST = "SELF_TEST";
        SELF_TEST_SOCKS = "SELF_TEST_SOCKS";
    }

    /// Who is attached and how, as JSON in chunks: not the programs', but userspace's.
    pub const META: &str = "META";
    /// What this kernel has, as JSON in chunks.
    pub const KNOWN: &str = "KNOWN";

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
        ASKED,
        ASKS,
        CAPTURE,
        CAPTURED,
        READER_MARKS,
        SERVERS,
        ACTIVITY,
        ACCEL_COUNTERS,
        DISPATCH,
        LOGS,
        FLOWS,
        FLOW_PEERS,
        FLOW_KILLED,
        LIVE,
        LIVE_PLACES,
        LISTED,
        LISTED_HEAD,
        JOURNAL,
        JOURNAL_HEAD,
        KEPT,
        KEPT_HEADS,
        FLOW_TOTALS,
        OPEN_TOTALS,
        TURNAROUNDS,
        DNS_ASKED,
        DNS_QUESTIONS,
        DNS_RESOLVERS,
    ];
    /// The same, once a workload has virtual machines.
    pub const GUESTS: &[&str] = &[GUEST_GATEWAYS, GUEST_PORTS, GUEST_FLOWS, GUEST_IN, GUEST_OUT];
    /// Pinned by itself, for every layout.
    pub const SLOTS: &[&str] = &[SLOT];
    /// Pinned nowhere.
    pub const UNPINNED: &[&str] = &[GUEST_WORK, NO_TURNAROUNDS, SELF_TEST, SELF_TEST_SOCKS];
}
