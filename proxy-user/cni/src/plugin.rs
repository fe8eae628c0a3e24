//! The plugin without the process around it.

use std::{io::Read, path::Path, time::Duration};

use crate::{
    agent::Silence,
    call::{self, Environment, Sandbox, Verb},
    entry::{self, Entry, FailurePolicy},
    failure::{Code, Failure},
    harmless::harmless,
    network::{self, NEWEST, Network, Told, VERSIONS},
    sidecar::{self, Need},
    wire::{Answer, Command, Request},
};

/// How long a call waits for an agent that it does not need.
const SHORT: Duration = Duration::from_secs(2);

/// Asks the agent behind a socket within a time.
pub type Ask<'a> = &'a dyn Fn(&Path, &Request, Duration) -> Result<Answer, Silence>;

/// What the process does with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub stdout: String,
    /// For the runtime's log.
    pub stderr: String,
    /// Whether `stdout` is an error object.
    pub failed: bool,
}

/// One call, answered.
pub fn run(environment: Environment, stdin: &mut dyn Read, ask: Ask) -> Outcome {
    let mut version = NEWEST;
    let mut notes = Vec::new();
    let answer = answer(environment, stdin, ask, &mut version, &mut notes);
    let stderr = notes.iter().map(|note| format!("sidestep-cni: {}\n", harmless(note))).collect();
    match answer {
        Ok(stdout) => Outcome { stdout, stderr, failed: false },
        Err(failure) => Outcome { stdout: failure.object(version), stderr, failed: true },
    }
}

fn answer(
    environment: Environment,
    stdin: &mut dyn Read,
    ask: Ask,
    version: &mut &'static str,
    notes: &mut Vec<String>,
) -> Result<String, Failure> {
    let verb = call::verb(environment)?;
    let stdin = network::read(stdin);
    if let Some(said) = stdin.as_ref().ok().and_then(|stdin| network::version(stdin)) {
        *version = said;
    }
    match verb {
        // CRI-O asks at its start, and may have nothing to say on standard input.
        Verb::Version => Ok(serde_json::json!({
            "cniVersion": *version,
            "supportedVersions": VERSIONS,
        })
        .to_string()),
        Verb::Add => add(environment, &Network::parse(&stdin?)?, ask, notes),
        Verb::Del => {
            let network = stdin.and_then(|stdin| Network::parse(&stdin));
            del(environment, network.ok().as_ref(), ask, notes);
            Ok(String::new())
        }
        Verb::Status => {
            let network = Network::parse(&stdin?)?;
            // An entry that ADD refuses is no reason to take the pods that run from the node.
            let entry = network.entry().unwrap_or_default();
            if entry.status_waits_for_agent { been_ready(&entry) } else { Ok(String::new()) }
        }
        Verb::Check | Verb::Gc => Network::parse(&stdin?).map(|_| String::new()),
    }
}

fn been_ready(entry: &Entry) -> Result<String, Failure> {
    let marker = entry.ready_marker();
    if marker.exists() {
        return Ok(String::new());
    }
    Err(Failure::new(
        Code::NotAvailable,
        "sidestep's agent has not been ready since this node booted",
        format!("{} is not there; the agent makes it, and statusWaitsForAgent asks for it", marker.display()),
    ))
}

fn add(
    environment: Environment,
    network: &Network,
    ask: Ask,
    notes: &mut Vec<String>,
) -> Result<String, Failure> {
    let entry = network.entry()?;
    let sandbox = call::sandbox(environment)?;
    let told = network.told()?;
    let result = network.prev_result()?;

    let namespace = sandbox.pod.as_ref().map(|pod| pod.namespace.as_str());
    let need = sidecar::need(&entry, namespace, told.annotations.as_ref());
    let deadline = match need {
        Need::None => return Ok(result.to_owned()),
        Need::Agent => entry.timeout(),
        Need::Unknown => entry.timeout().min(SHORT),
    };
    let pod = named(&sandbox);
    let is_known = need == Need::Agent;
    let why = match ask(&entry.socket, &request(Command::Add, sandbox, told), deadline) {
        Ok(Answer::Enrolled | Answer::LeftAlone { .. } | Answer::Released) => return Ok(result.to_owned()),
        // The policy is about an agent that is not there. What this one refuses is refused.
        Ok(Answer::Failed { message }) if is_known => {
            let msg = format!("{pod} cannot be enrolled: {message}");
            return Err(Failure::new(Code::TryAgainLater, msg, ""));
        }
        Ok(Answer::Failed { message }) => message,
        Err(silence) if is_known && entry.failure_policy == FailurePolicy::Closed => {
            return Err(unheard(&entry, &pod, &silence));
        }
        Err(silence) => format!("no answer at {}: {silence}", entry.socket.display()),
    };
    notes.push(if is_known {
        format!("{pod} starts with its traffic passing its sidecar by, as failurePolicy open has it: {why}")
    } else {
        format!(
            "{pod} starts, and nobody has told whether it has a sidecar (the list's entry or the runtime lacks the \
             capability {}): {why}",
            entry::ANNOTATIONS
        )
    });
    Ok(result.to_owned())
}

fn unheard(entry: &Entry, pod: &str, silence: &Silence) -> Failure {
    let socket = entry.socket.display();
    Failure::new(
        Code::TryAgainLater,
        format!(
            "{pod} has a sidecar and waits for sidestep's agent, which does not answer at {socket}: {silence}"
        ),
        "look at sidestep's agent on this node and at its log; kubelet tries this pod again until it answers \
         (failurePolicy closed in the plugin's entry; open would start it uncaptured)",
    )
}

/// Nothing here is a reason to fail: a pod whose DEL fails stays in Terminating.
fn del(environment: Environment, network: Option<&Network>, ask: Ask, notes: &mut Vec<String>) {
    let Some(sandbox) = call::sandbox_if_known(environment) else { return };
    let entry = network.and_then(|network| network.entry().ok()).unwrap_or_default();
    let told = network.and_then(|network| network.told().ok()).unwrap_or_default();
    let pod = named(&sandbox);
    match ask(&entry.socket, &request(Command::Del, sandbox, told), SHORT) {
        Ok(Answer::Failed { message }) => notes.push(format!("{pod} goes, although {message}")),
        Ok(Answer::Enrolled | Answer::LeftAlone { .. } | Answer::Released) => {}
        Err(silence) => notes.push(format!("{pod} goes unknown to the agent: {silence}")),
    }
}

fn named(sandbox: &Sandbox) -> String {
    match &sandbox.pod {
        Some(pod) => format!("pod {}/{}", pod.namespace, pod.name),
        None => format!("container {}", sandbox.container_id),
    }
}

fn request(command: Command, sandbox: Sandbox, told: Told) -> Request {
    let Sandbox { container_id, netns, interface, pod } = sandbox;
    let Told { annotations, cgroup, dns_servers } = told;
    Request { command, container_id, netns, interface, pod, annotations, cgroup, dns_servers }
}

#[cfg(test)]
mod tests;
