//! Which workload a verb acts on.

use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use clap::{Args, builder::TypedValueParser as _};
use proxy_plane::{
    cgroup::Cgroup,
    dataplane::{self, WorkloadPins, WorkloadSelector},
    netns::Netns,
};

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Workload")]
pub(crate) struct NetnsCgroupArgs {
    /// Network namespace of the workload: /proc/<pid>/ns/net, or a name of `ip netns` [default: the caller's]
    #[arg(long, value_name = "PATH|NAME", value_parser = clap::builder::PathBufValueParser::new().map(named))]
    pub(crate) netns: Option<PathBuf>,

    /// Its cgroup, below the cgroup2 mount [default: the caller's]
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Option<PathBuf>,
}

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// A name of `ip netns` stands for its file; what is no name is a path.
fn named(path: PathBuf) -> PathBuf {
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) if !path.exists() => Path::new(NAMES).join(name),
        _ => path,
    }
}

impl NetnsCgroupArgs {
    pub(crate) fn netns(&self) -> Result<Netns> {
        self.netns.as_deref().map_or_else(Netns::own, Netns::open)
    }

    pub(crate) fn cgroup(&self) -> Result<Cgroup> {
        self.cgroup.as_deref().map_or_else(Cgroup::own, Cgroup::open)
    }

    /// Whether the caller named anything.
    pub(crate) fn is_given(&self) -> bool {
        self.netns.is_some() || self.cgroup.is_some()
    }

    /// The attached workloads that are meant; of a name that nobody has, the error says which there are.
    pub(crate) fn attached(&self, name: Option<&str>) -> Result<Vec<WorkloadPins>> {
        name.map_or_else(|| self.selector(None)?.find(), dataplane::attached_as)
    }

    /// The attached workload that is meant: by its name if there is one. A namespace has one workload, so the
    /// caller's own cgroup is not looked at.
    pub(crate) fn selector(&self, name: Option<&str>) -> Result<WorkloadSelector> {
        if let Some(name) = name {
            return Ok(WorkloadSelector::Named(name.to_owned()));
        }
        let cgroup = self.cgroup.as_ref().map(|_| self.cgroup()).transpose()?;
        Ok(WorkloadSelector::At { netns: self.netns()?.id().ino, cgroup: cgroup.map(|cgroup| cgroup.id()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_ip_netns_is_looked_up_and_a_path_is_not() {
        assert_eq!(named("pod-a".into()), Path::new("/run/netns/pod-a"));
        for path in ["/proc/1/ns/net", "./pod-a", "netns/pod-a", "..", "/pod-a", "Cargo.toml"] {
            assert_eq!(named(path.into()), Path::new(path));
        }
    }
}
