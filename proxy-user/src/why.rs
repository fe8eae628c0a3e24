//! Why a workload is not faster: what keeps its bytes on the stack, a sentence each. Status, the page and its API say the
//! same.

use std::cmp::Reverse;

use proxy_common::accel::Reason;
use proxy_core::harmless::{harmless, harmless_path};
use proxy_plane::{
    dataplane::{Hazardous, WorkloadStatus},
    flows::{Accounted, Culprit},
};
use serde::Serialize;

use crate::units::bytes;

/// One cause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Cause {
    /// Whose doing it is; none: nobody's, or of connections that are not listed any more.
    pub(crate) program: Option<String>,
    /// How that program reads or writes.
    pub(crate) class: Option<&'static str>,
    /// None: all that is known is how the program could read.
    pub(crate) reason: Option<&'static str>,
    /// Lost to it: of a program those of `connections`, else since the workload was attached.
    pub(crate) bytes: u64,
    /// Open, or closed lately; none: not counted by connections.
    pub(crate) connections: Option<u64>,
    pub(crate) sentence: String,
}

/// Those of a workload, the one that costs most first. `culprits`: of the flows that are open or closed lately.
pub(crate) fn causes(status: &WorkloadStatus, share: Option<&Accounted>, culprits: &[Culprit]) -> Vec<Cause> {
    let hazardous = &status.meta.hazardous;
    if let Some(reason) = &status.meta.not_accelerated {
        return vec![Cause {
            program: None,
            class: None,
            reason: Some(Reason::Off.name()),
            bytes: share.map_or(0, |share| share.share.stacked),
            connections: None,
            sentence: format!("nothing is accelerated: {reason}"),
        }];
    }
    let mut all: Vec<Cause> = hazardous.iter().map(|known| found_by_attach(known, culprits)).collect();
    all.extend(culprits.iter().filter(|of| !is_known(hazardous, of)).map(of_program));
    all.extend(share.into_iter().flat_map(|share| of_nobody(share, culprits)));
    all.sort_by_key(|cause| Reverse(cause.bytes));
    all
}

fn found_by_attach(known: &Hazardous, culprits: &[Culprit]) -> Cause {
    let its = culprits.iter().find(|of| of.reason == Reason::UntrustedReader && is_named(known, &of.program));
    let path = harmless_path(&known.program);
    let kept =
        its.map_or(String::new(), |its| format!(", with {} of {}", bytes(its.bytes), connections(its)));
    Cause {
        sentence: if known.sends {
            format!("what {path} is sent stays on the stack{kept}: it {}", known.reason)
        } else {
            format!("{path} stays on the stack{kept}: it {}", known.reason)
        },
        program: Some(path),
        class: class(Reason::UntrustedReader),
        reason: its.map(|its| its.reason.name()),
        bytes: its.map_or(0, |its| its.bytes),
        connections: its.map(|its| its.connections),
    }
}

/// What attach has found is said with its reason.
fn is_known(hazardous: &[Hazardous], culprit: &Culprit) -> bool {
    let is_named = |known: &Hazardous| is_named(known, &culprit.program);
    culprit.reason == Reason::UntrustedReader && hazardous.iter().any(is_named)
}

fn of_program(culprit: &Culprit) -> Cause {
    let program = harmless(&culprit.program).into_owned();
    let why = match culprit.reason {
        Reason::UntrustedReader => {
            "nobody has looked at it yet: an agent or `sidestep serve` that sees its process does, or attach again"
        }
        other => other.describe(),
    };
    Cause {
        sentence: format!(
            "{program} keeps {} of {} on the stack, {}: {why}",
            bytes(culprit.bytes),
            connections(culprit),
            culprit.reason.name()
        ),
        program: Some(program),
        class: class(culprit.reason),
        reason: Some(culprit.reason.name()),
        bytes: culprit.bytes,
        connections: Some(culprit.connections),
    }
}

