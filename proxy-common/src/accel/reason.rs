//! Why a message took its path, and what became of a socket.

use crate::named::named;

named! {
    /// What became of a message or a socket.
    Reason {
        Redirected = "redirected", "handed over directly";
        Off = "off", "switched off, paused, or the workload is gone";
        NoPeer = "no_peer", "the other end is not in the map, and its side has not said why";
        PeerGone = "peer_gone", "the other end has left the map: it has closed";
        NotOpen = "not_open", "this end is not open for sending";
        Draining = "draining", "bytes that went over the stack are not read yet";
        Limit = "limit", "as many bytes are waiting as may";
        Memory = "memory", "memory for sockets is short, in the receiver's cgroup or on the node: the stack's window stops the sender";
        SmallStream = "small_stream", "small messages in a row without an answer: the stack coalesces them";
        BlockingReader = "blocking_reader", "the other end reads blocking";
        UntrustedReader = "untrusted_reader", "the receiver, or this end, may read in a way that misses redirected bytes: splice, and FIONREAD on some kernels";
        EdgeReader = "edge_reader", "the other end waits for events edge-triggered: what waits in two queues could strand it";
        Enrolled = "enrolled", "a socket entered the map";
        EnrolledToSend = "enrolled_to_send", "a socket entered the map to send: its program is not known to read safely, so that what it is sent stays on the stack";
        NotEnrolled = "not_enrolled", "both ends are local, but the socket could not enter the map (full, or another map's)";
        Mptcp = "mptcp", "an MPTCP socket stays out";
        Ktls = "ktls", "kernel TLS was refused for a socket in the map: it goes on in user space";
        ShortLived = "short_lived", "connections to this server are short: entering the map would cost more than it saves";
        BlockingSocket = "blocking_socket", "a blocking socket stays out, or leaves the map: there its recv would behave differently";
        Elsewhere = "elsewhere", "the other end is in no workload of this node: nothing to skip";
    }
}
