//! Which path a message takes.
//!
//! Per direction, once bytes went over the stack nothing is redirected until the receiver has read all of them: a
//! receiver reads its redirected queue before its TCP queue (`net/ipv4/tcp_bpf.c: tcp_bpf_recvmsg`), so that the other
//! order would overtake. From redirect to stack is always in order.

use super::Reason;

/// State of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct DirectionState {
    /// One of [`mode`].
    pub mode: u8,
    /// Small messages in a row without an answer.
    pub small_run: u8,
    /// Messages sent, up to [`super::LONG`].
    pub sent: u8,
    /// Bits of [`direction_bit`].
    pub bits: u8,
    /// The other end's activity when it was last looked at.
    pub peer_activity: u32,
    /// The other end's activity when a message last went over the stack.
    pub stack_activity: u32,
}

/// Bits of [`DirectionState::bits`].
pub mod direction_bit {
    /// This end accepted the connection.
    pub const SERVER: u8 = 1 << 0;
    /// The receiver waits for its socket with a level-triggered epoll.
    pub const LEVEL: u8 = 1 << 1;
    /// The receiver waits for its socket with an edge-triggered epoll.
    pub const EDGE: u8 = 1 << 2;
    /// This end counts among its workload's sockets in the map.
    pub const COUNTED: u8 = 1 << 3;
    /// This end is in the map to send: nothing is redirected to it, and it leaves when it turns out to block, or to
    /// send little.
    pub const SENDS: u8 = 1 << 4;
    /// What it sends is small: all that was redirected is read, and nothing is any more.
    pub const DONE: u8 = 1 << 5;
}

pub mod mode {
    /// Redirect, as long as it is allowed. Where every flow starts: no byte went over the stack yet, and if one did
    /// the receiver's sequence number says so.
    pub const REDIRECT: u8 = 0;
    /// The stack carries this direction until it is drained.
    pub const STACK: u8 = 1;
}

/// What the path of a message depends on, when it is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct PathInputs {
    pub size: u32,
    /// Bytes redirected and not read yet.
    pub queued: u32,
    pub limit: u32,
    /// The receiver's cgroup and the node have memory for the message.
    pub has_memory: bool,
    /// The receiver has read everything that went over the stack.
    pub drained: bool,
    /// Messages the other end has sent so far, wrapping.
    pub peer_activity: u32,
    /// The acceleration of either end's workload is off, or the workload is gone.
    pub off: bool,
    /// The receiver may take a read that fills less than its buffer for the last (epoll(7), question 9), as nginx, tokio
    /// and Netty do: it would leave what is in its TCP queue behind what was redirected until the next event.
    pub stops_short: bool,
    /// The receiver reads blocking: a MSG_WAITALL read that began on the stack would not see what is redirected later.
    pub reads_blocking: bool,
}

/// The path of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    Redirect,
    Stack(Reason),
}

/// At this size one hand-off costs less than the stack, answered or not.
pub const WORTH_ALONE: u32 = 4096;
/// So many smaller ones in a row without an answer: a one-way stream, which the stack coalesces.
pub const SMALL_RUN: u8 = 16;

/// Chooses the path and moves the state. While redirected bytes wait, only what bounds them leads to the stack: see
/// [`PathInputs::stops_short`].
#[inline(always)]
pub fn choose(direction: &mut DirectionState, inputs: &PathInputs) -> Path {
    let answered = inputs.peer_activity != direction.peer_activity;
    direction.peer_activity = inputs.peer_activity;
    if answered || inputs.size >= WORTH_ALONE {
        direction.small_run = 0;
    } else {
        direction.small_run = direction.small_run.saturating_add(1);
    }
    // What was read of the stack is charged a moment longer: nothing is redirected behind it that is not redirected now.
    let charged = inputs.off && direction.mode == mode::STACK && inputs.queued != 0;
    let reason = if !inputs.drained || charged {
        Some(Reason::Draining)
    } else if inputs.queued > inputs.limit || inputs.size > inputs.limit - inputs.queued {
        Some(Reason::Limit)
    } else if !inputs.has_memory {
        Some(Reason::Memory)
    } else if inputs.reads_blocking
        && direction.mode == mode::STACK
        && inputs.peer_activity == direction.stack_activity
    {
        Some(Reason::BlockingReader)
    } else if inputs.queued != 0 {
        None
    } else if inputs.off {
        Some(Reason::Off)
    } else if direction.small_run > SMALL_RUN {
        Some(Reason::SmallStream)
    } else if inputs.stops_short {
        Some(Reason::EdgeReader)
    } else {
        None
    };
    match reason {
        None => {
            direction.mode = mode::REDIRECT;
            Path::Redirect
        }
        Some(reason) => {
            direction.mode = mode::STACK;
            direction.stack_activity = inputs.peer_activity;
            Path::Stack(reason)
        }
    }
}

