//! `sidestep rules`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use proxy_core::{
    config::{Capture, Config, NoHost},
    rules::{self, Family},
};
use serde_json::{Value, json};

use super::{Output, settings::SettingsArgs};
use crate::out;

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sidestep rules -u 1337 -b '*' -i '*' | iptables-restore --test")]
pub(crate) struct RulesArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &RulesArgs) -> Result<ExitCode> {
    match args.settings.resolve(&NoHost)?.capture {
        Capture::Of(config) if args.output == Output::Table => out::text(rules::render(&config))?,
        Capture::Of(config) => {
            args.output.document(&document(&texts(&config, config.dual_stack)))?;
        }
        Capture::Nothing(reason) if args.output != Output::Table => {
            super::settings::say_nothing(args.output, "printed", reason)?;
        }
        // A comment, so that what reads rules reads none.
        Capture::Nothing(reason) => out::line(format!("# no rules: {reason}"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Texts for iptables-restore, and for ip6tables-restore if there are IPv6 rules.
pub(super) fn texts(config: &Config, ipv6: bool) -> Vec<(Family, String)> {
    let families = [Family::V4, Family::V6].into_iter().filter(|family| ipv6 || *family == Family::V4);
    families.map(|family| (family, rules::render_family(config, family))).collect()
}

/// The rules of texts for iptables-restore, in their order.
pub(super) fn document(texts: &[(Family, String)]) -> Value {
    let mut rules = Vec::new();
    for (family, text) in texts {
        let mut table = "";
        for line in text.lines() {
            match line.strip_prefix('*') {
                Some(name) => table = name,
                None if line.starts_with('-') => rules.push(json!({
                    "family": if *family == Family::V4 { "ipv4" } else { "ipv6" },
                    "table": table,
                    "rule": line,
                })),
                // The end of a table.
                None => {}
            }
        }
    }
    json!({ "schema": 1, "rules": rules })
}
