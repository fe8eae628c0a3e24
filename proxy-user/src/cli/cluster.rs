//! `sidestep cluster`: each node's agent is asked through kubectl.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Output;
use crate::{
    nodes::{Kubectl, Node, Nodes, State},
    out,
    sheet::Sheet,
};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sidestep cluster status\n  sidestep cluster verify --context staging\n\n\
    kubectl has to be here, with the right to list pods in the namespace and to run a command in them.\n\
    Exits with 1 if something is not as it should be."
)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Show each node: its agent, its pods enrolled and left alone, and what is not as it should be
    Status(Common),
    /// Check end to end, on each node, that each enrolled pod's traffic is redirected
    Verify(Common),
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sidestep cluster status --namespace sidestep-system --output json")]
struct Common {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Where the chart was installed
    #[arg(short, long, value_name = "NAMESPACE", default_value = "sidestep-system")]
    namespace: String,
    /// Labels of the agents' pods
    #[arg(short = 'l', long, value_name = "LABELS", default_value = "app.kubernetes.io/name=sidestep")]
    selector: String,
    /// kubectl's context [default: the current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The kubectl to run
    #[arg(long, value_name = "PATH", default_value = "kubectl")]
    kubectl: PathBuf,
}

impl Common {
    fn kubectl(&self) -> Kubectl {
        Kubectl {
            program: self.kubectl.clone(),
            context: self.context.clone(),
            namespace: self.namespace.clone(),
            selector: self.selector.clone(),
        }
    }
}

pub(crate) fn run(args: &ClusterArgs) -> Result<ExitCode> {
    let well = match &args.verb {
        Verb::Status(common) => status(common)?,
        Verb::Verify(common) => verify(common)?,
    };
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn status(args: &Common) -> Result<bool> {
    let nodes = Nodes::ask(&args.kubectl())?;
    match args.output {
        Output::Table => out::text(table(&nodes))?,
        output => drop(output.document(&json!({"schema": 1, "well": nodes.is_well(), "nodes": nodes}))?),
    }
    complain(&nodes);
    Ok(nodes.is_well())
}

fn complain(nodes: &Nodes) {
    for node in &nodes.0 {
        node.faults.iter().for_each(|fault| out::complain(format!("{}: {fault}", node.node)));
    }
}

fn table(nodes: &Nodes) -> String {
    let mut sheet =
        Sheet::unruled(&["NODE", "AGENT", "VERSION", "ENROLLED", "LEFT ALONE", "FAILED", "REDIRECTED"]);
    for node in &nodes.0 {
        let number = |count: Option<usize>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
        let answer = node.answer.as_ref();
        let agent = match (answer.is_some(), node.ready) {
            (true, true) => "ready",
            (true, false) => "not ready",
            (false, _) => "no answer",
        };
        let percent =
            answer.map(|answer| answer.percent.map_or("-".to_owned(), |share| format!("{share} %")));
        sheet.add([
            node.node.clone(),
            agent.to_owned(),
            answer.map_or("?", |answer| &answer.version).to_owned(),
            number(node.count(|state| *state == State::Enrolled)),
            number(node.count(|state| matches!(state, State::LeftAlone { .. }))),
            number(node.count(|state| matches!(state, State::Failed { .. }))),
            percent.unwrap_or_else(|| "?".to_owned()),
        ]);
    }
    format!("{sheet}\n")
}

/// How one enrolled pod's check ended.
struct Checked {
    node: String,
    pod: String,
    /// What failed; None: it passed.
    fault: Option<String>,
}

fn verify(args: &Common) -> Result<bool> {
    let kubectl = args.kubectl();
    let nodes = Nodes::ask(&kubectl)?;
    let mut all = Vec::new();
    for node in &nodes.0 {
        all.extend(checked(&kubectl, node)?);
    }
    let passed = all.iter().filter(|one| one.fault.is_none()).count();
    match args.output {
        Output::Table => {
            let mut sheet = Sheet::unruled(&["NODE", "POD", "RESULT"]);
            for one in &all {
                let result = one.fault.as_deref().unwrap_or("pass");
                sheet.add([one.node.clone(), one.pod.clone(), result.to_owned()]);
            }
            out::text(format!("{sheet}\n{passed} of {} enrolled pods pass\n", all.len()))?;
        }
        output => {
            let pods: Vec<_> = all
                .iter()
                .map(|one| json!({"node": one.node, "pod": one.pod, "passed": one.fault.is_none(), "fault": one.fault}))
                .collect();
            output.document(&json!({"schema": 1, "pods": pods, "nodes": nodes}))?;
        }
    }
    complain(&nodes);
    Ok(nodes.is_well() && passed == all.len())
}

/// One pod after the other: a check makes connections of its own.
fn checked(kubectl: &Kubectl, node: &Node) -> Result<Vec<Checked>> {
    let Some(answer) = &node.answer else { return Ok(Vec::new()) };
    let enrolled = answer.pods().into_iter().filter_map(|pod| Some((pod, pod.workload.as_deref()?)));
    enrolled
        .map(|(pod, workload)| {
            let output = kubectl.exec(&node.pod, &["verify", "--workload", workload])?;
            let said = [&output.stdout[..], &output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            // The step that failed, or what the program complains of.
            let line = said.lines().find(|line| line.starts_with("FAIL") || line.starts_with(out::PREFIX));
            let fault = (!output.status.success()).then(|| line.unwrap_or("it says nothing").to_owned());
            Ok(Checked { node: node.node.clone(), pod: pod.pod.to_string(), fault })
        })
        .collect()
}
