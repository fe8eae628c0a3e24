//! `sidestep doctor`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;

use super::{Output, netns_cgroup::NetnsCgroupArgs};
use crate::{doctor, out};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sidestep doctor\n  sidestep doctor --netns /run/netns/pod --output json\n\n\
    Exits with 0 if all is well, 1 if sidestep works with less or not everything could be seen, 2 if attach would fail."
)]
pub(crate) struct DoctorArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    /// Where the container runtime has its networks, whose lists may have the CNI plugin
    #[arg(long, value_name = "DIR", env = "SIDESTEP_CNI_CONF_DIR", default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,

    #[command(flatten)]
    at: NetnsCgroupArgs,
}

pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let netns = args.at.netns.is_some().then(|| args.at.netns()).transpose()?;
    let cgroup = args.at.cgroup.is_some().then(|| args.at.cgroup()).transpose()?;
    let diagnosis = doctor::examine(netns.as_ref(), cgroup.as_ref(), &args.cni_conf_dir)?;
    match args.output {
        Output::Table => out::line(&diagnosis)?,
        Output::Json | Output::Yaml => drop(args.output.document(&serde_json::to_value(&diagnosis)?)?),
    }
    Ok(ExitCode::from(diagnosis.exit_code()))
}
