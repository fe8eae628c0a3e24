//! A cluster with Istio for another verb: there when its work begins, gone afterwards.

use std::path::Path;

use anyhow::Result;
use clap::Parser;

use super::{down, istio, record::Home, up};
use crate::workspace::Workspace;

/// What `up` does when nobody says more than who captures: work that compares has other flags for each pod.
#[derive(Parser)]
struct Defaults {
    #[command(flatten)]
    up: up::Args,
}

/// Hands `work` the cluster.json of a cluster of one node. One that is up already is used, and left up, as it is with
/// `keep`.
pub(crate) fn with_istio(
    workspace: &Workspace,
    name: &str,
    keep: bool,
    work: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let home = Home::new(workspace, name)?;
    let ours = home.living().is_none();
    if ours {
        up::run(workspace, &home, &Defaults::parse_from(["up", "--plugin", "stand-in"]).up)?;
    }
    let outcome = home.read().and_then(|cluster| {
        istio::run(&cluster, &istio::Args { iptables: false, set: Vec::new() })?;
        work(&cluster.dir.join("cluster.json"))
    });
    if ours && !keep {
        down::run(&home)?;
    }
    outcome
}
