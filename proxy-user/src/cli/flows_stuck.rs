//! `sidestep flows --stuck`: where bytes wait that nobody takes.

use std::{fmt::Write as _, thread, time::Duration};

use anyhow::{Context as _, Result};
use proxy_core::harmless::harmless;
use proxy_plane::flows::{Filter, Reader, Side, Stuck, Watch};

use super::{Output, flows_table::Layout, span};
use crate::{out, units::bytes, yaml};

/// Those on which nothing has moved between two looks.
pub(super) fn find(span: Duration, filter: &Filter) -> Result<Vec<Stuck>> {
    let mut watch = Watch::default();
    watch.look(Duration::ZERO, filter)?;
    thread::sleep(span);
    watch.look(span, filter)
}

pub(super) fn print(all: &[Stuck], output: Output, is_wide: bool) -> Result<bool> {
    let mut text = String::new();
    match output {
        Output::Table if all.is_empty() => out::lines("nothing is stuck\n"),
        Output::Table => {
            let layout = Layout::of_output(is_wide);
            writeln!(text, "{}", layout.head())?;
            for stuck in all {
                writeln!(text, "{}\n  {}", layout.row(&stuck.flow), sentence(stuck))?;
            }
            out::lines(&text)
        }
        Output::Json | Output::Yaml => {
            for stuck in all {
                let flow = stuck.flow.to_json().context("encode a flow")?;
                let mut value: serde_json::Value = serde_json::from_str(&flow)?;
                value["stuck"] = serde_json::to_value(stuck).context("encode what is stuck")?;
                match output {
                    Output::Yaml => text.push_str(&yaml::document(&value)),
                    Output::Table | Output::Json => writeln!(text, "{value}")?,
                }
            }
            out::json_lines(&text)
        }
    }
}

/// Who does not take what, and for how long.
fn sentence(stuck: &Stuck) -> String {
    let waiting = stuck.waiting;
    let parts = [
        (waiting.receive, "received and not read"),
        (waiting.redirected, "redirected and not read"),
        (waiting.send, "not acknowledged"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter_map(|(count, what)| Some((count.filter(|count| *count > 0)?, what)))
        .map(|(count, what)| format!("{} {what}", bytes(count)))
        .collect();
    format!("{} takes nothing for {}: {}", reader(stuck), span::short(stuck.for_us), parts.join(", "))
}

fn reader(stuck: &Stuck) -> String {
    let (side, process, address) = match stuck.reader {
        Side::Client => ("client", &stuck.flow.client_process, stuck.flow.client),
        Side::Server => ("server", &stuck.flow.server_process, stuck.flow.server),
    };
    let what = match stuck.reader_is {
        Reader::Elsewhere => String::new(),
        known => format!(" ({})", known.name()),
    };
    match process {
        Some(process) => format!("{side} {} {}{what}", harmless(&process.comm), process.pid),
        None => format!("{side} {address}{what}"),
    }
}

#[cfg(test)]
mod tests {
    use proxy_plane::flows::{Process, Waiting};

    use super::*;
    use crate::top::tests::flow;

    #[test]
    fn who_does_not_read_is_named_with_what_waits() {
        let mut flow = flow(1, proxy_common::flow::Hop::Inner, None, Default::default(), Default::default());
        flow.server_process = Some(Process { pid: 4711, comm: "python3".to_owned(), uid: 1000 });
        let waiting = Waiting { send: Some(2 << 20), receive: Some(65536), redirected: Some(0) };
        let stuck = Stuck {
            sender: Side::Client,
            reader: Side::Server,
            reader_is: Reader::Application,
            waiting,
            for_us: 2_000_000,
            flow,
        };
        assert_eq!(
            sentence(&stuck),
            "server python3 4711 (application) takes nothing for 2.0s: 64K received and not read, 2.0M not \
             acknowledged"
        );
        let elsewhere = Stuck {
            sender: Side::Server,
            reader: Side::Client,
            reader_is: Reader::Elsewhere,
            waiting: Waiting { send: Some(9), receive: None, redirected: None },
            ..stuck
        };
        assert_eq!(
            sentence(&elsewhere),
            "client 10.10.0.9:40000 takes nothing for 2.0s: 9B not acknowledged"
        );
    }
}
