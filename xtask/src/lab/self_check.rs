//! That a guest that panics and one that hangs are told from one that passes, with the last lines of each.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{
    boot::Options,
    initramfs::Base,
    report::Report,
    transcript::{End, Verdict},
};
use crate::step;

/// Longer than a boot under emulation takes to its first line.
const SILENCE: Duration = Duration::from_secs(45);

struct Case {
    name: &'static str,
    line: &'static str,
    end: End,
    /// What its part of the report must hold.
    shown: [&'static str; 2],
}

fn cases() -> [Case; 2] {
    [
        Case {
            name: "panics",
            line: "echo before the end; echo c > /proc/sysrq-trigger",
            end: End::Died,
            shown: ["before the end", "Kernel panic"],
        },
        Case {
            name: "hangs",
            line: "echo before the silence; exec sleep 1000000",
            end: End::Hung,
            shown: ["before the silence", "HUNG"],
        },
    ]
}

/// `boot` boots an initramfs of the given machine.
pub(crate) fn run(
    machine: &Base,
    options: Options,
    boot: impl Fn(&Base, Options) -> Result<Verdict>,
) -> Result<()> {
    for case in cases() {
        let verdict = boot(&machine.with_line(case.name, case.line), Options { silence: SILENCE, ..options })
            .with_context(|| format!("the guest that {}", case.name))?;
        let end = verdict.end.clone();
        let mut report = Report::default();
        report.add(case.name, Ok(verdict));
        let text = report.to_string();
        ensure!(
            end == case.end && !report.is_green(),
            "the guest that {} ended as {end:?}:\n{text}",
            case.name
        );
        for shown in case.shown {
            ensure!(
                text.contains(shown),
                "the guest that {}: no {shown:?} in its report:\n{text}",
                case.name
            );
        }
        step::say("Checked", format!("the guest that {} is reported:\n{text}", case.name));
    }
    Ok(())
}
