//! `lab-agent`: everything the lab needs done by one process inside a pod. The lab builds the command lines; see
//! `tests::agent`.

mod answer;
mod attempt;
mod connect;
mod connect_loop;
mod connect_many;
mod detour;
mod dns_answer;
mod dns_ask;
mod dns_forward;
mod dns_message;
mod enter;
mod fill;
mod fixed_port;
mod http;
mod keep;
mod ledger;
mod lives;
mod load;
mod options;
mod original_dst;
mod pause;
mod remember;
mod repair;
mod semantics;
mod serve;
mod splice;
mod stream;
mod sysctl;
mod turns;

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
    /// Nothing, for ever: the container that keeps a pod's namespaces.
    Pause(pause::Pause),
    /// Set a sysctl of this network namespace.
    Sysctl(sysctl::Sysctl),
    /// TCP servers.
    Serve(serve::Serve),
    /// Servers that say who they are, over TCP and UDP.
    Answer(answer::Answerer),
    /// A sample of connections, each as its own user.
    Attempt(attempt::Attempts),
    /// One TCP connection.
    Connect(connect::Connect),
    /// How long connects take, a batch per line of standard input.
    ConnectLoop(connect_loop::ConnectLoop),
    /// Many TCP connections at once.
    ConnectMany(connect_many::ConnectMany),
    /// Steady traffic to an echo server.
    Load(load::Load),
    /// The answers of getsockopt on one connection.
    Options(options::Options),
    /// A relay that splices.
    Splice(splice::Splice),
    /// Streams compared byte for byte.
    Stream(stream::Stream),
    /// What programs may expect of a TCP connection.
    Semantics(semantics::Semantics),
    /// A DNS resolver that is slow, fails or says nothing.
    DnsAnswer(dns_answer::DnsAnswer),
    /// DNS questions that look where the replies come from.
    DnsAsk(dns_ask::DnsAsk),
    /// A DNS forwarder like the Istio agent's.
    DnsForward(dns_forward::DnsForward),
    /// Writing to readers that never read.
    Fill(fill::Fill),
    /// Several connections from one source port.
    FixedPort(fixed_port::FixedPort),
    /// One HTTP question.
    Http(http::Http),
    /// Many, one after the other, on a connection that is kept.
    Turns(turns::Verb),
    /// A connection whose socket names a host its packets go by.
    Detour(detour::Detour),
    /// One socket with several lives.
    Lives(lives::Lives),
    /// One connection, asked again and again where it goes.
    Remember(remember::Remember),
    /// A connection made up with TCP_REPAIR, and the one it pretends to be an end of.
    Repair(repair::Repair),
    /// One connection with an ending to choose, and what both ends wrote and read.
    Ledger(ledger::Ledger),
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
        Verb::Pause(verb) => verb.run(),
        Verb::Sysctl(verb) => verb.run(),
        Verb::Serve(verb) => verb.run(),
        Verb::Answer(verb) => verb.run(),
        Verb::Attempt(verb) => verb.run(),
        Verb::Connect(verb) => verb.run(),
        Verb::ConnectLoop(verb) => verb.run(),
        Verb::ConnectMany(verb) => verb.run(),
        Verb::Load(verb) => verb.run(),
        Verb::Options(verb) => verb.run(),
        Verb::Splice(verb) => verb.run(),
        Verb::Stream(verb) => verb.run(),
        Verb::Semantics(verb) => verb.run(),
        Verb::DnsAnswer(verb) => verb.run(),
        Verb::DnsAsk(verb) => verb.run(),
        Verb::DnsForward(verb) => verb.run(),
        Verb::Fill(verb) => verb.run(),
        Verb::FixedPort(verb) => verb.run(),
        Verb::Http(verb) => verb.run(),
        Verb::Turns(verb) => verb.run(),
        Verb::Detour(detour) => detour.run(),
        Verb::Lives(lives) => lives.run(),
        Verb::Remember(remember) => remember.run(),
        Verb::Repair(repair) => repair.run(),
        Verb::Ledger(verb) => verb.run(),
    }
}
