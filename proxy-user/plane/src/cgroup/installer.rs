//! The workload's cgroup as an installer sees it from inside: the pod's for an init container, the whole machine's for
//! a VM's start script.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use proxy_core::exit::{Class, Failure};

use super::mounts::{Mount, mounts};

/// Inode number of the first cgroup namespace (include/uapi/linux/nsfs.h: CGROUP_NS_INIT_INO).
const FIRST_CGROUP_NAMESPACE: &str = "cgroup:[4026531835]";
/// Cgroups looked through for our own, at most.
const MOST_CGROUPS: usize = 100_000;

/// Where `/proc` says this process is.
#[derive(Debug)]
struct Standpoint {
    /// The cgroup2 line of /proc/self/cgroup, seen from the cgroup namespace.
    path: String,
    /// Whether the cgroup namespace hides what is above.
    namespaced: bool,
    /// (root inside the file system, mount point) of every cgroup2 mount.
    mounts: Vec<(String, PathBuf)>,
}

/// What to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice {
    At(PathBuf),
    /// Somewhere below this mount of the host's hierarchy.
    Below(PathBuf),
    Hidden,
}

/// The cgroup to attach to when none was named: the pod's if this process is in one, else the root of the hierarchy.
///
/// # Errors
/// In a cgroup namespace that hides the pod's cgroup, unless the host's cgroup2 is mounted somewhere too.
pub fn default_cgroup() -> Result<PathBuf> {
    match choose(&Standpoint::of_this_process()?) {
        Choice::At(path) => Ok(path),
        Choice::Below(mount) => match find_own(&mount, std::process::id()).and_then(|own| pod_of(&own)) {
            Some(pod) => Ok(pod),
            None => Err(hidden(&format!("this process is in no pod's cgroup below {}", mount.display()))),
        },
        Choice::Hidden => Err(hidden("a cgroup namespace hides the pod's cgroup from this container")),
    }
}

fn hidden(reason: &str) -> anyhow::Error {
    Failure::error(
        Class::Unavailable,
        format!(
            "which cgroup is the pod's: {reason}; mount the host's cgroup2 (hostPath /sys/fs/cgroup) into the \
             container, and if it is still not found, set --cgroup or SIDESTEP_CGROUP to the pod's directory in it"
        ),
    )
}

impl Standpoint {
    fn of_this_process() -> Result<Self> {
        let text = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::")).ok_or_else(|| {
            Failure::error(Class::Unavailable, "this process is in no cgroup2 hierarchy; give --cgroup PATH")
        })?;
        let namespace = match fs::read_link("/proc/self/ns/cgroup") {
            Ok(link) => link.display().to_string(),
            // A kernel without cgroup namespaces hides nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => FIRST_CGROUP_NAMESPACE.to_owned(),
            Err(error) => return Err(error).context("read /proc/self/ns/cgroup"),
        };
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        Ok(Self {
            path: path.to_owned(),
            namespaced: namespace != FIRST_CGROUP_NAMESPACE,
            mounts: mounts(&mountinfo)
                .filter(Mount::is_cgroup2)
                .map(|mount| (mount.root.to_owned(), mount.point()))
                .collect(),
        })
    }
}

fn choose(from: &Standpoint) -> Choice {
    let whole = from.mounts.iter().find(|(root, _)| root == "/");
    if let Some((_, mount)) = whole
        && let Some(pod) = pod_of(&mount.join(from.path.trim_start_matches('/')))
    {
        return Choice::At(pod);
    }
    // From inside a cgroup namespace, a mount of what is above it has a root of "/.." steps.
    if let Some((_, mount)) = from.mounts.iter().find(|(root, _)| root.starts_with("/..")) {
        return Choice::Below(mount.clone());
    }
    match whole {
        // Something like a system container: it sees more than its own leaf, and that is its machine.
        Some((_, mount)) if !from.namespaced || from.path != "/" => Choice::At(mount.clone()),
        _ => Choice::Hidden,
    }
}

/// The innermost directory on the path that is a pod's.
fn pod_of(path: &Path) -> Option<PathBuf> {
    let is_pod = |dir: &&Path| dir.file_name().and_then(|name| name.to_str()).is_some_and(is_pod_name);
    let below_kubepods =
        path.components().any(|part| part.as_os_str().to_string_lossy().contains("kubepods"));
    path.ancestors().filter(|_| below_kubepods).find(is_pod).map(Path::to_owned)
}

