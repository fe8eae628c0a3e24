//! `lab-agent`: everything the lab needs done by one process inside a pod. The lab builds the command lines; see
//! `tests::agent`.

mod connect;
mod connect_many;
mod enter;
mod http;
mod keep;
mod load;
mod options;
mod original_dst;
mod semantics;
mod serve;
mod stream;
mod sysctl;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Helper of the sidestep test lab.
#[derive(Debug, Parser)]
enum Verb {
    /// Make a cgroup and a network namespace, and hold them until standard input closes.
    Keep(keep::Keep),
    /// Join a namespace and a cgroup, become a user, run a program.
    Enter(enter::Enter),
    /// Set a sysctl of this network namespace.
    Sysctl(sysctl::Sysctl),
    /// TCP servers.
    Serve(serve::Serve),
    /// One TCP connection.
    Connect(connect::Connect),
    /// Many TCP connections at once.
    ConnectMany(connect_many::ConnectMany),
    /// Steady traffic to an echo server.
    Load(load::Load),
    /// The answers of getsockopt on one connection.
    Options(options::Options),
    /// Streams compared byte for byte.
    Stream(stream::Stream),
    /// What programs may expect of a TCP connection.
    Semantics(semantics::Semantics),
    /// One HTTP question.
    Http(http::Http),
}

fn main() -> ExitCode {
    match run(Verb::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Keep(verb) => verb.run(),
        Verb::Enter(verb) => verb.run(),
        Verb::Sysctl(verb) => verb.run(),
        Verb::Serve(verb) => verb.run(),
        Verb::Connect(verb) => verb.run(),
        Verb::ConnectMany(verb) => verb.run(),
        Verb::Load(verb) => verb.run(),
        Verb::Options(verb) => verb.run(),
        Verb::Stream(verb) => verb.run(),
        Verb::Semantics(verb) => verb.run(),
        Verb::Http(verb) => verb.run(),
    }
}
