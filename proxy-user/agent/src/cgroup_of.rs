//! A pod's cgroup, below the mount of cgroup2.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use proxy_core::harmless::harmless;

use crate::pod::Pod;

/// Where pods' cgroups are.
#[derive(Clone, Debug)]
pub struct Cgroups {
    mount: PathBuf,
    /// kubelet's `--cgroup-root`, for pods whose cgroup nobody tells.
    prefix: PathBuf,
}

impl Cgroups {
    pub fn new(mount: PathBuf, prefix: &str) -> Self {
        Self { mount, prefix: relative(prefix).unwrap_or_default() }
    }

    /// The pod's directory. `may_make`: the path that was told is made if it is not there.
    pub fn of(&self, pod: &Pod, may_make: bool) -> Result<PathBuf> {
        let Some(told) = &pod.cgroup else { return self.by_uid(&pod.uid) };
        let below = relative(told).with_context(|| format!("cgroup {}: no path of a pod", harmless(told)))?;
        let path = self.mount.join(below);
        match fs::symlink_metadata(&path) {
            Ok(found) => ensure!(found.is_dir(), "cgroup {}: this is no directory", path.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_make => {
                fs::create_dir_all(&path).with_context(|| format!("make the cgroup {}", path.display()))?;
            }
            Err(error) => bail!("cgroup {}: {error}", path.display()),
        }
        Ok(path)
    }

    /// As kubelet names them, with either driver.
    fn by_uid(&self, uid: &str) -> Result<PathBuf> {
        ensure!(
            !uid.is_empty()
                && uid.len() <= 128
                && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
            "the runtime has told neither the pod's cgroup nor its uid: run a newer one, or give the plugin's entry the \
             capability cgroupPath"
        );
        let candidates = candidates(uid).map(|path| self.mount.join(&self.prefix).join(path));
        let found = candidates.iter().find(|path| path.is_dir());
        found.cloned().with_context(|| {
            format!(
                "the runtime has not told the pod's cgroup, and {} is not there, nor are the other five places kubelet \
                 has for it; say kubelet's --cgroup-root with --cgroup-root",
                candidates[0].display()
            )
        })
    }
}

fn candidates(uid: &str) -> [String; 6] {
    let slice = uid.replace('-', "_");
    [
        format!("kubepods/pod{uid}"),
        format!("kubepods/burstable/pod{uid}"),
        format!("kubepods/besteffort/pod{uid}"),
        format!("kubepods.slice/kubepods-pod{slice}.slice"),
        format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice"),
        format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{slice}.slice"),
    ]
}

/// Below something: names alone, and at least one.
fn relative(path: &str) -> Option<PathBuf> {
    let mut below = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => below.push(name),
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (below.components().next().is_some()).then_some(below)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::pod::{Network, SandboxId};

    fn pod(cgroup: Option<&str>, uid: &str) -> Pod {
        Pod {
            sandbox: SandboxId("s".to_owned()),
            name: "shop/web-0".parse().unwrap(),
            uid: uid.to_owned(),
            annotations: BTreeMap::new(),
            labels: None,
            network: Network::Host,
            cgroup: cgroup.map(str::to_owned),
            dns_servers: None,
            proxy: None,
        }
    }

    #[test]
    fn what_is_told_is_below_the_mount() {
        let mount = tempfile::tempdir().unwrap();
        let cgroups = Cgroups::new(mount.path().to_owned(), "");
        let told = "/kubepods/burstable/pod1";
        assert!(cgroups.of(&pod(Some(told), ""), false).is_err());
        let made = cgroups.of(&pod(Some(told), ""), true).unwrap();
        assert_eq!(made, mount.path().join("kubepods/burstable/pod1"));
        assert_eq!(cgroups.of(&pod(Some(told), ""), false).unwrap(), made);
        for bad in ["/kubepods/../../etc", "..", "/", "", "/a/../b"] {
            let error = cgroups.of(&pod(Some(bad), ""), true).unwrap_err().to_string();
            assert!(error.contains("no path of a pod"), "{bad}: {error}");
        }
        std::os::unix::fs::symlink("/etc", mount.path().join("link")).unwrap();
        assert!(cgroups.of(&pod(Some("/link"), ""), true).is_err());
    }

    #[test]
    fn without_a_word_kubelets_places_are_looked_at() {
        let mount = tempfile::tempdir().unwrap();
        let uid = "0f1e2d3c-0000-4000-8000-000000000001";
        for place in candidates(uid) {
            let cgroups = Cgroups::new(mount.path().to_owned(), "/lab");
            let there = mount.path().join("lab").join(&place);
            assert!(cgroups.of(&pod(None, uid), true).is_err());
            fs::create_dir_all(&there).unwrap();
            assert_eq!(cgroups.of(&pod(None, uid), false).unwrap(), there);
            fs::remove_dir(&there).unwrap();
        }
        for bad in ["", "../x", "a/b"] {
            assert!(Cgroups::new(mount.path().to_owned(), "").of(&pod(None, bad), true).is_err(), "{bad}");
        }
    }
}
