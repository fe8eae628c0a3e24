//! What the sk_msg programs cost a message, by the kernel's own count (`BPF_ENABLE_STATS`). Counting costs some 40 ns a
//! message itself, so a run that is counted is none that is compared.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use serde::Serialize;

use crate::case::Case;
use crate::stage::Stage;

/// Each message runs it; what it calls is counted with it.
const PROGRAM: &str = "dispatch";

/// Cost of one run's messages.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct HookCost {
    pub(crate) messages: u64,
    pub(crate) ns_per_message: f64,
    /// Of the CPU that client, sidecars and application used.
    pub(crate) cpu_share: f64,
}

impl HookCost {
    /// Of one run of `case`.
    pub(crate) fn measure(stage: &Stage, case: &Case, round: usize, seconds: u32) -> Result<Self> {
        let counting = enable_stats(Stats::RunTime).context("have the kernel count what programs cost")?;
        let before = Total::now()?;
        let run = stage.run(case, round, seconds)?;
        let after = Total::now()?;
        drop(counting);
        let messages = after.runs - before.runs;
        ensure!(messages >= run.requests, "{PROGRAM} ran {messages} times for {} requests", run.requests);
        let time = (after.time - before.time).as_nanos() as f64;
        Ok(Self {
            messages,
            ns_per_message: time / messages as f64,
            cpu_share: time / (run.cpu_us_per_request * run.requests as f64 * 1e3),
        })
    }
}

/// Of all programs of that name, one per node in use.
#[derive(Debug, Default)]
struct Total {
    runs: u64,
    time: Duration,
}

impl Total {
    fn now() -> Result<Self> {
        let mut total = Self::default();
        for program in loaded_programs() {
            let program = program.context("list the loaded programs")?;
            if program.name_as_str() == Some(PROGRAM) {
                total.runs += program.run_count();
                total.time += program.run_time();
            }
        }
        Ok(total)
    }
}
