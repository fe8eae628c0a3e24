//! `sidestep report`: what a report of a fault needs of a node, in one archive. No connection is in it, no payload, and no
//! value of an environment.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use flate2::{Compression, write::GzEncoder};
use proxy_core::harmless::harmless;
use proxy_plane::dataplane;
use serde_json::Value;
use tar::{Builder, Header};

use super::report_history;
use crate::{
    out,
    serve::{DEFAULT_LISTEN, Listen},
};

const TOP: &str = "sidestep-report";
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep report\n  \
    kubectl exec -n sidestep-system POD -- sidestep report --file - > report.tar.gz")]
pub(crate) struct ReportArgs {
    /// Where the archive goes; - is standard output
    #[arg(long, value_name = "FILE", default_value = "sidestep-report.tar.gz")]
    file: PathBuf,

    /// Where the agent has its metrics and API, as --listen of `run` says it
    #[arg(long, value_name = "WHERE", env = "SIDESTEP_AGENT", default_value = DEFAULT_LISTEN)]
    agent: Listen,

    /// Where the container runtime has its networks
    #[arg(long, value_name = "DIR", env = "SIDESTEP_CNI_CONF_DIR", default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,
}

/// One file of the archive.
struct Part {
    name: &'static str,
    what: String,
    /// Or why there is nothing to put in.
    text: Result<String>,
}

impl Part {
    fn new(name: &'static str, what: &str, text: Result<String>) -> Self {
        Self { name, what: what.to_owned(), text }
    }
}

