//! `cluster status`: nodes, pods, paths.

use std::{
    fs,
    io::{self, Write as _},
    process::Stdio,
};

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
        return print(&serde_json::to_string_pretty(cluster).context("write JSON")?);
    }
    let mut text = format!(
        "cluster     {}\nkubeconfig  {}\nprograms    {}\ncgroups     {}\n\
         outside     {} in the network namespace of {}\n",
        cluster.name,
        cluster.kubeconfig.display(),
        cluster.bin.display(),
        cluster.cgroup,
        cluster.outside.address,
        cluster.outside.pid
    );
    for node in &cluster.nodes {
        let (name, dir) = (&node.name, node.dir.display());
        text.push_str(&format!("{name:11} {}, first process {}, logs {dir}/log\n", node.address, node.pid));
        for exit in fs::read_dir(node.dir.join("exits")).into_iter().flatten().flatten() {
            let how = fs::read_to_string(exit.path()).unwrap_or_default();
            text.push_str(&format!("            {} has ended: {how}\n", exit.file_name().to_string_lossy()));
        }
    }
    print(&text)?;
    let first = cluster.node(1)?;
    for what in ["nodes", "pods"] {
        print("\n")?;
        let mut get = first.kubectl(&["get", what, "-A", "-o", "wide"]);
        get.stdin(Stdio::null()).status().context("run kubectl")?;
    }
    Ok(())
}

/// A reader that has seen enough is no panic.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).context("write to stdout")
}
