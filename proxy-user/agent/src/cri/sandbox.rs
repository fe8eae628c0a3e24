//! What a runtime says of a sandbox, read into what we want to know of it.
//!
//! The list of sandboxes has names, labels and annotations. Where the network namespace and the cgroup lie is only in the
//! verbose status, a JSON text that each runtime writes as it likes.

use std::{collections::BTreeMap, path::PathBuf};

use proxy_core::config::PodName;
use proxy_plane::netns::{IdMap, IdRange};
use serde::Deserialize;

use super::{
    Sandbox, State,
    connection::shown,
    v1::{NamespaceMode, NamespaceOption, PodSandbox, PodSandboxState, PodSandboxStatusResponse},
};
use crate::{
    cgroup_of,
    pod::{Network, Pod, SandboxId},
};

/// Bytes of a JSON text that are read. What was seen has 9 KB.
const LONGEST: usize = 1 << 20;
/// An id is 64 hexadecimal digits; that is the runtime's affair, and ours is that it has an end.
const LONGEST_ID: usize = 128;
const LONGEST_UID: usize = 128;

/// The part of the verbose answers, of sandboxes and of containers, that we read.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Info {
    pub(super) runtime_spec: Option<Spec>,
    /// What kubelet has sent. containerd has it, CRI-O has not.
    config: Option<Config>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    linux: Option<ConfigLinux>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfigLinux {
    cgroup_parent: Option<String>,
}

/// The OCI runtime's configuration.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Spec {
    annotations: Option<SpecAnnotations>,
    linux: Option<SpecLinux>,
    pub(super) process: Option<Process>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SpecAnnotations {
    #[serde(rename = "io.kubernetes.cri-o.CgroupParent")]
    cgroup_parent: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SpecLinux {
    cgroups_path: Option<String>,
    namespaces: Option<Vec<Namespace>>,
    uid_mappings: Option<Vec<Mapping>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    r#type: Option<String>,
    path: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Mapping {
    #[serde(rename = "containerID")]
    inside: u32,
    #[serde(rename = "hostID")]
    host: u32,
    size: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Process {
    pub(super) user: Option<User>,
    pub(super) env: Option<Vec<String>>,
    pub(super) args: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct User {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl Info {
    /// Of an answer's `info`, or why it cannot be read.
    pub(super) fn read(info: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = info.get("info").ok_or("the runtime gives no verbose status")?;
        if text.len() > LONGEST {
            return Err(format!("its verbose status has {} bytes, more than {LONGEST}", text.len()));
        }
        serde_json::from_str(text)
            .map_err(|error| format!("its verbose status: {}", shown(&error.to_string())))
    }
}

/// The sandbox's id, where it can be one.
pub(super) fn id(listed: &PodSandbox) -> Option<SandboxId> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let id = &listed.id;
    let is_one = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(allowed) && !id.starts_with('.');
    is_one.then(|| SandboxId(id.clone()))
}

/// Namespace and name, to be shown.
pub(super) fn label(listed: &PodSandbox) -> String {
    let metadata = listed.metadata.clone().unwrap_or_default();
    format!("{}/{}", shown(&metadata.namespace), shown(&metadata.name))
}

pub(super) fn state(listed: &PodSandbox) -> State {
    if listed.state == PodSandboxState::SandboxReady as i32 { State::Ready } else { State::NotReady }
}

/// A sandbox from the list's row and its verbose status, or what is missing.
pub(super) fn read(
    id: &SandboxId,
    listed: &PodSandbox,
    answer: &PodSandboxStatusResponse,
) -> Result<Sandbox, String> {
    let metadata = listed.metadata.clone().unwrap_or_default();
    let name: PodName = format!("{}/{}", metadata.namespace, metadata.name)
        .parse()
        .map_err(|_| "its namespace and name are none of Kubernetes'".to_owned())?;
    let is_uid = |uid: &str| {
        uid.len() <= LONGEST_UID && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !is_uid(&metadata.uid) {
        return Err("its uid is none of Kubernetes'".to_owned());
    }
    let info = Info::read(&answer.info)?;
    let options = (answer.status.as_ref())
        .and_then(|status| status.linux.as_ref()?.namespaces.as_ref()?.options.as_ref());
    Ok(Sandbox {
        pod: Pod {
            sandbox: id.clone(),
            name,
            cgroup: cgroup(&info, &metadata.uid),
            uid: metadata.uid,
            annotations: listed.annotations.clone(),
            labels: Some(listed.labels.clone()),
            network: network(&info, options)?,
            dns_servers: None,
            proxy: None,
        },
        state: state(listed),
        users: users(&info, options),
    })
}

/// A path is a namespace of its own; without one the sandbox has the node's, where the status does not say otherwise.
fn network(info: &Info, options: Option<&NamespaceOption>) -> Result<Network, String> {
    let asked = options.map(|options| options.network);
    if asked == Some(NamespaceMode::Node as i32) {
        return Ok(Network::Host);
    }
    let linux = info.runtime_spec.as_ref().and_then(|spec| spec.linux.as_ref());
    let namespaces =
        linux.and_then(|linux| linux.namespaces.as_deref()).ok_or("the runtime lists no namespaces")?;
    let of_network = |namespace: &&Namespace| namespace.r#type.as_deref() == Some("network");
    let path = namespaces.iter().find(of_network).and_then(|namespace| namespace.path.clone());
    match path {
        Some(path) if !path.as_os_str().is_empty() => Ok(Network::Own(path)),
        _ if asked == Some(NamespaceMode::Pod as i32) => {
            Err("the runtime does not say where its network namespace is".to_owned())
        }
        _ => Ok(Network::Host),
    }
}

/// The pod's cgroup: as kubelet asked for it, else the one above the sandbox's own, if that is the pod's alone.
fn cgroup(info: &Info, uid: &str) -> Option<String> {
    let spec = info.runtime_spec.as_ref();
    let asked = (info.config.as_ref())
        .and_then(|config| config.linux.as_ref()?.cgroup_parent.clone())
        .or_else(|| spec?.annotations.as_ref()?.cgroup_parent.clone())
        .filter(|parent| !parent.is_empty());
    if let Some(parent) = asked {
        return Some(cgroup_of::expand_slice(&parent));
    }
    let of_sandbox = spec?.linux.as_ref()?.cgroups_path.as_deref()?;
    // The systemd driver's form is slice:prefix:id.
    let parent = match of_sandbox.split_once(':') {
        Some((slice, _)) => cgroup_of::expand_slice(slice),
        None => of_sandbox.rsplit_once('/')?.0.to_owned(),
    };
    // Without a parent from kubelet, all pods of the node lie in one directory.
    let last = parent.rsplit('/').next()?;
    let is_the_pods = !uid.is_empty() && (last.contains(uid) || last.contains(&uid.replace('-', "_")));
    is_the_pods.then_some(parent)
}

fn users(info: &Info, options: Option<&NamespaceOption>) -> Option<IdMap> {
    let told = options.and_then(|options| options.userns_options.as_ref());
    let ranges: Vec<IdRange> = match told {
        Some(told) if told.mode == NamespaceMode::Pod as i32 && !told.uids.is_empty() => (told.uids.iter())
            .map(|it| IdRange { inside: it.container_id, host: it.host_id, length: it.length })
            .collect(),
        _ => (info.runtime_spec.as_ref()?.linux.as_ref()?.uid_mappings.iter().flatten())
            .map(|it| IdRange { inside: it.inside, host: it.host, length: it.size })
            .collect(),
    };
    if ranges.is_empty() { None } else { IdMap::new(ranges) }
}

#[cfg(test)]
mod tests;
