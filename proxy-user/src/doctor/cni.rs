//! The CNI plugin of this node, where it is in a list of the container runtime's.

use std::{io, os::unix::net::UnixStream, path::Path};

use proxy_agent::install::entries;
use proxy_cni::entry::{ANNOTATIONS, Entry, FailurePolicy, TYPE};
use proxy_core::harmless::harmless_path;
use serde_json::Value;

use super::finding::Finding;

const CHECK: &str = "cni_plugin";

/// `directory`: the runtime's networks.
pub(super) fn finding(directory: &Path) -> Finding {
    let found = match entries(directory) {
        Ok(found) => found,
        Err(error) => return Finding::unseen(CHECK, format!("{error:#}"), "run doctor as root"),
    };
    let Some((path, entry)) = found.first() else {
        return Finding::ok(CHECK, format!("no list in {} has {TYPE}", harmless_path(directory)));
    };
    let file = harmless_path(path);
    let has_annotations =
        entry.get("capabilities").and_then(|all| all.get(ANNOTATIONS)) == Some(&Value::Bool(true));
    if !has_annotations {
        return Finding::degraded(
            CHECK,
            format!(
                "{file}: without the capability {ANNOTATIONS} no sidecar pod can be told when it is set up"
            ),
            format!(
                "add \"{ANNOTATIONS}\": true to its capabilities, or have `sidestep run --install-cni` write it"
            ),
        );
    }
    match Entry::read(entry) {
        Ok(read) => answers(&file.to_string(), &read),
        Err(faults) => Finding::degraded(CHECK, format!("{file}: {faults}"), "docs/agent.md lists the keys"),
    }
}

fn answers(file: &str, entry: &Entry) -> Finding {
    let socket = harmless_path(&entry.socket);
    match UnixStream::connect(&entry.socket) {
        Ok(_) => Finding::ok(CHECK, format!("in {file}; an agent answers at {socket}")),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Finding::unseen(CHECK, format!("in {file}; {socket}: {error}"), "run doctor as root")
        }
        Err(error) => {
            let pods = match entry.failure_policy {
                FailurePolicy::Closed => "sidecar pods that start wait for it",
                FailurePolicy::Open => "sidecar pods start without being captured",
            };
            Finding::degraded(
                CHECK,
                format!("in {file}, and no agent answers at {socket} ({error}): {pods}"),
                "start `sidestep run`, or take the plugin off with `sidestep uninstall`",
            )
        }
    }
}
