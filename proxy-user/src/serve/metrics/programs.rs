use std::fmt;

use prometheus_client::registry::Unit;

use super::{Family, Kind, Page, Snapshot, Source};

static RUNS: Family = Family {
    name: "program_runs",
    kind: Kind::Counter,
    unit: None,
    help: "Runs of a BPF program while the kernel counted them (serve --program-stats, or kernel.bpf_stats_enabled); \
           one program serves all workloads of the node",
    labels: &["program"],
};

static TIME: Family = Family {
    name: "program_run",
    kind: Kind::Counter,
    unit: Some(Unit::Seconds),
    help: "Time in a BPF program while the kernel counted it",
    labels: &["program"],
};

#[derive(Debug)]
pub(super) struct Programs;

impl Source for Programs {
    fn families(&self) -> Vec<&'static Family> {
        vec![&RUNS, &TIME]
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let mut runs = page.family(&RUNS)?;
        for run in &seen.runs {
            runs.count(&[&run.program], run.count)?;
        }
        let mut time = page.family(&TIME)?;
        for run in &seen.runs {
            time.total(&[&run.program], run.time.as_secs_f64())?;
        }
        Ok(())
    }
}
