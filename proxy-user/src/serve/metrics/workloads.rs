use std::fmt;

use proxy_core::config::Choice as _;

use super::{Family, Kind, Page, Snapshot, Source};
use crate::serve::snapshot::names;

static WORKLOADS: Family = Family {
    name: "workloads",
    kind: Kind::Gauge,
    unit: None,
    help: "Workloads attached on this node: readable, unreadable, or gone, with their network namespace, and no longer shown",
    labels: &["state"],
};

static INFO: Family = Family {
    name: "workload",
    kind: Kind::Info,
    unit: None,
    help: "An attached workload: its network namespace, its cgroup, and how it was attached; `config` is the same for the same settings",
    labels: &[
        "workload",
        "namespace",
        "pod",
        "netns",
        "cgroup",
        "mode",
        "ip",
        "accelerate",
        "version",
        "config",
    ],
};

static COMPLETE: Family = Family {
    name: "workload_complete",
    kind: Kind::Gauge,
    unit: None,
    help: "1: every program of the workload is in place; 0: run attach again",
    labels: &["workload", "namespace"],
};

static ACCELERATED: Family = Family {
    name: "workload_accelerated",
    kind: Kind::Gauge,
    unit: None,
    help: "1: the workload's local connections may be accelerated; 0: status says why not",
    labels: &["workload", "namespace"],
};

static OBSERVED: Family = Family {
    name: "workload_observed",
    kind: Kind::Gauge,
    unit: None,
    help: "1: the workload's connections are recorded; 0: status says why not",
    labels: &["workload", "namespace"],
};

static ATTACHED: Family = Family {
    name: "workload_attached_timestamp",
    kind: Kind::Gauge,
    unit: Some(prometheus_client::registry::Unit::Seconds),
    help: "When the workload was attached last, since the epoch",
    labels: &["workload", "namespace"],
};

#[derive(Debug)]
pub(super) struct Workloads;

impl Source for Workloads {
    fn families(&self) -> Vec<&'static Family> {
        vec![&WORKLOADS, &INFO, &COMPLETE, &ACCELERATED, &OBSERVED, &ATTACHED]
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let mut workloads = page.family(&WORKLOADS)?;
        workloads.gauge(&["readable"], seen.workloads.len() as f64)?;
        workloads.gauge(&["unreadable"], seen.unreadable.len() as f64)?;
        workloads.gauge(&["gone"], seen.gone as f64)?;
        let mut info = page.family(&INFO)?;
        for workload in &seen.workloads {
            let (meta, [name, namespace]) = (&workload.meta, names(workload));
            let netns = meta.netns.ino.to_string();
            let cgroup = meta.cgroup_path.display().to_string();
            let accelerate = meta.acceleration.mode.word();
            let ip = if meta.ipv6 { "4+6" } else { "4" };
            let mode = meta.config.mode.name();
            let pod = meta.pod.as_ref().map_or("", |pod| &pod.name);
            let (version, config) = (&meta.version, &meta.config_hash);
            info.info(&[name, namespace, pod, &netns, &cgroup, mode, ip, accelerate, version, config])?;
        }
        let mut complete = page.family(&COMPLETE)?;
        for workload in &seen.workloads {
            complete.gauge(&names(workload), u8::from(workload.complete).into())?;
        }
        let mut accelerated = page.family(&ACCELERATED)?;
        for workload in &seen.workloads {
            accelerated.gauge(&names(workload), u8::from(workload.meta.not_accelerated.is_none()).into())?;
        }
        let mut observed = page.family(&OBSERVED)?;
        for workload in &seen.workloads {
            observed.gauge(&names(workload), u8::from(workload.meta.not_observed.is_none()).into())?;
        }
        let mut attached = page.family(&ATTACHED)?;
        for workload in &seen.workloads {
            attached.gauge(&names(workload), workload.meta.attached_at as f64)?;
        }
        Ok(())
    }
}
