//! A pod's cgroup: where the runtime says it is, or where kubelet puts a pod with this uid.
//!
//! What is attached to a cgroup acts on everything below it. A path that is not the pod's own is refused, whoever names it.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use proxy_core::harmless::{harmless, harmless_path};
use proxy_plane::cgroup;

/// The directories that kubelet makes for pods, by quality of service (k8s.io/kubernetes pkg/kubelet/cm).
const QUALITIES: [&str; 3] = ["", "burstable", "besteffort"];

/// The cgroups of a node's pods.
#[derive(Clone, Debug)]
pub struct PodCgroups {
    mount: PathBuf,
    /// Kubelet's `--cgroup-root`, as the names of its directories.
    root: Vec<String>,
}

/// What to do where the runtime names a cgroup that is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    Refuse,
    /// Kubelet or the runtime would make it a moment later.
    Make,
}

impl PodCgroups {
    /// In this machine's cgroup2; `root` is kubelet's `--cgroup-root`.
    pub fn of_this_node(root: Option<&str>) -> Result<Self> {
        Self::below(&cgroup::mount_point()?, root)
    }

    pub fn below(mount: &Path, root: Option<&str>) -> Result<Self> {
        let mount = mount.canonicalize().with_context(|| format!("cgroup2 at {}", mount.display()))?;
        let root = names(root.unwrap_or_default()).context("kubelet's cgroup root")?;
        Ok(Self { mount, root })
    }

    /// The pod's directory. `told` is what the runtime says: a path from the root of cgroup2, or a slice's name.
    pub fn find(&self, told: Option<&str>, uid: &str, absent: Absent) -> Result<PathBuf> {
        match told {
            Some(told) => self.told(told, uid, absent),
            None => self.by_uid(uid),
        }
    }

    fn told(&self, told: &str, uid: &str, absent: Absent) -> Result<PathBuf> {
        let refused = || format!("the cgroup {}, named by the container runtime", harmless(told));
        let names = names(&expand_slice(told)).with_context(refused)?;
        let last = names.last().with_context(|| format!("{}: it is every pod's", refused()))?;
        let is_the_pods = !uid.is_empty() && (last.contains(uid) || last.contains(&underscored(uid)));
        ensure!(is_the_pods, "{}: it does not bear the pod's uid {}", refused(), harmless(uid));
        let path: PathBuf = self.mount.join(names.iter().collect::<PathBuf>());
        match self.is_there(&path)? {
            true => Ok(path),
            false if absent == Absent::Make => self.make(&names),
            false => bail!("{}: it is not there", refused()),
        }
    }

    fn by_uid(&self, uid: &str) -> Result<PathBuf> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        ensure!(
            !uid.is_empty() && uid.bytes().all(allowed),
            "the container runtime names no cgroup, and {:?} is no uid to find one by",
            harmless(uid)
        );
        for candidate in self.candidates(uid) {
            let path = self.mount.join(candidate);
            if self.is_there(&path)? {
                return Ok(path);
            }
        }
        let root = self.root.iter().fold(self.mount.clone(), |path, name| path.join(name));
        bail!(
            "no cgroup of the pod {uid} below {}: where kubelet has another --cgroup-root, name that",
            root.display()
        )
    }

    /// As kubelet names them: with cgroupfs a directory in another, with systemd a slice that bears the names above it.
    fn candidates(&self, uid: &str) -> Vec<PathBuf> {
        let root: PathBuf = self.root.iter().collect();
        let named: String = self.root.iter().map(|name| underscored(name) + "-").collect();
        let mut candidates = Vec::new();
        for quality in QUALITIES {
            candidates.push(root.join("kubepods").join(quality).join(format!("pod{uid}")));
            let quality = if quality.is_empty() { String::new() } else { format!("{quality}-") };
            let slice = format!("kubepods-{quality}pod{}.slice", underscored(uid));
            candidates.push(root.join(expand_slice(&slice).trim_start_matches('/')));
            if !self.root.is_empty() {
                candidates.push(expand_slice(&(named.clone() + &slice)).trim_start_matches('/').into());
            }
        }
        candidates
    }

    /// A directory that is where its path says: a link to somewhere else is refused.
    fn is_there(&self, path: &Path) -> Result<bool> {
        match path.canonicalize() {
            Ok(real) if real == path => Ok(path.is_dir()),
            Ok(real) => bail!("the cgroup {}: it is {} in truth", harmless_path(path), harmless_path(&real)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("the cgroup {}", harmless_path(path))),
        }
    }

    fn make(&self, names: &[String]) -> Result<PathBuf> {
        let mut path = self.mount.clone();
        for name in names {
            path.push(name);
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("make the cgroup {}", harmless_path(&path)));
                }
                _ => ensure!(self.is_there(&path)?, "the cgroup {}: no directory", harmless_path(&path)),
            }
        }
        Ok(path)
    }
}

