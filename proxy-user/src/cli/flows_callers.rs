//! `sidestep flows --top N`: who connects most.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use proxy_core::harmless::harmless;
use proxy_plane::flows::{self, Caller, Named as _};
use serde_json::Value;

use super::Output;
use crate::{out, sheet::Sheet, units::bytes, whose::pod, yaml};

/// One line or document each.
pub(super) fn print(callers: &[Caller], output: Output) -> Result<bool> {
    match output {
        Output::Table if callers.is_empty() => out::lines("no flows\n"),
        Output::Table => out::lines(&format!("{}\n", table(callers))),
        Output::Json | Output::Yaml => {
            let mut text = String::new();
            for caller in callers {
                let mut value = serde_json::to_value(caller).context("encode a caller")?;
                value["schema"] = Value::from(flows::SCHEMA);
                match output {
                    Output::Yaml => text.push_str(&yaml::document(&value)),
                    Output::Table | Output::Json => writeln!(text, "{value}")?,
                }
            }
            out::json_lines(&text)
        }
    }
}

fn table(callers: &[Caller]) -> Sheet {
    let mut sheet =
        Sheet::unruled(&["CONNECTIONS", "LIVE", "BYTES", "CALLER", "HOP", "DESTINATION", "WORKLOAD"]);
    for caller in callers {
        let destination = caller.destination.map_or("any".to_owned(), |to| to.to_string());
        sheet.add([
            caller.connections.to_string(),
            caller.live.to_string(),
            bytes(caller.bytes),
            name(caller),
            caller.hop.map_or("any", |hop| hop.label()).to_owned(),
            destination,
            pod(&caller.workload, caller.namespace.as_deref(), caller.pod.as_deref()),
        ]);
    }
    sheet
}

fn name(caller: &Caller) -> String {
    match (&caller.process, caller.address) {
        (Some(process), _) => format!("{} {}", harmless(&process.comm), process.pid),
        (None, Some(address)) => address.to_string(),
        (None, None) => "?".to_owned(),
    }
}
