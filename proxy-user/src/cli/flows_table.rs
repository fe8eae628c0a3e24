//! A flow as a line for people, within 80 columns where addresses are short.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use proxy_core::harmless::harmless;
use proxy_plane::flows::{Flow, Named as _, Path, Process};

use super::span;
use crate::{
    sheet,
    units::{bytes, fit_end},
    whose::{pod, processes},
};

/// The first seven are always there.
const HEAD: [&str; 10] = [
    "STATE",
    "HOP",
    "RULE",
    "CLIENT",
    "DESTINATION",
    "BYTES UP/DN",
    "LASTED",
    "BEGAN UTC",
    "PROCESSES",
    "WORKLOAD",
];

/// Columns besides the addresses, in their order: how wide.
const OTHERS: [usize; 5] = [7, 10, 4, 11, 6];
/// What comes behind them where there is room: as wide, in a terminal of at least that width.
const MORE: [(usize, usize); 3] = [(9, 96), (25, 132), (30, WIDE)];
/// All columns fit.
const WIDE: usize = 168;

/// How the lines are made.
#[derive(Clone, Debug)]
pub(crate) enum Layout {
    /// One tab between two cells.
    Plain,
    /// Columns of these widths.
    Columns(Vec<usize>),
}

impl Layout {
    /// `is_wide`: with all columns, also where they do not fit.
    pub(crate) fn of_output(is_wide: bool) -> Self {
        let least = if is_wide { WIDE } else { 0 };
        sheet::width().map_or(Self::Plain, |width| Self::within(usize::from(width).max(least)))
    }

    /// Two columns of addresses share what the others leave.
    fn within(width: usize) -> Self {
        let more: Vec<usize> =
            MORE.iter().filter(|(_, least)| width >= *least).map(|(wide, _)| *wide).collect();
        // A space behind each column but the last.
        let spaces = OTHERS.len() + 2 + more.len() - 1;
        let taken = OTHERS.iter().chain(&more).sum::<usize>() + spaces;
        let end = (width.saturating_sub(taken) / 2).clamp(9, 47);
        let [state, hop, rule, bytes, lasted] = OTHERS;
        Self::Columns([vec![state, hop, rule, end, end, bytes, lasted], more].concat())
    }

    pub(crate) fn head(&self) -> String {
        self.line(&HEAD.map(str::to_owned))
    }

    /// A flow.
    pub(crate) fn row(&self, flow: &Flow) -> String {
        let hop = match flow.forward {
            Some(forward) => format!("{}-{}", flow.hop.label(), forward.label()),
            None => flow.hop.label().to_owned(),
        };
        self.line(&[
            flow.close.map_or("live", |close| close.label()).to_owned(),
            hop,
            flow.rule.map_or("-", |rule| rule.label()).to_owned(),
            end(flow.original_client.unwrap_or(flow.client), flow.client_process.as_ref()),
            end(flow.original_destination, flow.server_process.as_ref()),
            format!(
                "{}/{}{}",
                bytes(flow.upload.bytes().total()),
                bytes(flow.download.bytes().total()),
                match flow.path {
                    Path::Redirected => " R",
                    Path::Mixed => " r",
                    Path::Stacked => "",
                }
            ),
            flow.duration_us.map_or("-".to_owned(), span::short),
            flow.times.syn.map_or("-".to_owned(), |at| self.time(at)),
            processes(flow),
            pod(&flow.workload, flow.namespace.as_deref(), flow.pod.as_deref()),
        ])
    }

    /// In full for programs.
    fn time(&self, at: u64) -> String {
        match self {
            Self::Plain => span::timestamp(at),
            Self::Columns(_) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                span::clock(at, u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
            }
        }
    }

    fn line(&self, cells: &[String; 10]) -> String {
        let Self::Columns(widths) = self else { return cells.join("\t") };
        let columns: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{:<width$}", fit(cell, *width))).collect();
        columns.join(" ").trim_end().to_owned()
    }
}

/// The end of an address tells more than its beginning; of words the beginning.
fn fit(text: &str, width: usize) -> String {
    if text.contains(':') { fit_end(text, width) } else { text.chars().take(width).collect() }
}

/// The process where the address says nothing.
fn end(addr: SocketAddr, process: Option<&Process>) -> String {
    match (addr.ip(), process) {
        (ip, Some(process)) if ip.is_loopback() => format!("{}:{}", harmless(&process.comm), addr.port()),
        _ => addr.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_tell_the_end_of_a_long_address() {
        let long = "[2001:db8:1234:5678:9abc:def0:1234:5678]:50000".to_owned();
        let cells = [
            "unreachable",
            "inner-tproxy",
            "O15'",
            &long,
            &long,
            "999M/150M r",
            "<1ms",
            "20:11:05",
            "lab-agent 1234567 > python3.13 1234567",
            "a-namespace/a-deployment-7d9c8b6f5d-x2x9z",
        ]
        .map(str::to_owned);
        for (width, shown, columns) in [
            (80, "…:1234:5678]:50000", 7),
            (96, "5678]:50000", 8),
            (132, "5678]:50000", 9),
            (200, &*long, 10),
        ] {
            let layout = Layout::within(width);
            let Layout::Columns(widths) = &layout else { panic!("{layout:?}") };
            assert_eq!(widths.len(), columns, "{width}");
            let line = layout.line(&cells);
            assert!(line.chars().count() <= width, "{line}");
            assert!(line.contains(&shown[shown.len().min(8)..]), "{line}");
        }
        let plain = Layout::Plain.line(&cells);
        assert_eq!(plain.split('\t').count(), HEAD.len());
        let head = Layout::within(80).head();
        assert!(head.starts_with("STATE   HOP        RULE CLIENT") && head.ends_with("LASTED"), "{head}");
        // An IPv4 address of a pod, and its port, whole.
        let Layout::Columns(widths) = Layout::within(80) else { panic!("no columns") };
        assert!(widths[3] >= "10.244.0.26:42432".len(), "{widths:?}");
    }
}
