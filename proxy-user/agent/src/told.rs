//! What the CNI plugin tells, looked at: a pod in the terms of the agent, or why it is none.

use anyhow::{Context as _, Result, ensure};
use proxy_cni::wire::Request;
use proxy_core::{
    config::PodName,
    harmless::{harmless, harmless_path},
};

use crate::pod::{Network, Pod, SandboxId};

/// Letters of the ids that runtimes give.
pub(crate) fn sandbox(id: &str) -> Result<SandboxId> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    ensure!(
        (1..=128).contains(&id.len()) && id.bytes().all(allowed),
        "container id {}: not of letters, digits, '-', '_' and '.', or longer than 128",
        harmless(id)
    );
    Ok(SandboxId(id.to_owned()))
}

/// At ADD.
pub(crate) fn pod(request: &Request) -> Result<Pod> {
    let sandbox = sandbox(&request.container_id)?;
    let told = request.pod.as_ref().context("CNI_ARGS names no pod (K8S_POD_NAMESPACE, K8S_POD_NAME)")?;
    let name: PodName = format!("{}/{}", told.namespace, told.name)
        .parse()
        .with_context(|| format!("pod {}/{}", harmless(&told.namespace), harmless(&told.name)))?;
    let netns = request.netns.clone().context("CNI_NETNS is empty")?;
    ensure!(
        netns.is_absolute() && netns.components().all(|part| part.as_os_str() != ".."),
        "network namespace {}: not an absolute path",
        harmless_path(&netns)
    );
    Ok(Pod {
        sandbox,
        name,
        uid: told.uid.clone().unwrap_or_default(),
        annotations: request.annotations.clone().unwrap_or_default(),
        labels: None,
        network: Network::Own(netns),
        cgroup: request.cgroup.clone(),
        // What is no address asks nobody.
        dns_servers: request
            .dns_servers
            .as_ref()
            .map(|servers| servers.iter().filter_map(|server| server.parse().ok()).collect()),
        proxy: None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proxy_cni::wire::{self, Command};
    use rstest::rstest;

    use super::*;

    fn request() -> Request {
        Request {
            command: Command::Add,
            container_id: "abc".to_owned(),
            netns: Some(PathBuf::from("/var/run/netns/cni-1")),
            interface: "eth0".to_owned(),
            pod: Some(wire::Pod { namespace: "shop".into(), name: "web-0".into(), uid: Some("u-1".into()) }),
            annotations: None,
            cgroup: None,
            dns_servers: Some(vec!["10.96.0.10".into(), "dns.example".into()]),
        }
    }

    #[test]
    fn what_a_runtime_tells() {
        let pod = pod(&request()).unwrap();
        assert_eq!((pod.name.to_string().as_str(), pod.uid.as_str()), ("shop/web-0", "u-1"));
        assert_eq!(pod.dns_servers, Some(vec!["10.96.0.10".parse().unwrap()]));
    }

    #[rstest]
    #[case::id(|it: &mut Request| it.container_id = "../../x".into(), "container id")]
    #[case::empty_id(|it: &mut Request| it.container_id.clear(), "container id")]
    #[case::long_id(|it: &mut Request| it.container_id = "a".repeat(129), "container id")]
    #[case::no_pod(|it: &mut Request| it.pod = None, "K8S_POD_NAME")]
    #[case::name(|it: &mut Request| it.pod.as_mut().unwrap().name = "a\u{1b}[2Jb".into(), "NAMESPACE/NAME")]
    #[case::namespace(|it: &mut Request| it.pod.as_mut().unwrap().namespace = "../..".into(), "NAMESPACE/NAME")]
    #[case::no_netns(|it: &mut Request| it.netns = None, "CNI_NETNS")]
    #[case::relative(|it: &mut Request| it.netns = Some("ns/net".into()), "absolute")]
    #[case::upwards(|it: &mut Request| it.netns = Some("/run/netns/../../proc/1/ns/net".into()), "absolute")]
    fn what_is_no_pod(#[case] differs: fn(&mut Request), #[case] says: &str) {
        let mut request = request();
        differs(&mut request);
        let error = format!("{:#}", pod(&request).unwrap_err());
        assert!(error.contains(says) && !error.contains('\u{1b}'), "{error}");
    }
}