/// systemd's path of a slice: `a-b.slice` lies in `a.slice` (systemd.slice(5)). Any other name is a path already.
pub fn expand_slice(name: &str) -> String {
    let name = name.trim_start_matches('/');
    let parts: Option<Vec<&str>> = name.strip_suffix(".slice").map(|stem| stem.split('-').collect());
    match parts {
        Some(parts) if !name.contains('/') && parts.iter().all(|part| !part.is_empty()) => {
            (1..=parts.len()).map(|end| format!("/{}.slice", parts[..end].join("-"))).collect()
        }
        _ => format!("/{name}"),
    }
}

/// How kubelet writes a name that must not look like a slice within another.
fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

/// The directories of a path that goes down only.
fn names(path: &str) -> Result<Vec<String>> {
    ensure!(path.len() <= 4096 && !path.contains('\0'), "no path");
    let mut names = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::RootDir => {}
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::CurDir | Component::ParentDir | Component::Prefix(_) => {
                bail!("it leaves its directory")
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rstest::rstest;

    use super::*;

    const UID: &str = "0f1e2d3c-aaaa-4bbb-8ccc-000000000001";
    const SYSTEMD: &str = "0f1e2d3c_aaaa_4bbb_8ccc_000000000001";

    fn node(root: Option<&str>) -> (tempfile::TempDir, PodCgroups) {
        let mount = tempfile::tempdir().unwrap();
        let cgroups = PodCgroups::below(mount.path(), root).unwrap();
        (mount, cgroups)
    }

    fn mkdir(mount: &tempfile::TempDir, path: &str) -> PathBuf {
        let path = mount.path().canonicalize().unwrap().join(path.trim_start_matches('/'));
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn error(result: Result<PathBuf>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[rstest]
    #[case::guaranteed(None, format!("kubepods/pod{UID}"))]
    #[case::burstable(None, format!("kubepods/burstable/pod{UID}"))]
    #[case::best_effort(None, format!("kubepods/besteffort/pod{UID}"))]
    #[case::systemd_guaranteed(None, format!("kubepods.slice/kubepods-pod{SYSTEMD}.slice"))]
    #[case::systemd_burstable(
        None,
        format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SYSTEMD}.slice")
    )]
    #[case::systemd_best_effort(
        None,
        format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SYSTEMD}.slice")
    )]
    #[case::below_a_root(Some("/a/b-c"), format!("a/b-c/kubepods/burstable/pod{UID}"))]
    #[case::systemd_in_a_root(Some("a"), format!("a/kubepods.slice/kubepods-pod{SYSTEMD}.slice"))]
    #[case::systemd_with_a_root(
        Some("/kubelet"),
        format!("kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{SYSTEMD}.slice")
    )]
    fn by_the_uid(#[case] root: Option<&str>, #[case] path: String) {
        let (mount, cgroups) = node(root);
        let missing = error(cgroups.find(None, UID, Absent::Make));
        assert!(missing.contains("no cgroup of the pod 0f1e2d3c-"), "{missing}");
        let expected = mkdir(&mount, &path);
        assert_eq!(cgroups.find(None, UID, Absent::Refuse).unwrap(), expected);
    }

    #[rstest]
    #[case::nothing("")]
    #[case::traversal("../../x")]
    fn nobody_is_found_by_what_is_no_uid(#[case] uid: &str) {
        let (mount, cgroups) = node(None);
        mkdir(&mount, "kubepods/pod");
        assert!(error(cgroups.find(None, uid, Absent::Make)).contains("is no uid"));
    }

    #[rstest]
    #[case::cgroupfs(format!("/kubepods/burstable/pod{UID}"), format!("kubepods/burstable/pod{UID}"))]
    #[case::systemd(
        format!("/kubepods.slice/kubepods-pod{SYSTEMD}.slice"),
        format!("kubepods.slice/kubepods-pod{SYSTEMD}.slice")
    )]
    #[case::a_slice_alone(
        format!("kubepods-pod{SYSTEMD}.slice"),
        format!("kubepods.slice/kubepods-pod{SYSTEMD}.slice")
    )]
    #[case::no_slash(format!("kubepods/pod{UID}"), format!("kubepods/pod{UID}"))]
    fn where_the_runtime_says(#[case] told: String, #[case] path: String) {
        let (mount, cgroups) = node(None);
        let refused = error(cgroups.find(Some(&told), UID, Absent::Refuse));
        assert!(refused.contains("it is not there"), "{refused}");
        let expected = mount.path().canonicalize().unwrap().join(path);
        assert!(!expected.exists());
        assert_eq!(cgroups.find(Some(&told), UID, Absent::Make).unwrap(), expected);
        assert!(expected.is_dir());
        assert_eq!(cgroups.find(Some(&told), UID, Absent::Refuse).unwrap(), expected);
    }

    #[rstest]
    #[case::the_root("/", "every pod's")]
    #[case::nothing("", "every pod's")]
    #[case::all_pods("/kubepods", "does not bear the pod's uid")]
    #[case::shared("/k8s.io", "does not bear the pod's uid")]
    #[case::another_pod("/kubepods/pod99999999-aaaa-4bbb-8ccc-000000000001", "does not bear the pod's uid")]
    #[case::upwards("/kubepods/../pod0f1e2d3c-aaaa-4bbb-8ccc-000000000001", "leaves its directory")]
    #[case::out_of_it("../pod0f1e2d3c-aaaa-4bbb-8ccc-000000000001", "leaves its directory")]
    #[case::a_nul("/pod0f1e2d3c-aaaa-4bbb-8ccc-000000000001\0x", "no path")]
    fn what_is_not_the_pods_is_refused(#[case] told: &str, #[case] reason: &str) {
        let (mount, cgroups) = node(None);
        let refused = error(cgroups.find(Some(told), UID, Absent::Make));
        assert!(refused.contains(reason), "{refused}");
        assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0, "nothing is made");
    }

    #[test]
    fn a_link_is_refused() {
        let (mount, cgroups) = node(None);
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir(elsewhere.path().join(format!("pod{UID}"))).unwrap();
        symlink(elsewhere.path(), mount.path().join("kubepods")).unwrap();
        let told = format!("/kubepods/pod{UID}");
        for found in [cgroups.find(Some(&told), UID, Absent::Make), cgroups.find(None, UID, Absent::Make)] {
            let refused = error(found);
            assert!(refused.contains("in truth"), "{refused}");
        }
        let below = format!("/kubepods/new/pod{UID}");
        let refused = error(cgroups.find(Some(&below), UID, Absent::Make));
        assert!(refused.contains("in truth"), "{refused}");
        assert!(!elsewhere.path().join("new").exists());
    }

    #[rstest]
    #[case::one("kubepods.slice", "/kubepods.slice")]
    #[case::two("kubepods-pod1.slice", "/kubepods.slice/kubepods-pod1.slice")]
    #[case::three("/a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice")]
    #[case::a_path_already("/a.slice/a-b.slice", "/a.slice/a-b.slice")]
    #[case::no_slice("kubepods", "/kubepods")]
    #[case::the_root_slice("-.slice", "/-.slice")]
    #[case::double("a--b.slice", "/a--b.slice")]
    fn slices(#[case] name: &str, #[case] path: &str) {
        assert_eq!(expand_slice(name), path);
    }
}
