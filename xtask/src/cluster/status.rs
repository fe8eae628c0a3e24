//! `cluster status`: nodes, pods, paths.

use std::{fs, process::Stdio};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::record::Cluster;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  cargo xtask cluster status --output json")]
pub(crate) struct Args {
    /// For people, or cluster.json
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
}

pub(crate) fn run(cluster: &Cluster, args: &Args) -> Result<()> {
    if args.output == Output::Json {
        println!("{}", serde_json::to_string_pretty(cluster).context("write JSON")?);
        return Ok(());
    }
    println!("cluster     {}", cluster.name);
    println!("kubeconfig  {}", cluster.kubeconfig.display());
    println!("programs    {}", cluster.bin.display());
    println!("cgroups     {}", cluster.cgroup);
    println!("outside     {} in the network namespace of {}", cluster.outside.address, cluster.outside.pid);
    for node in &cluster.nodes {
        println!(
            "{:11} {}, first process {}, logs {}/log",
            node.name,
            node.address,
            node.pid,
            node.dir.display()
        );
        for exit in fs::read_dir(node.dir.join("exits")).into_iter().flatten().flatten() {
            let how = fs::read_to_string(exit.path()).unwrap_or_default();
            println!("            {} has ended: {how}", exit.file_name().to_string_lossy());
        }
    }
    let first = cluster.node(1)?;
    for what in ["nodes", "pods"] {
        println!();
        let mut get = first.kubectl(&["get", what, "-A", "-o", "wide"]);
        get.stdin(Stdio::null()).status().context("run kubectl")?;
    }
    Ok(())
}
