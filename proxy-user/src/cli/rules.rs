//! `sidestep rules`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use proxy_core::{
    config::{Capture, NoHost},
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
            let both = [Family::V4, Family::V6];
            let families = both.into_iter().filter(|family| config.dual_stack || *family == Family::V4);
            let texts: Vec<_> =
                families.map(|family| (family, rules::render_family(&config, family))).collect();
            args.output.document(&document(&texts))?;
        }
        Capture::Nothing(reason) if args.output != Output::Table => {
            super::settings::say_nothing(args.output, "printed", reason)?;
        }
        // A comment, so that what reads rules reads none.
        Capture::Nothing(reason) => out::line(format!("# no rules: {reason}"))?,
    }
    Ok(ExitCode::SUCCESS)
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
