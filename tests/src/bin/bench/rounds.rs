//! The rounds: every mode has its own pods, and they take turns.

use anyhow::{Context, Result};

use crate::case::{APPS, CASES, Case, Setup, Work};
use crate::hook::HookCost;
use crate::measured::{MeasuredCase, MeasuredMode};
use crate::mode::{Mode, baseline};
use crate::options::Options;
use crate::pinning::Pinning;
use crate::progress::Progress;
use crate::stage::{Run, Stage};

/// Runs `cases`, those of a setup together.
pub(crate) fn measure(
    cases: &[Case],
    modes: &[Mode],
    pinning: &Pinning,
    options: &Options,
    progress: &Progress,
) -> Result<Vec<MeasuredCase>> {
    let mut measured = Vec::new();
    for group in cases.chunk_by(|a, b| a.setup == b.setup) {
        let Some(setup) = group.first().map(|case| case.setup) else { continue };
        if !pinning.has(setup.cpus) {
            progress.note(&format!("{}: left out, there is one CPU", setup.describe()));
            continue;
        }
        if let Some(why) = setup.app.missing() {
            progress.note(&format!("{}: left out, {why}", setup.describe()));
            continue;
        }
        progress.note(&setup.describe());
        pinning.apply(setup.cpus)?;
        measured.extend(measure_setup(setup, group, modes, options, progress)?);
    }
    Ok(measured)
}

fn measure_setup(
    setup: Setup,
    cases: &[Case],
    modes: &[Mode],
    options: &Options,
    progress: &Progress,
) -> Result<Vec<MeasuredCase>> {
    let stages = modes
        .iter()
        .map(|mode| Stage::build(setup, *mode, options).with_context(|| format!("set up {}", mode.name())))
        .collect::<Result<Vec<_>>>()?;
    let mut runs: Vec<Vec<Vec<Run>>> = vec![vec![Vec::new(); stages.len()]; cases.len()];
    for round in 0..options.rounds() {
        for (case, runs) in cases.iter().zip(&mut runs) {
            for turn in 0..stages.len() {
                // Another one begins each round.
                let index = (turn + round) % stages.len();
                let stage = &stages[index];
                let run = stage.run(case, round, options.seconds());
                let run = run.with_context(|| format!("{} under {}", case.name, stage.mode().name()))?;
                runs[index].push(run);
            }
            progress.note(&format!("  {} round {}: {}", case.name, round + 1, line(runs, modes)));
        }
    }
    let hooks = cases.iter().map(|case| hook(case, &stages, options)).collect::<Result<Vec<_>>>()?;
    let measured = cases.iter().zip(runs).zip(hooks).map(|((case, runs), hook)| {
        let modes: Vec<MeasuredMode> =
            modes.iter().zip(runs).map(|(mode, runs)| MeasuredMode { mode: *mode, runs }).collect();
        let mut measured =
            MeasuredCase { name: case.name, setup: setup.describe(), modes, ratios: Vec::new(), hook };
        if let Some(base) = baseline(&measured.modes.iter().map(|mode| mode.mode).collect::<Vec<_>>()) {
            measured.ratios = measured.ratios_to(base);
        }
        measured
    });
    Ok(measured.collect())
}

/// One more run under sidestep, after those that count.
fn hook(case: &Case, stages: &[Stage], options: &Options) -> Result<Option<HookCost>> {
    let stage = stages.iter().find(|stage| stage.mode() == Mode::Sidestep);
    let Some(stage) = stage.filter(|_| !matches!(case.work, Work::Churn(_))) else { return Ok(None) };
    let cost = HookCost::measure(stage, case, options.rounds(), options.seconds());
    cost.map(Some).with_context(|| format!("{} with what programs cost counted", case.name))
}

fn line(runs: &[Vec<Run>], modes: &[Mode]) -> String {
    let each = modes.iter().zip(runs).filter_map(|(mode, runs)| {
        let run = runs.last()?;
        Some(format!("{} {:.0}/s", mode.name(), run.requests_per_second))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The cases whose names start with one of `only`, or all of the usual ones, or all of `apps`.
pub(crate) fn chosen(only: &[String], apps: bool) -> Vec<Case> {
    let wanted = |case: &&Case| match only {
        [] => case.name.starts_with(APPS) == apps,
        only => only.iter().any(|name| case.name.starts_with(name)),
    };
    CASES.iter().filter(wanted).copied().collect()
}
