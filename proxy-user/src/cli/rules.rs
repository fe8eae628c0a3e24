//! `sidestep rules`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::{
    config::{Environment, IstioFlags, NoHost},
    exit::{Class, Failure},
    rules,
};

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sidestep rules -u 1337 -b '*' -i '*' | iptables-restore --test")]
pub(crate) struct RulesArgs {
    #[command(flatten)]
    flags: IstioFlags,
}

pub(crate) fn run(args: &RulesArgs) -> Result<ExitCode> {
    let resolved = args
        .flags
        .resolve(&Environment::of_process(), &NoHost)
        .map_err(|faults| Failure::error(Class::Usage, faults.to_string()))?;
    print!("{}", rules::render(&resolved.config));
    Ok(ExitCode::SUCCESS)
}
