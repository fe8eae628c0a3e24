//! The result for people.

use std::fmt::Write;

use tests::sidecar::Kind;

use crate::experiment::SERVICE;
use crate::measured::{Bound, Istio, Measured, Row, Verdict};

const PICTURE: &str = "
  client -----> eth0 ------> sidecar :15006 --+--> 127.0.0.1:port           Istio <= 1.9
  10.10.0.9     10.10.0.26   uid 1337         +--> 10.10.0.26:port          Istio >= 1.10, from 127.0.0.6
";

const PICTURE_OUT: &str = "
  app --------> sidecar :15001 -----> eth0 -----> 10.96.7.7:80
  uid 1000      uid 1337              10.10.0.26
";

/// Text with ANSI colours, or without.
struct Paint {
    colour: bool,
}

impl Paint {
    /// Pads to `width` before colouring: escape sequences have no width.
    fn cell(&self, text: &str, width: usize, code: &str) -> String {
        let padded = format!("{text:width$}");
        if self.colour { format!("\x1b[{code}m{padded}\x1b[0m") } else { padded }
    }

    fn bold(&self, text: &str) -> String {
        self.cell(text, 0, "1")
    }

    fn verdict(&self, verdict: Verdict, width: usize) -> String {
        let code = match verdict {
            Verdict::Pong => "32",
            Verdict::Refused => "33",
            Verdict::Other => "31;1",
        };
        self.cell(verdict.label(), width, code)
    }
}

/// Renders everything measured, side by side.
pub(crate) fn render(
    all: &[Measured],
    faults: &[String],
    sidecar: Kind,
    verbose: bool,
    colour: bool,
) -> String {
    let paint = Paint { colour };
    let mut out = String::new();
    writeln!(out, "{}{PICTURE}", paint.bold("\nInbound: a client calls a server that answers `pong`")).ok();
    matrix(&mut out, all, &paint);
    if verbose {
        writeln!(out).ok();
        rows(&mut out, all, &paint, Measured::inbound_rows);
    }
    let title = format!("\nOutbound: the application calls {SERVICE}");
    writeln!(out, "{}{PICTURE_OUT}", paint.bold(&title)).ok();
    rows(&mut out, all, &paint, |measured| measured.outbound.rows());
    writeln!(out, "\nrefused: the sidecar accepts, is refused by the application's address, and closes.")
        .ok();
    writeln!(out, "a, b: ephemeral ports; the same letter is the same port. sidecar: {sidecar:?}.").ok();
    conclusion(&mut out, all, faults, &paint);
    out
}

/// The 2x2 table, once per data plane, next to each other.
fn matrix(out: &mut String, all: &[Measured], paint: &Paint) {
    // One column still has to hold the title above it.
    let width = if all.len() > 1 { 12 } else { 20 };
    let group = width * all.len();
    writeln!(out, "{:30}{:group$}  {:group$}", "", "app on 127.0.0.1", "app on 10.10.0.26").ok();
    let names: String = all.iter().map(|measured| format!("{:width$}", measured.data_plane)).collect();
    writeln!(out, "{:30}{names}  {names}", "").ok();
    for (istio, to) in [(Istio::UpTo1_9, "-> 127.0.0.1"), (Istio::From1_10, "-> 10.10.0.26")] {
        let cells = |bound| -> String {
            let verdicts = all.iter().filter_map(|measured| Some(measured.cell(istio, bound)?.verdict));
            verdicts.map(|verdict| paint.verdict(verdict, width)).collect()
        };
        writeln!(out, "  {} {to:14}{}  {}", istio.label(), cells(Bound::Lo), cells(Bound::Eth0)).ok();
    }
}

fn rows(out: &mut String, all: &[Measured], paint: &Paint, of: impl Fn(&Measured) -> Vec<Row>) {
    let columns: Vec<Vec<Row>> = all.iter().map(of).collect();
    let Some(first) = columns.first() else { return };
    let width = first.iter().map(|row| row.name.len()).max().unwrap_or(0) + 2;
    let names: String = all.iter().map(|measured| format!("{:22}", measured.data_plane)).collect();
    writeln!(out, "  {:width$}{names}", "").ok();
    for (index, row) in first.iter().enumerate() {
        let values: Vec<&str> = columns.iter().map(|column| column[index].value.as_str()).collect();
        let same = values.iter().all(|value| *value == values[0]);
        let code = if same { "0" } else { "31;1" };
        let values: String = values.iter().map(|value| paint.cell(value, 22, code)).collect();
        writeln!(out, "  {:width$}{}", row.name, values.trim_end()).ok();
    }
}

fn conclusion(out: &mut String, all: &[Measured], faults: &[String], paint: &Paint) {
    writeln!(out).ok();
    for fault in faults {
        writeln!(out, "{}", paint.cell(&format!("DIFFERENT  {fault}"), 0, "31;1")).ok();
    }
    if !faults.is_empty() {
        return;
    }
    let observations: usize =
        all.first().map_or(0, |one| one.inbound_rows().len() + one.outbound.rows().len());
    let text = match all {
        [one] => format!("{}: the table reads as it must.", one.data_plane),
        _ => format!(
            "identical: {observations} observations, the same under both, and the table reads as it must."
        ),
    };
    writeln!(out, "{}", paint.cell(&text, 0, "32;1")).ok();
}
