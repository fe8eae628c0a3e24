//! What is in the cluster's images.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result};

use super::{
    go::Go,
    image::{Image, Tree},
};
use crate::{envoy, lab::closure, step, workspace::Workspace};

const APPLETS: &str =
    "sh nc sleep cat ls ps id env netstat grep wget kill touch rm mkdir ip head tail test true false";
const IPTABLES: &str = "iptables iptables-restore iptables-save ip6tables ip6tables-restore ip6tables-save \
    iptables-nft iptables-nft-restore iptables-nft-save ip6tables-nft ip6tables-nft-restore ip6tables-nft-save";
/// Istio runs this with the settings of a pod.
const BOOTSTRAP: &str = "tools/packaging/common/envoy_bootstrap.json";

/// In the order in which they are imported.
pub(crate) const NAMES: [&str; 5] = ["pause", "coredns", "app", "pilot", "proxyv2"];

/// Makes all of them below `bin/images`.
pub(crate) fn make(workspace: &Workspace, go: &Go, bin: &Path) -> Result<()> {
    let dir = bin.join("images");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    for name in NAMES {
        step::say("Packing", format!("image lab/{name}:1"));
        let tree = Tree::new(dir.join(name))?;
        let image = match name {
            "pause" => {
                tree.copy(&bin.join("app"), "bin/app")?;
                Image { name, user: "65535", entrypoint: &["/bin/app", "pause"], command: &[] }
            }
            "coredns" => {
                tree.copy(&bin.join("coredns"), "coredns")?;
                Image { name, user: "0", entrypoint: &["/coredns"], command: &[] }
            }
            "app" => {
                shell(&tree, bin)?;
                tree.copy(&bin.join("app"), "bin/app")?;
                Image { name, user: "0", entrypoint: &[], command: &["/bin/app", "serve", ":8080"] }
            }
            "pilot" => {
                tree.copy(&bin.join("pilot-discovery"), "usr/local/bin/pilot-discovery")?;
                Image {
                    name,
                    user: "1337:1337",
                    entrypoint: &["/usr/local/bin/pilot-discovery"],
                    command: &[],
                }
            }
            _ => {
                proxy(&tree, workspace, go, bin)?;
                Image { name, user: "0", entrypoint: &["/usr/local/bin/pilot-agent"], command: &[] }
            }
        };
        tree.pack(&image, &dir.join(format!("{name}.tar")))?;
    }
    Ok(())
}

fn shell(tree: &Tree, bin: &Path) -> Result<()> {
    tree.copy(&bin.join("busybox"), "bin/busybox")?;
    APPLETS.split(' ').try_for_each(|applet| tree.link(&format!("bin/{applet}"), "busybox"))
}

/// Envoy and pilot-agent, and for istio-init the machine's iptables.
fn proxy(tree: &Tree, workspace: &Workspace, go: &Go, bin: &Path) -> Result<()> {
    shell(tree, bin)?;
    let envoy = envoy::binary(workspace);
    tree.copy(&bin.join("pilot-agent"), "usr/local/bin/pilot-agent")?;
    tree.copy(&envoy, "usr/local/bin/envoy")?;
    let istio = go.module(&workspace.root.join(super::binaries::MODULE), "istio.io/istio")?;
    tree.copy(&istio.join(BOOTSTRAP), "var/lib/istio/envoy/envoy_bootstrap_tmpl.json")?;
    let iptables =
        step::find("xtables-nft-multi").context("no xtables-nft-multi: install the package iptables")?;
    tree.copy(&iptables, "usr/sbin/xtables-nft-multi")?;
    IPTABLES
        .split_whitespace()
        .try_for_each(|name| tree.link(&format!("usr/sbin/{name}"), "xtables-nft-multi"))?;
    let mut libraries: BTreeSet<_> = closure::libraries(&envoy)?;
    libraries.extend(closure::libraries(&iptables)?);
    for library in &libraries {
        tree.copy(library, &library.to_string_lossy())?;
    }
    extensions(tree, &libraries)
}

/// iptables loads its matches and targets from a directory beside its libraries.
fn extensions(tree: &Tree, libraries: &BTreeSet<std::path::PathBuf>) -> Result<()> {
    let dirs = libraries.iter().filter_map(|library| library.parent());
    let mut dirs = dirs.flat_map(|dir| {
        [dir.join("xtables"), Path::new("/usr").join(dir.strip_prefix("/").unwrap_or(dir)).join("xtables")]
    });
    let dir = dirs.find(|dir| dir.is_dir()).context("no directory `xtables` beside iptables' libraries")?;
    for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))?.flatten() {
        // iptables has the directory it was built with.
        let to = Path::new("/usr").join(dir.strip_prefix("/usr").or(dir.strip_prefix("/")).unwrap_or(&dir));
        tree.copy(&entry.path(), &to.join(entry.file_name()).to_string_lossy())?;
    }
    Ok(())
}
