//! One way of a connection: what one end sends and the other reads.

use proxy_common::{accel::Reason, flow::PEERS};

use super::{
    end::End,
    flow::{Side, Split, Stream, Waiting},
};

/// What one end sends and the other reads.
pub(super) fn stream(
    (sender, from): (Side, Option<&End>),
    (reader, to): (Side, Option<&End>),
    is_local: bool,
) -> Stream {
    let written = from.map(|from| Split {
        redirected: from.figures.tally.redirected_bytes,
        stacked: from.figures.sent_stacked,
    });
    // What is redirected to an end is known from its sender, less what waits.
    let read = to.and_then(|to| {
        let redirected = match written {
            Some(written) => written.redirected.saturating_sub(to.figures.unread.into()),
            None if to.figures.mapped == 0 => 0,
            None => return None,
        };
        Some(Split { redirected, stacked: to.figures.received_stacked })
    });
    let Some(from) = from.filter(|from| from.figures.mapped != 0) else {
        // No message was looked at: what keeps the sender out of the map is the reason for each byte.
        let any = written.or(read).is_some_and(|split| split.stacked > 0);
        let why = any.then(|| why_out(from, to, is_local));
        return Stream {
            written,
            read,
            reasons: why.iter().map(|(reason, _)| *reason).collect(),
            last_reason: why.map(|(reason, _)| reason),
            because_of: why
                .and_then(|(_, whose)| whose.map(|is_sender| if is_sender { sender } else { reader })),
            ..Stream::default()
        };
    };
    let tally = &from.figures.tally;
    let reason = |index: usize| Reason::ALL.get(index).copied();
    let last_reason = usize::from(tally.last_reason).checked_sub(1).and_then(reason);
    Stream {
        written,
        read,
        messages: Some(Split { redirected: tally.redirected_messages, stacked: tally.stacked_messages }),
        switches: tally.switches,
        reasons: (0..32).filter(|bit| tally.reasons >> bit & 1 != 0).filter_map(reason).collect(),
        last_reason,
        because_of: last_reason.filter(|reason| is_of_process(*reason)).map(|reason| match reason {
            Reason::SmallStream => sender,
            _ => reader,
        }),
        waiting: None,
    }
}

/// Why a sender is not in the map, and whose process that is: the sender's (true) or the reader's.
fn why_out(from: Option<&End>, to: Option<&End>, is_local: bool) -> (Reason, Option<bool>) {
    if !is_local {
        return (Reason::Elsewhere, None);
    }
    for (end, is_sender) in [(from, true), (to, false)] {
        if let Some((reason, is_own)) = end.and_then(stays) {
            return (reason, is_of_process(reason).then_some(is_own == is_sender));
        }
    }
    let is_in_map = |end: Option<&End>| end.is_some_and(|end| end.figures.mapped != 0);
    let is_other_known = from.is_some() && to.is_some();
    (if is_in_map(to) || !is_other_known { Reason::NoPeer } else { Reason::Off }, None)
}

/// Why an end is not in the map, as its own side says, and whether that is its own doing.
fn stays(end: &End) -> Option<(Reason, bool)> {
    let reason = Reason::from_index((end.record.stays & !PEERS).checked_sub(1)?)?;
    Some((reason, end.record.stays & PEERS == 0))
}

/// Whether a reason is how a process reads or writes.
fn is_of_process(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UntrustedReader
            | Reason::BlockingSocket
            | Reason::BlockingReader
            | Reason::EdgeReader
            | Reason::Mptcp
            | Reason::SmallStream
            | Reason::Limit
    )
}

/// Of what one end sends and the other reads.
pub(super) fn waiting(from: Option<&End>, to: Option<&End>) -> Waiting {
    Waiting {
        send: from.map(|from| from.queues.send.into()),
        receive: to.map(|to| to.queues.receive.into()),
        redirected: to.map(|to| to.figures.unread.into()),
    }
}
