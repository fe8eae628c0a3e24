//! `sidestep pods`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::Output;
use crate::{
    nodes::{self, Answer, Where},
    out,
    serve::DEFAULT_LISTEN,
    sheet::Sheet,
};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  sidestep pods\n  sidestep pods --output json\n  \
    kubectl exec -n sidestep-system POD -- sidestep pods\n\n\
    Exits with 1 if a pod could not be enrolled.")]
pub(crate) struct PodsArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    /// Where the agent has its page: what it was given as --listen
    #[arg(long, value_name = "WHERE", env = "SIDESTEP_AGENT", default_value = DEFAULT_LISTEN)]
    agent: Where,
}

pub(crate) fn run(args: &PodsArgs) -> Result<ExitCode> {
    let answer = nodes::ask(&args.agent)?;
    match args.output {
        Output::Table => out::text(text(&answer))?,
        output => drop(output.document(&serde_json::to_value(&answer)?)?),
    }
    let faults = answer.faults();
    faults.iter().for_each(out::complain);
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(answer: &Answer) -> String {
    let pods = answer.pods();
    if pods.is_empty() {
        return format!("the agent of {} knows of no pod\n", answer.node);
    }
    let mut sheet = Sheet::unruled(&["POD", "STATE", "WORKLOAD", "WHY"]);
    for pod in pods {
        sheet.add([
            pod.pod.to_string(),
            pod.state.word().to_owned(),
            pod.workload.clone().unwrap_or_else(|| "-".to_owned()),
            pod.why().to_owned(),
        ]);
    }
    format!("{sheet}\n")
}