/// `pod<uid>` (cgroupfs driver) or `kubepods-...-pod<uid>.slice` (systemd driver, which writes the uid's dashes as
/// underscores).
fn is_pod_name(name: &str) -> bool {
    let uid = match name.strip_suffix(".slice") {
        Some(slice) if slice.contains("kubepods") => slice.rsplit_once("-pod").map(|(_, uid)| uid),
        Some(_) => None,
        None => name.strip_prefix("pod"),
    };
    uid.is_some_and(|uid| {
        !uid.is_empty() && uid.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    })
}

/// The cgroup below `mount` that lists this process: by pid, because a namespace hides its name.
pub(super) fn find_own(mount: &Path, pid: u32) -> Option<PathBuf> {
    let mut left = vec![mount.to_owned()];
    for _ in 0..MOST_CGROUPS {
        let dir = left.pop()?;
        if lists(&dir, pid) {
            return Some(dir);
        }
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        left.extend(entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()));
    }
    None
}

/// Whether the process is in the cgroup itself.
pub(super) fn lists(cgroup: &Path, pid: u32) -> bool {
    let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    procs.lines().any(|line| line.parse() == Ok(pid))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";

    fn at(path: &str, namespaced: bool, mounts: &[(&str, &str)]) -> Choice {
        let mounts = mounts.iter().map(|(root, point)| ((*root).to_owned(), point.into())).collect();
        choose(&Standpoint { path: path.to_owned(), namespaced, mounts })
    }

    #[rstest]
    #[case::cgroupfs(format!("/kubepods/burstable/pod{UID}/4f2d"), format!("/kubepods/burstable/pod{UID}"))]
    #[case::systemd(
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0a1b_2c.slice/cri-containerd-4f.scope".into(),
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0a1b_2c.slice".into()
    )]
    #[case::guaranteed(
        "/kubepods.slice/kubepods-pod0a1b_2c.slice/crio-4f.scope/container".into(),
        "/kubepods.slice/kubepods-pod0a1b_2c.slice".into()
    )]
    #[case::kind(
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod0a1b.slice/cri-containerd-4f.scope".into(),
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod0a1b.slice".into()
    )]
    fn an_init_container_means_its_pod(#[case] own: String, #[case] pod: String) {
        let want = Choice::At(PathBuf::from(format!("/sys/fs/cgroup{pod}")));
        assert_eq!(at(&own, false, &[("/", "/sys/fs/cgroup")]), want);
    }

    #[rstest]
    #[case::service("/system.slice/istio.service", false)]
    #[case::root("/", false)]
    #[case::podman("/machine.slice/libpod-4f.scope", false)]
    #[case::podlike_name("/user.slice/podcast", false)]
    #[case::system_container("/system.slice/istio.service", true)]
    fn a_vm_means_the_root(#[case] own: &str, #[case] namespaced: bool) {
        let want = Choice::At("/sys/fs/cgroup/unified".into());
        assert_eq!(at(own, namespaced, &[("/", "/sys/fs/cgroup/unified")]), want);
    }

    #[test]
    fn a_namespace_hides_the_pod_unless_the_host_is_mounted() {
        assert_eq!(at("/", true, &[("/", "/sys/fs/cgroup")]), Choice::Hidden);
        assert_eq!(at("/", true, &[]), Choice::Hidden);
        let mounts = [("/", "/sys/fs/cgroup"), ("/../../..", "/host/cgroup")];
        assert_eq!(at("/", true, &mounts), Choice::Below("/host/cgroup".into()));
    }

    #[test]
    fn the_own_cgroup_is_found_by_pid() {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join("kubepods/burstable").join(format!("pod{UID}"));
        for (dir, pids) in [("a", "1\n0\n"), ("b", "0\n77\n")] {
            fs::create_dir_all(pod.join(dir)).unwrap();
            fs::write(pod.join(dir).join("cgroup.procs"), pids).unwrap();
        }
        assert_eq!(find_own(root.path(), 77), Some(pod.join("b")));
        assert_eq!(find_own(root.path(), 7), None);
        assert_eq!(pod_of(&pod.join("b")), Some(pod));
    }
}
