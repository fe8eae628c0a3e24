//! What has to be in place before any connection is made: the namespace, the cgroup, and each program on its own.

use std::{os::fd::AsFd, path::Path};

use anyhow::{Context, Result, bail, ensure};
use proxy_plane::{
    cgroup::Cgroup,
    dataplane::{Described, HOOKS, Target, WorkloadPins, WorkloadStatus},
    netns::Netns,
    sys::{
        bpf_link::{self, AttachedTo},
        bpf_pin,
    },
};

use super::report::Report;

/// The namespace and the cgroup, if they are the ones that were attached.
pub(super) struct OpenedWorkload {
    pub(super) netns: Netns,
    pub(super) cgroup: Cgroup,
}

/// Steps `netns`, `cgroup` and `programs`. None: probes have nowhere to run.
pub(super) fn check(
    report: &mut Report,
    pins: &WorkloadPins,
    status: &WorkloadStatus,
    netns: Option<&Path>,
) -> Option<OpenedWorkload> {
    let meta = &status.meta;
    let namespace = same_netns(netns.unwrap_or(&meta.netns_path), meta);
    let group = same_cgroup(meta);
    report.add(
        "netns",
        describe(&namespace, |netns| format!("{} (inode {})", netns.path().display(), meta.netns.ino)),
    );
    report.add(
        "cgroup",
        describe(&group, |group| format!("{} (id {})", group.path().display(), meta.cgroup_id)),
    );
    report.add("programs", programs(pins, status));
    Some(OpenedWorkload { netns: namespace.ok()?, cgroup: group.ok()? })
}

fn describe<T>(result: &Result<T>, words: impl FnOnce(&T) -> String) -> Result<String> {
    match result {
        Ok(value) => Ok(words(value)),
        Err(error) => bail!("{error:#}"),
    }
}

fn same_netns(path: &Path, meta: &Described) -> Result<Netns> {
    let netns = Netns::open(path)?;
    ensure!(
        netns.id() == meta.netns && netns.cookie()? == meta.netns_cookie,
        "{} is another network namespace than the one that was attached; name it with --netns PATH, or if it is \
         gone, run `sidestep detach --all`",
        path.display()
    );
    Ok(netns)
}

fn same_cgroup(meta: &Described) -> Result<Cgroup> {
    let cgroup = Cgroup::open(&meta.cgroup_path)?;
    ensure!(
        cgroup.id() == meta.cgroup_id,
        "{} is another cgroup (id {}) than the one that was attached (id {}); run `sidestep attach` again",
        meta.cgroup_path.display(),
        cgroup.id(),
        meta.cgroup_id
    );
    Ok(cgroup)
}

fn programs(pins: &WorkloadPins, status: &WorkloadStatus) -> Result<String> {
    const AGAIN: &str = "run `sidestep attach` again";
    let (mut on_cgroup, mut on_netns) = (0, 0);
    for hook in HOOKS.iter().filter(|hook| status.programs.contains(&hook.program)) {
        let path = pins.link(hook.program);
        let link = bpf_pin::open(&path).with_context(|| format!("open {}", path.display()))?;
        let at =
            bpf_link::attached_to(link.as_fd()).with_context(|| format!("the link of {}", hook.program))?;
        let want = match hook.target {
            Target::Cgroup => AttachedTo::Cgroup(status.meta.cgroup_id),
            Target::Netns => AttachedTo::Netns(u32::try_from(status.meta.netns.ino).unwrap_or(0)),
        };
        match at {
            AttachedTo::Cgroup(0) | AttachedTo::Netns(0) => {
                bail!("{} is detached from the workload; {AGAIN}", hook.program)
            }
            at if at != want => {
                bail!("{} hangs on {at:?} in place of {want:?}; {AGAIN}", hook.program)
            }
            AttachedTo::Cgroup(_) => on_cgroup += 1,
            _ => on_netns += 1,
        }
    }
    ensure!(status.complete, "programs are missing, there are only {}; {AGAIN}", status.programs.join(", "));
    Ok(format!("{on_cgroup} on the cgroup, {on_netns} on the namespace"))
}