const _: () = assert!(size_of::<DirectionState>() == 12);

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: PathInputs = PathInputs {
        size: 100,
        queued: 0,
        limit: 1000,
        has_memory: true,
        drained: true,
        peer_activity: 0,
        off: false,
        stops_short: false,
        reads_blocking: false,
    };

    /// The receiver has read all of the stack's bytes, and the kernel has not freed them.
    #[test]
    fn what_is_off_begins_no_redirection() {
        let off = PathInputs { off: true, ..CALM };
        let mut direction = DirectionState::default();
        assert_eq!(choose(&mut direction, &off), Path::Stack(Reason::Off));
        let charged = PathInputs { queued: 1, ..off };
        assert_eq!(choose(&mut direction, &charged), Path::Stack(Reason::Draining));
        // What was redirected and waits is followed by more, until it is read.
        let mut direction = DirectionState::default();
        assert_eq!(choose(&mut direction, &CALM), Path::Redirect);
        assert_eq!(choose(&mut direction, &charged), Path::Redirect);
        assert_eq!(choose(&mut direction, &off), Path::Stack(Reason::Off));
    }

    #[test]
    fn nothing_overtakes_what_is_on_the_stack() {
        let mut direction = DirectionState::default();
        assert_eq!(
            choose(&mut direction, &PathInputs { drained: false, ..CALM }),
            Path::Stack(Reason::Draining)
        );
        assert_eq!(choose(&mut direction, &CALM), Path::Redirect);
    }

    #[test]
    fn a_blocking_reader_is_redirected_to_again_after_it_has_answered() {
        let mut direction = DirectionState::default();
        let inputs = PathInputs { reads_blocking: true, ..CALM };
        assert_eq!(choose(&mut direction, &inputs), Path::Redirect);
        assert_eq!(
            choose(&mut direction, &PathInputs { drained: false, ..inputs }),
            Path::Stack(Reason::Draining)
        );
        assert_eq!(choose(&mut direction, &inputs), Path::Stack(Reason::BlockingReader));
        assert_eq!(choose(&mut direction, &PathInputs { peer_activity: 1, ..inputs }), Path::Redirect);
    }

    #[test]
    fn the_limit_holds_at_its_edge_and_never_wraps() {
        let mut direction = DirectionState::default();
        assert_eq!(choose(&mut direction, &PathInputs { queued: 900, ..CALM }), Path::Redirect);
        assert_eq!(choose(&mut direction, &PathInputs { queued: 901, ..CALM }), Path::Stack(Reason::Limit));
        assert_eq!(
            choose(&mut direction, &PathInputs { size: u32::MAX, queued: 1, ..CALM }),
            Path::Stack(Reason::Limit)
        );
        assert_eq!(
            choose(&mut direction, &PathInputs { queued: u32::MAX, ..CALM }),
            Path::Stack(Reason::Limit)
        );
    }

    #[test]
    fn only_a_bound_leaves_redirected_bytes_behind() {
        let mut direction = DirectionState { small_run: SMALL_RUN, ..DirectionState::default() };
        let waiting =
            PathInputs { queued: 1, off: true, stops_short: true, size: WORTH_ALONE, limit: 1 << 20, ..CALM };
        assert_eq!(choose(&mut direction, &waiting), Path::Redirect);
        assert_eq!(choose(&mut direction, &PathInputs { size: 1, ..waiting }), Path::Redirect);
        assert_eq!(choose(&mut direction, &PathInputs { limit: 100, ..waiting }), Path::Stack(Reason::Limit));
        assert_eq!(choose(&mut direction, &PathInputs { queued: 0, ..waiting }), Path::Stack(Reason::Off));
    }

    #[test]
    fn one_who_stops_short_is_left_to_the_stack_once_nothing_waits() {
        let mut direction = DirectionState::default();
        let inputs = PathInputs { stops_short: true, ..CALM };
        assert_eq!(choose(&mut direction, &PathInputs { queued: 1, ..inputs }), Path::Redirect);
        assert_eq!(choose(&mut direction, &inputs), Path::Stack(Reason::EdgeReader));
    }

    #[test]
    fn nothing_is_handed_over_where_memory_is_short() {
        let mut direction = DirectionState::default();
        assert_eq!(
            choose(&mut direction, &PathInputs { has_memory: false, ..CALM }),
            Path::Stack(Reason::Memory)
        );
    }

    #[test]
    fn one_way_trickles_stay_on_the_stack_and_conversations_do_not() {
        let mut direction = DirectionState::default();
        let paths: Vec<Path> = (0..=SMALL_RUN).map(|_| choose(&mut direction, &CALM)).collect();
        assert_eq!(paths.last(), Some(&Path::Stack(Reason::SmallStream)));
        for answers in 1..100 {
            assert_eq!(
                choose(&mut direction, &PathInputs { peer_activity: answers, ..CALM }),
                Path::Redirect
            );
        }
        for _ in 0..100 {
            assert_eq!(
                choose(&mut direction, &PathInputs { size: WORTH_ALONE, limit: 1 << 20, ..CALM }),
                Path::Redirect
            );
        }
    }
}
