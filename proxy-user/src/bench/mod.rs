//! `sidestep bench`: iptables against sidestep on any node, without other tools.
//!
//! Every mode has a namespace and a cgroup of its own, with the embedded relay as the sidecar, a server that sends
//! back what comes, and a client. There is only lo: the client runs as the sidecar's user and calls the workload's
//! own address, which istio-init's rules send through the inbound listener. The server answers only who comes from
//! 127.0.0.6, so that what is measured went through the relay. Pins are on a bpffs of the bench's own: the node's
//! workloads are not touched, and nothing is left however it ends.
//!
//! It is another bench than `cargo xtask bench`, on purpose. That one makes the figures that are published, with Envoy,
//! nginx and wrk in the lab, none of which is on a user's node; this one is a part of the program and needs nothing else.
//! What they measure is not comparable, and neither would be simpler with the other's stage.

mod echo;
mod interrupt;
mod load;
mod plane;
mod report;
mod stage;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare},
    unistd::{Pid, Uid},
};
use proxy_core::exit::{Class, Failure};

pub use self::report::Report;
use self::{interrupt::Interrupt, plane::Mode, report::Run, stage::Stage};

const BPFFS: &str = "/sys/fs/bpf";

/// What to measure, and how often.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(subcommand)]
    role: Option<Role>,

    /// How often each mode has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Seconds of a turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,

    /// Connections that exchange messages, comma separated
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32])]
    connections: Vec<u32>,

    /// Bytes of a message
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    size: u32,
}

/// What the bench starts itself as.
#[derive(Subcommand, Clone, Debug)]
enum Role {
    #[command(hide = true)]
    Stage(stage::StageArgs),
    #[command(hide = true)]
    Echo(echo::EchoArgs),
    #[command(hide = true)]
    Load(load::LoadArgs),
}

/// Measures. None: it was started as a part of the bench, which has done its work.
///
/// # Errors
/// Without root, or when a mode cannot be set up or traffic goes another way than it should.
pub fn run(args: &Options) -> Result<Option<Report>> {
    match &args.role {
        Some(Role::Stage(stage)) => stage::serve(stage)?,
        Some(Role::Echo(echo)) => echo::run(echo)?,
        Some(Role::Load(load)) => load::run(load)?,
        None => return measure(args).map(Some),
    }
    Ok(None)
}

fn measure(args: &Options) -> Result<Report> {
    if !Uid::effective().is_root() {
        let text = "bench makes network namespaces and cgroups: run it as root";
        return Err(Failure::error(Class::Permission, text));
    }
    let cpu = pin()?;
    own_bpffs()?;
    let interrupt = Interrupt::catch()?;
    let runs = rounds(args, &interrupt);
    // Whatever a stage says that was ended, this is the reason.
    interrupt.check()?;
    Ok(Report::of(args.size, args.seconds, cpu, runs?))
}

fn rounds(args: &Options, interrupt: &Interrupt) -> Result<Vec<Run>> {
    let mut stages = Vec::new();
    for mode in Mode::available() {
        interrupt.check()?;
        stages.push(Stage::start(mode, interrupt).with_context(|| format!("set up {}", mode.name()))?);
    }
    let mut runs = Vec::new();
    for &connections in &args.connections {
        for round in 0..args.rounds {
            for turn in 0..stages.len() {
                // Another one begins each round.
                let at = (turn + round as usize) % stages.len();
                let stage = &mut stages[at];
                let mode = stage.mode();
                interrupt.check()?;
                let run = stage.run(connections, args.size, args.seconds);
                runs.push(Run::new(mode, connections, round, run.with_context(|| mode.name())?));
            }
        }
    }
    Ok(runs)
}

/// Everything on the last CPU: between CPUs, where a process wakes decides more than the data plane.
fn pin() -> Result<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("read the CPUs of this process")?;
    let last = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    ensure!(last.is_some(), "this process may use no CPU");
    let cpu = last.unwrap_or(0);
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("pin to a CPU")?;
    Ok(cpu)
}

/// A bpffs of this process and what it starts, over the node's.
fn own_bpffs() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare the mount namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("keep mounts to ourselves")?;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none)
        .with_context(|| format!("mount a bpffs on {BPFFS}"))
}
