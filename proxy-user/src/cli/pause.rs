//! `sidestep pause`.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;
use proxy_core::exit::{Class, Failure};
use proxy_plane::dataplane;

use super::span;
use crate::out;

/// Of a workload that somebody has forgotten.
const MOST: Duration = Duration::from_secs(3600);

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep pause --workload shop/reviews-0\n  \
    sidestep pause --workload shop/reviews-0 --for 5m\n  \
    sidestep pause --workload shop/reviews-0 --for 0s\n\n\
    Connections go on, over the stack, from their next message on; what waits redirected at a reader is read first. \
    The kernel ends the pause, whatever becomes of sidestep; `status` shows how long it lasts.")]
pub(crate) struct PauseArgs {
    /// The workload, as `sidestep status` names it, or the pod, as NAMESPACE/NAME; repeatable
    #[arg(long, value_name = "NAME", required = true)]
    workload: Vec<String>,

    /// How long, at most 1h; 0s ends a pause
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = span::parse)]
    span: Duration,
}

pub(crate) fn run(args: &PauseArgs) -> Result<ExitCode> {
    if args.span > MOST {
        return Err(Failure::error(
            Class::Usage,
            "--for: at most 1h; pause again, or attach with --accelerate off",
        ));
    }
    let mut found = Vec::new();
    for name in &args.workload {
        found.extend(dataplane::attached_as(name)?);
    }
    for pins in &found {
        dataplane::pause(pins, args.span)?;
        let micros = u64::try_from(args.span.as_micros()).unwrap_or(u64::MAX);
        out::line(if args.span.is_zero() {
            format!("{}: redirected again", pins.name())
        } else {
            format!("{}: nothing is redirected for {}", pins.name(), span::short(micros))
        })?;
    }
    Ok(ExitCode::SUCCESS)
}
