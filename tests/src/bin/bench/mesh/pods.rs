//! The pods: a client and a server of each way, all there at once.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::cluster::Cluster;
use super::way::Way;

pub(crate) const NAMESPACE: &str = "bench";
/// Where the application takes orders, in its container.
pub(crate) const SOCKET: &str = "/drive.sock";
pub(crate) const TCP_PORT: u16 = 9090;

/// STRICT: an answer through sidecars came by mutual TLS, or there would be none.
const NAMESPACE_MANIFEST: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: bench, labels: {istio-injection: enabled}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: bench}
spec: {mtls: {mode: STRICT}}
";

/// Makes them, and returns when all are Ready. The namespace goes with the value.
#[derive(Debug)]
pub(crate) struct Pods<'a>(&'a Cluster);

impl<'a> Pods<'a> {
    pub(crate) fn start(cluster: &'a Cluster) -> Result<Self> {
        let mut manifest = NAMESPACE_MANIFEST.to_owned();
        for way in Way::ALL {
            pod(&mut manifest, "server", way);
            pod(&mut manifest, "client", way);
            service(&mut manifest, way);
        }
        let pods = Self(cluster);
        cluster.apply(&manifest)?;
        let wait = ["-n", NAMESPACE, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=300s"];
        cluster.kubectl(&wait).map_err(|error| {
            let events = cluster.kubectl(&["-n", NAMESPACE, "get", "pods,events"]);
            error.context(events.unwrap_or_default())
        })?;
        Ok(pods)
    }
}

impl Drop for Pods<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"]) {
            eprintln!("bench: {error:#}");
        }
    }
}

/// No probes of the application: they would be part of what is counted.
fn pod(out: &mut String, role: &str, way: Way) {
    let (slug, labels, annotations) = (way.slug(), way.labels(), way.annotations());
    write!(
        out,
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {role}-{slug}, namespace: {NAMESPACE}, labels: {{app: {role}-{slug}{labels}}}, \
         annotations: {{{annotations}}}}}
spec:
  containers:
  - {{name: app, image: lab/app:1, imagePullPolicy: IfNotPresent, command: [/bin/app, drive, {SOCKET}], \
         resources: {{requests: {{cpu: 100m}}}}}}
"
    )
    .ok();
}

fn service(out: &mut String, way: Way) {
    let slug = way.slug();
    write!(
        out,
        "---
apiVersion: v1
kind: Service
metadata: {{name: server-{slug}, namespace: {NAMESPACE}}}
spec:
  selector: {{app: server-{slug}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}, {{name: tcp, port: {TCP_PORT}}}]
"
    )
    .ok();
}

/// The service's address: a name would be looked up for each new connection.
pub(crate) fn address(cluster: &Cluster, way: Way) -> Result<String> {
    let service = format!("server-{}", way.slug());
    let get = ["-n", NAMESPACE, "get", "service", &service, "-o", "jsonpath={.spec.clusterIP}"];
    Ok(cluster.kubectl(&get)?.trim().to_owned())
}

pub(crate) fn uid(cluster: &Cluster, pod: &str) -> Result<String> {
    let get = ["-n", NAMESPACE, "get", "pod", pod, "-o", "jsonpath={.metadata.uid}"];
    cluster.kubectl(&get).map(|uid| uid.trim().to_owned()).with_context(|| format!("find pod {pod}"))
}
