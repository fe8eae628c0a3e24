//! Workloads from a file, for machines without a container runtime: a VM of a mesh, a lab.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use proxy_core::config::PodName;
use serde::Deserialize;

use crate::{pod::Pod, values::Values};

const LONGEST: u64 = 16 << 20;

/// One of the file's JSON array.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// `NAMESPACE/NAME`.
    pod: String,
    netns: PathBuf,
    /// Below the mount of cgroup2, or with it.
    cgroup: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Reads it; one wrong entry makes all wrong, so that a slip takes no pod out of the mesh.
pub(crate) fn read(path: &Path, mount: &Path, values: &Values) -> Result<Vec<Pod>> {
    let next = "write a JSON array of {\"pod\": \"NAMESPACE/NAME\", \"netns\": PATH, \"cgroup\": PATH, \
                \"annotations\": {…}, \"labels\": {…}}";
    let about = || format!("--static {}: {next}", path.display());
    let size = fs::metadata(path).with_context(about)?.len();
    ensure!(size <= LONGEST, "--static {}: longer than {LONGEST} bytes", path.display());
    let text = fs::read_to_string(path).with_context(|| format!("--static {}", path.display()))?;
    let entries: Vec<Entry> = serde_json::from_str(&text).with_context(about)?;
    let pods: Result<Vec<Pod>> = entries.into_iter().map(|entry| entry.pod(mount, values)).collect();
    let pods = pods.with_context(|| format!("--static {}", path.display()))?;
    for (at, pod) in pods.iter().enumerate() {
        ensure!(
            pods[..at].iter().all(|before| before.name != pod.name),
            "--static {}: {} is there twice",
            path.display(),
            pod.name
        );
    }
    Ok(pods)
}

impl Entry {
    fn pod(self, mount: &Path, values: &Values) -> Result<Pod> {
        let name: PodName = self.pod.parse().with_context(|| format!("pod {:?}", self.pod))?;
        // One that begins with the mount replaces it.
        let mut pod = Pod::of_machine(name, self.netns, &mount.join(&self.cgroup), &values.waits_for);
        pod.annotations.extend(self.annotations);
        pod.labels = Some(self.labels);
        Ok(pod)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rstest::rstest;

    use super::*;
    use crate::decide::{Decision, decide};

    fn of(text: &str) -> Result<Vec<Pod>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        read(file.path(), Path::new("/sys/fs/cgroup/unified"), &Values::default())
    }

    #[test]
    fn who_is_listed_is_captured_unless_it_says_otherwise() {
        let pods = of(r#"[
            {"pod": "vm/a", "netns": "/run/netns/a", "cgroup": "/sys/fs/cgroup/unified/a"},
            {"pod": "vm/b", "netns": "/run/netns/b", "cgroup": "b", "annotations": {"sidestep.io/inject": "false"}}
        ]"#)
        .unwrap();
        let cgroups: Vec<_> = pods.iter().map(|pod| pod.cgroup.as_deref().unwrap()).collect();
        assert_eq!(cgroups, ["/sys/fs/cgroup/unified/a", "/sys/fs/cgroup/unified/b"]);
        let decisions: Vec<Decision> =
            pods.iter().map(|pod| decide(pod, &Values::default(), false)).collect();
        assert!(matches!(decisions[..], [Decision::Enrol(_), Decision::Leave(_)]), "{decisions:?}");
    }

    #[rstest]
    #[case::no_json("x", "JSON array")]
    #[case::unknown(
        r#"[{"pod": "a/b", "netns": "/n", "cgroup": "c", "cgroups": ""}]"#,
        "unknown field `cgroups`"
    )]
    #[case::missing(r#"[{"pod": "a/b", "netns": "/n"}]"#, "missing field `cgroup`")]
    #[case::name(r#"[{"pod": "b", "netns": "/n", "cgroup": "c"}]"#, "NAMESPACE/NAME")]
    #[case::twice(
        r#"[{"pod": "a/b", "netns": "/n", "cgroup": "c"}, {"pod": "a/b", "netns": "/m", "cgroup": "d"}]"#,
        "twice"
    )]
    fn wrong(#[case] text: &str, #[case] says: &str) {
        let error = format!("{:#}", of(text).unwrap_err());
        assert!(error.contains(says) && error.contains("--static"), "{error}");
    }
}
