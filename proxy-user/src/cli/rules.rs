//! `sidestep rules`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use proxy_core::{
    config::{Capture, NoHost},
    rules,
};

use super::settings::SettingsArgs;
use crate::out;

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sidestep rules -u 1337 -b '*' -i '*' | iptables-restore --test")]
pub(crate) struct RulesArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &RulesArgs) -> Result<ExitCode> {
    match args.settings.resolve(&NoHost)?.capture {
        Capture::Of(config) => out::text(rules::render(&config))?,
        // A comment, so that what reads rules reads none.
        Capture::Nothing(reason) => out::line(format!("# no rules: {reason}"))?,
    }
    Ok(ExitCode::SUCCESS)
}
