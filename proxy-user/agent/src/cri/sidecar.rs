//! The sidecar's container, as soon as there is one.

use std::collections::BTreeMap;

use super::{
    sandbox::Info,
    v1::{Container, ContainerStatusResponse},
};
use crate::pod::{Pod, Proxy};

/// The name that Istio's injector gives it; nobody can choose another.
const NAME: &str = "istio-proxy";
/// Written by the injector, and by nobody else.
const INJECTED: &str = "sidecar.istio.io/status";

/// Whether there will be one.
pub(super) fn is_expected(pod: &Pod) -> bool {
    pod.annotations.contains_key(INJECTED)
}

/// The latest of it: earlier ones have ended.
pub(super) fn among<'a>(containers: &'a [Container], sandbox: &str) -> Option<&'a Container> {
    let attempt = |it: &&Container| it.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
    (containers.iter())
        .filter(|it| it.pod_sandbox_id == sandbox)
        .filter(|it| it.metadata.as_ref().is_some_and(|metadata| metadata.name == NAME))
        .max_by_key(attempt)
}

/// Who it runs as and with what. Newer runtimes say the user themselves, all have it in what they told the OCI runtime.
pub(super) fn read(answer: &ContainerStatusResponse) -> Result<Proxy, String> {
    let info = Info::read(&answer.info)?;
    let process =
        info.runtime_spec.and_then(|spec| spec.process).ok_or("the runtime does not say what it runs")?;
    let told = answer.status.as_ref().and_then(|status| status.user.as_ref()?.linux);
    let told =
        |id: fn(super::v1::LinuxContainerUser) -> i64| told.and_then(|user| u32::try_from(id(user)).ok());
    let user = process.user.unwrap_or_default();
    Ok(Proxy {
        uid: told(|user| user.uid).or(user.uid),
        gid: told(|user| user.gid).or(user.gid),
        env: process.env.unwrap_or_default().iter().filter_map(|it| variable(it)).collect::<BTreeMap<_, _>>(),
        args: process.args.unwrap_or_default(),
    })
}

fn variable(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests;
