//! Istio's tests and their applications, built from the module whose charts and agent are under test.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use super::super::{
    binaries,
    go::Go,
    image::{Image, Tree},
};
use crate::{envoy, lab::closure, step, workspace::Workspace};

/// The module that names what the tests need beside the cluster's own.
const MODULE: &str = "tests/cluster/suite";
/// Where they are in the module, and run.
pub(super) const DIRECTORY: &str = "tests/integration/pilot";
const TESTS: &str = "istio.io/istio/tests/integration/pilot";
const ECHO: [&str; 2] =
    ["istio.io/istio/pkg/test/echo/cmd/server", "istio.io/istio/pkg/test/echo/cmd/client"];
/// Raised when an image is made in another way.
const RECIPE: u32 = 3;
/// What the echo servers show: theirs in Istio's own image.
const CERTIFICATES: [(&str, &str); 2] = [("cert-chain.pem", "cert.crt"), ("key.pem", "cert.key")];

pub(super) struct Built {
    pub(super) tests: PathBuf,
    /// The sources: tests read files beside them.
    pub(super) module: PathBuf,
    pub(super) images: Vec<Archive>,
}

/// An image, and what the tests call it.
pub(super) struct Archive {
    pub(super) archive: PathBuf,
    pub(super) made_as: String,
    pub(super) name: &'static str,
}

/// A pod of the tests has `HUB/app:TAG`.
pub(super) const HUB: &str = "docker.io/istio-suite";
const NAMES: [(&str, &str); 2] = [
    ("echo", "docker.io/istio-suite/app:1"),
    // TestTunnelingOutboundTraffic names it so.
    ("forward-proxy", "docker.io/envoyproxy/envoy:v1.21.0"),
];

pub(super) fn ensure(workspace: &Workspace, bin: &Path) -> Result<Built> {
    let go = Go::find()?;
    let source = workspace.root.join(MODULE);
    let module = go.module(&source, "istio.io/istio")?;
    let dir = bin.join("suite");
    let built = Built {
        tests: dir.join("pilot.test"),
        module: module.clone(),
        images: NAMES
            .map(|(made, name)| Archive {
                archive: dir.join(format!("{made}.tar")),
                made_as: format!("docker.io/lab/{made}:1"),
                name,
            })
            .into(),
    };
    fs::create_dir_all(dir.join("tmp")).with_context(|| format!("create {}", dir.display()))?;
    let sums = fs::read_to_string(source.join("go.sum")).context("read go.sum")?;
    let what = format!("{} {RECIPE} {} {sums}", go.version, module.display());
    binaries::once(&dir.join("stamp"), &what, || {
        compile(&go, &source, &dir)?;
        echo(&module, &dir)?;
        forward_proxy(workspace, bin, &dir)
    })?;
    Ok(built)
}

fn compile(go: &Go, source: &Path, dir: &Path) -> Result<()> {
    let begun = Instant::now();
    step::say("Compiling", "Istio's own tests (once; some minutes)");
    let mut echo = go.command("build");
    echo.args(["-tags=grpcnotrace", "-o"]).arg(dir.join(""));
    let mut tests = go.command("test");
    tests.args(["-c", "-vet=off", "-tags=integ,grpcnotrace", "-o"]).arg(dir.join("pilot.test"));
    for (mut command, packages) in [(echo, &ECHO[..]), (tests, &[TESTS])] {
        command.args(binaries::FLAGS).args(binaries::CHEAP).arg("-ldflags=-s -w").args(packages);
        command.current_dir(source).env("GOTMPDIR", dir.join("tmp"));
        ensure!(command.status().context("run go")?.success(), "go could not build Istio's tests");
    }
    step::say("Compiled", format!("Istio's own tests in {} s", begun.elapsed().as_secs()));
    Ok(())
}

/// As Istio's Dockerfile.app has it.
fn echo(module: &Path, dir: &Path) -> Result<()> {
    let tree = Tree::new(dir.join("echo"))?;
    for program in ["server", "client"] {
        tree.copy(&dir.join(program), &format!("usr/local/bin/{program}"))?;
    }
    for (from, to) in CERTIFICATES {
        tree.copy(&module.join("tests/testdata/certs/dns").join(from), to)?;
    }
    let image = Image { name: "echo", user: "1338", entrypoint: &["/usr/local/bin/server"], command: &[] };
    tree.pack(&image, &dir.join("echo.tar"))
}

/// The tests configure it for an Envoy of 2022, which took a filter by its name alone. The name they have it look up is short,
/// and without the pod's search list nobody here knows it.
const FORWARD_PROXY: &str = r#"exec envoy --config-yaml "$(sed '/noDefaultSearchDomain/d; s|^\( *\)- name: envoy.filters.http.router$|&\n\1  typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}|' /etc/envoy/envoy.yaml)""#;

/// Envoy by itself, for a proxy that is not of the mesh.
fn forward_proxy(workspace: &Workspace, bin: &Path, dir: &Path) -> Result<()> {
    let tree = Tree::new(dir.join("forward-proxy"))?;
    let envoy = envoy::binary(workspace);
    tree.copy(&envoy, "usr/local/bin/envoy")?;
    for library in closure::libraries(&envoy)? {
        tree.copy(&library, &library.to_string_lossy())?;
    }
    tree.copy(&bin.join("busybox"), "bin/busybox")?;
    for applet in ["sh", "sed"] {
        tree.link(&format!("bin/{applet}"), "busybox")?;
    }
    let image = Image {
        name: "forward-proxy",
        user: "0",
        entrypoint: &[],
        command: &["/bin/sh", "-c", FORWARD_PROXY],
    };
    tree.pack(&image, &dir.join("forward-proxy.tar"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    /// The tests are those of the Istio that is installed, and what both need is compiled once.
    #[test]
    fn the_modules_agree() {
        let versions = |text: &str| -> BTreeMap<String, String> {
            let lines = text.lines().map(|line| line.trim().trim_start_matches("require "));
            let words = lines.filter_map(|line| line.split_once(' '));
            words
                .filter(|(name, version)| name.contains('.') && version.starts_with('v'))
                .map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap_or_default().to_owned()))
                .collect()
        };
        let cluster = versions(include_str!("../../../../tests/cluster/go.mod"));
        let suite = versions(include_str!("../../../../tests/cluster/suite/go.mod"));
        assert!(suite.contains_key("istio.io/istio"), "{suite:?}");
        for (module, version) in suite {
            if let Some(of_cluster) = cluster.get(&module) {
                assert_eq!(
                    *of_cluster, version,
                    "{module}: tests/cluster/go.mod and tests/cluster/suite/go.mod"
                );
            }
        }
    }
}
