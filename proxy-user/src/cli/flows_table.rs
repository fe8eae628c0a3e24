//! A flow as a line for people, within 80 columns where addresses are short.

use std::net::SocketAddr;

use proxy_core::harmless::harmless;
use proxy_plane::flows::{Flow, Named as _, Path, Process};

use crate::sheet;

const HEAD: [&str; 6] = ["STATE", "HOP", "RULE", "CLIENT", "DESTINATION", "BYTES UP/DN"];

/// How the lines are made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    /// One tab between two cells.
    Plain,
    /// Columns of these widths.
    Columns([usize; 5]),
}

impl Layout {
    pub(crate) fn of_output() -> Self {
        sheet::width().map_or(Self::Plain, |width| Self::within(width.into()))
    }

    /// Two columns of addresses share what the others leave.
    fn within(width: usize) -> Self {
        const OTHERS: [usize; 4] = [7, 10, 4, 12];
        // A space behind each column but the last.
        let left = width.saturating_sub(OTHERS.iter().sum::<usize>() + 5) / 2;
        let end = left.clamp(9, 47);
        Self::Columns([OTHERS[0], OTHERS[1], OTHERS[2], end, end])
    }

    pub(crate) fn head(self) -> String {
        self.line(HEAD.map(str::to_owned))
    }

    /// A flow.
    pub(crate) fn row(self, flow: &Flow) -> String {
        let hop = match flow.forward {
            Some(forward) => format!("{}-{}", flow.hop.label(), forward.label()),
            None => flow.hop.label().to_owned(),
        };
        self.line([
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
        ])
    }

    fn line(self, cells: [String; 6]) -> String {
        let Self::Columns(widths) = self else { return cells.join("\t") };
        let [.., last] = &cells;
        let columns = cells.iter().zip(widths).map(|(cell, width)| format!("{:<width$} ", fit(cell, width)));
        columns.collect::<String>() + last
    }
}

/// The end of an address tells more than its beginning; of words the beginning.
fn fit(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    if text.contains(':') {
        return format!("…{}", text.chars().skip(length + 1 - width).collect::<String>());
    }
    text.chars().take(width).collect()
}

/// The process where the address says nothing.
fn end(addr: SocketAddr, process: Option<&Process>) -> String {
    match (addr.ip(), process) {
        (ip, Some(process)) if ip.is_loopback() => format!("{}:{}", harmless(&process.comm), addr.port()),
        _ => addr.to_string(),
    }
}

/// Three digits and a unit.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "K", "M", "G", "T", "P"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit > 0 && value < 10.0 {
        format!("{value:.1}{}", UNITS[unit])
    } else {
        format!("{value:.0}{}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_at_most_four_characters() {
        for (count, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.0K"),
            (1024 * 1024, "1.0M"),
            (150 << 20, "150M"),
            (u64::MAX, "16384P"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn lines_fit_and_tell_the_end_of_a_long_address() {
        let long = "[2001:db8:1234:5678:9abc:def0:1234:5678]:50000".to_owned();
        let cells = |end: String| {
            ["unreachable", "inner-tproxy", "O15'"].map(str::to_owned).into_iter().chain([
                end.clone(),
                end,
                "1.0M/150M r".into(),
            ])
        };
        for (width, shown) in [(80, "…:1234:5678]:50000"), (200, &*long)] {
            let cells: Vec<String> = cells(long.clone()).collect();
            let line = Layout::within(width).line(cells.try_into().unwrap());
            assert!(line.chars().count() <= width, "{line}");
            assert!(line.contains(&shown[shown.len().min(8)..]), "{line}");
        }
        let plain = Layout::Plain.line(cells(long).collect::<Vec<_>>().try_into().unwrap());
        assert_eq!(plain.split('\t').count(), 6);
        assert_eq!(Layout::within(80).head().len(), 79);
    }
}