pub(crate) fn run(args: &ReportArgs) -> Result<ExitCode> {
    let parts = parts(args);
    let to_stdout = args.file == Path::new("-");
    if to_stdout {
        pack(io::stdout().lock(), &parts)?;
    } else {
        let file = File::create(&args.file);
        let file =
            file.with_context(|| format!("create {}; name another file with --file", args.file.display()))?;
        pack(file, &parts)?;
        out::line(format!("wrote {}: look through it before you give it away", args.file.display()))?;
    }
    for Part { name, text, .. } in &parts {
        if let Err(error) = text {
            out::complain(format!("report: without {name}: {error:#}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn parts(args: &ReportArgs) -> Vec<Part> {
    let lists = args.cni_conf_dir.display().to_string();
    let doctor = |output: &str| ours(&["doctor", "--output", output, "--cni-conf-dir", &lists]);
    let mut parts = vec![
        Part::new("version.txt", "the versions of this program and of the kernel", system()),
        Part::new("doctor.txt", "`sidestep doctor`: what this machine can do", doctor("table")),
        Part::new("doctor.json", "the same for programs", doctor("json")),
        Part::new(
            "status.json",
            "`sidestep status`: the attached workloads, their settings and counters",
            ours(&["status", "--output", "json"]),
        ),
        history(),
        Part::new("pins.txt", "the paths of the pins", pins(&dataplane::pin_root())),
        Part::new(
            "ready.txt",
            "whether the agent is ready",
            get(&args.agent, "/readyz").map(|(status, text)| format!("{status}\n{text}")),
        ),
        Part::new("metrics.txt", "the agent's metrics", found(&args.agent, "/metrics")),
        Part::new(
            "node.json",
            "what the agent says of its node, without the connections",
            found(&args.agent, "/api/v1/node").and_then(|text| without_flows(&text)),
        ),
    ];
    let readme = readme(&parts);
    parts.insert(0, Part::new("README.txt", "", Ok(readme)));
    parts
}

fn history() -> Part {
    const WHAT: &str = "`sidestep history`: what was done to workloads, also to those that are gone";
    match report_history::youngest() {
        Ok(youngest) => {
            let without = youngest.left_out.map(|what| format!("; without {what}")).unwrap_or_default();
            Part::new("history.jsonl", &format!("{WHAT}{without}"), Ok(youngest.lines))
        }
        Err(error) => Part::new("history.jsonl", WHAT, Err(error)),
    }
}

/// What is in the archive, for who opens it.
fn readme(parts: &[Part]) -> String {
    let mut text = "A report of one node, by `sidestep report`. It has names of pods and programs and the pods' settings; no\n\
                    connection, no payload, no process's environment.\n\n"
        .to_owned();
    for Part { name, what, text: there } in parts {
        let missing = if there.is_err() { "; not there, it says why" } else { "" };
        text += &format!("{name:<15}{what}{missing}\n");
    }
    text
}

/// What this program prints for this verb, whatever it exits with.
fn ours(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(std::env::current_exe().context("where is this binary?")?);
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("run sidestep {}", arguments[0]))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.stdout.is_empty(), "sidestep {}: {}", arguments[0], said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn system() -> Result<String> {
    let uname = nix::sys::utsname::uname().context("uname")?;
    let word = |text: &std::ffi::OsStr| harmless(&text.to_string_lossy()).to_string();
    Ok(format!(
        "sidestep {}\n{} {} {} {}\n",
        super::version::version(),
        word(uname.sysname()),
        word(uname.release()),
        word(uname.version()),
        word(uname.machine())
    ))
}

/// Paths below the directory of pins.
fn pins(root: &Path) -> Result<String> {
    let mut text = String::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries =
            std::fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("list {}", directory.display()))?.path();
            writeln!(text, "{}", path.display())?;
            if path.is_dir() {
                directories.push(path);
            }
        }
    }
    Ok(text)
}

/// Connections have addresses and programs of other people's: they are left out.
fn without_flows(text: &str) -> Result<String> {
    let mut node: Value = serde_json::from_str(text).context("the agent's answer")?;
    node.as_object_mut().context("the agent's answer is no object")?.remove("flows");
    Ok(format!("{node:#}\n"))
}

fn found(agent: &Listen, path: &str) -> Result<String> {
    match get(agent, path)? {
        (200, text) => Ok(text),
        (status, text) => bail!("{agent} answers {status} for {path}: {}", harmless(text.trim())),
    }
}

/// The status and what comes with it.
fn get(agent: &Listen, path: &str) -> Result<(u16, String)> {
    let tcp = |stream: io::Result<TcpStream>| -> io::Result<String> {
        let stream = stream?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        ask(stream, path)
    };
    let answer = match agent {
        Listen::At(address) => tcp(TcpStream::connect_timeout(address, ANSWER_WITHIN)),
        Listen::Named(host, port) => tcp(TcpStream::connect((host.as_str(), *port))),
        Listen::Unix(socket) => UnixStream::connect(socket).and_then(|stream| {
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            ask(stream, path)
        }),
    };
    let answer = answer.with_context(|| format!("ask the agent at {agent}; --agent names another place"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the agent's answer has no end")?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok((status.context("the agent's answer has no status")?, body.to_owned()))
}

/// Of HTTP/1.0: the answer is not cut in pieces, and ends with the connection.
fn ask(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn pack(to: impl Write, parts: &[Part]) -> Result<()> {
    let mut archive = Builder::new(GzEncoder::new(to, Compression::default()));
    for Part { name, text, .. } in parts {
        let text = match text {
            Ok(text) => text.clone(),
            Err(error) => format!("not there: {error:#}\n"),
        };
        let mut header = Header::new_ustar();
        header.set_mode(0o600);
        header.set_size(text.len() as u64);
        archive
            .append_data(&mut header, format!("{TOP}/{name}"), text.as_bytes())
            .with_context(|| format!("write {name}"))?;
    }
    archive.into_inner().and_then(GzEncoder::finish).and_then(|mut to| to.flush()).context("end the archive")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_left_out() {
        let text = without_flows(r#"{"node": "a", "flows": [{"from": "10.0.0.9"}]}"#).unwrap();
        assert!(text.contains("\"node\"") && !text.contains("10.0.0.9"), "{text}");
        assert!(without_flows("[]").is_err() && without_flows("ready").is_err());
    }
}