/// What no program is named for.
fn of_nobody(share: &Accounted, culprits: &[Culprit]) -> Vec<Cause> {
    let named = |name: &str| -> u64 {
        culprits.iter().filter(|of| of.reason.name() == name).map(|of| of.bytes).sum()
    };
    let left =
        |(name, all): (&&'static str, &u64)| Some((*name, all.checked_sub(named(name)).filter(|n| *n > 0)?));
    let cause = |(name, lost): (&'static str, u64)| {
        let reason = Reason::ALL.iter().find(|reason| reason.name() == name)?;
        let whose =
            if class(*reason).is_some() { " of connections that are not listed any more" } else { "" };
        Some(Cause {
            program: None,
            class: None,
            reason: Some(name),
            bytes: lost,
            connections: None,
            sentence: format!("{}{whose} went over the stack, {name}: {}", bytes(lost), reason.describe()),
        })
    };
    share.reasons.iter().filter_map(left).filter_map(cause).collect()
}

fn connections(culprit: &Culprit) -> String {
    match culprit.connections {
        1 => "1 connection".to_owned(),
        several => format!("{several} connections"),
    }
}

/// How a program reads or writes that is this reason; none: it is no program's doing.
fn class(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::UntrustedReader => "unsafe reader",
        Reason::BlockingReader | Reason::BlockingSocket => "blocking",
        Reason::EdgeReader => "edge-triggered",
        Reason::SmallStream => "small messages in a row",
        Reason::Limit => "slow reader",
        Reason::Mptcp => "MPTCP",
        _ => return None,
    })
}

/// The kernel keeps 15 bytes of a process's name.
fn is_named(known: &Hazardous, comm: &str) -> bool {
    known.program.file_name().is_some_and(|name| {
        let name = name.as_encoded_bytes();
        name.get(..15).unwrap_or(name) == comm.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proxy_plane::flows::Share;

    use super::*;

    fn culprit(program: &str, reason: Reason, bytes: u64, connections: u64) -> Culprit {
        Culprit { program: program.to_owned(), reason, connections, bytes }
    }

    #[test]
    fn what_no_program_is_named_for_is_the_rest() {
        let reasons = BTreeMap::from([("untrusted_reader", 100), ("memory", 7), ("limit", 5)]);
        let share = Accounted { share: Share::default(), percent: None, reasons };
        let culprits = [culprit("curl", Reason::UntrustedReader, 60, 2), culprit("app", Reason::Limit, 5, 1)];
        let all = of_nobody(&share, &culprits);
        let of: Vec<_> = all.iter().map(|cause| (cause.reason.unwrap(), cause.bytes)).collect();
        assert_eq!(of, [("memory", 7), ("untrusted_reader", 40)]);
        assert!(all[0].sentence.starts_with("7B went over the stack, memory: "), "{all:#?}");
        assert!(all[1].sentence.starts_with("40B of connections that are not listed any more "), "{all:#?}");
    }

    #[test]
    fn a_program_is_named_with_its_class_and_what_it_costs() {
        let cause = of_program(&culprit("app", Reason::BlockingReader, 2048, 3));
        assert_eq!((cause.class, cause.bytes, cause.connections), (Some("blocking"), 2048, Some(3)));
        let said =
            "app keeps 2.0K of 3 connections on the stack, blocking_reader: the other end reads blocking";
        assert_eq!(cause.sentence, said);
        let known = Hazardous {
            program: "/usr/sbin/nginx".into(),
            reason: "may splice".to_owned(),
            sends: false,
            nonblocking: false,
        };
        let found = found_by_attach(&known, &[culprit("nginx", Reason::UntrustedReader, 5, 1)]);
        assert_eq!(
            found.sentence,
            "/usr/sbin/nginx stays on the stack, with 5B of 1 connection: it may splice"
        );
        assert_eq!(
            found_by_attach(&known, &[]).sentence,
            "/usr/sbin/nginx stays on the stack: it may splice"
        );
        let sends = Hazardous { sends: true, ..known };
        assert_eq!(
            found_by_attach(&sends, &[]).sentence,
            "what /usr/sbin/nginx is sent stays on the stack: it may splice"
        );
    }
}
