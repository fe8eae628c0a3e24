//! `bench enroll`: how long it takes to enrol a workload and to release it, on a node with none to 500 others, and what
//! each costs in kernel memory.
//!
//! Workloads are namespaces with an address on lo and cgroups without processes: what an agent meets when a pod's sandbox
//! has just been made.

mod memory;
mod report;

use std::process::Stdio;
use std::time::{Duration, Instant};

use ::tests::bare_pod::BarePod;
use ::tests::requirement::Requirement;
use anyhow::{Context, Result, bail, ensure};

use proxy_core::config::{Acceleration, CidrSet, Config, Observe, PortSet};
use proxy_plane::dataplane::{AttachOptions, Node};

use crate::machine::{self, Machine};
use crate::options::EnrollOptions;
use crate::own_bpffs;
use crate::progress::Progress;
use report::{Level, OneShot, Report};

/// How many others are there.
const LEVELS: [usize; 4] = [0, 10, 110, 500];
/// Where one-shot attaches are measured, and from where on memory is.
const NODE: usize = 110;

/// False when `--check` was said and a figure is missed.
pub(crate) fn run(options: &EnrollOptions) -> Result<bool> {
    for need in [Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep] {
        if let Some(why) = need.missing() {
            bail!(why);
        }
    }
    own_bpffs::mount_over()?;
    let progress = Progress::start();
    let mut machine = Machine::look()?;
    let how = AttachOptions {
        // As istio-init has it.
        config: Config {
            inbound_include: PortSet::All,
            inbound_exclude: vec![15020, 15021, 15090],
            outbound_include: CidrSet::All,
            ..Config::default()
        },
        acceleration: Acceleration::default(),
        observe: Observe::default(),
        pod: None,
        sandbox: None,
    };
    progress.note("make the namespaces and cgroups");
    let most = LEVELS.into_iter().max().unwrap_or(0);
    let others = (0..most).map(|number| BarePod::make(number as u32)).collect::<Result<Vec<_>>>()?;
    let subject = BarePod::make(most as u32)?;
    let started = Instant::now();
    let node = Node::open()?;
    // As an agent does. Programs are loaded for the first workload, whoever that is, and once.
    let _hold = node.hold()?;
    let open_ms = millis(started.elapsed());

    let started = Instant::now();
    for other in &others[..NODE] {
        other.enroll(&node, &how)?;
    }
    let from_nothing_ms = millis(started.elapsed());
    for other in &others[..NODE] {
        other.release(&node)?;
    }

    let mut levels = Vec::new();
    let mut present = 0;
    let (mut one_shot, mut before) = (None, None);
    for level in LEVELS {
        progress.note(&format!("with {level} workloads there, {} turns", options.turns));
        while present < level {
            others[present].enroll(&node, &how)?;
            present += 1;
        }
        if level == NODE {
            before = Some(memory::of_kernel()?);
            one_shot = Some(one_shots(&subject, options.turns)?);
        }
        levels.push(turns(&node, &subject, &how, level, options.turns)?);
    }
    let bytes = match before {
        Some(before) => memory::of_kernel()?.saturating_sub(before) / (most - NODE) as u64,
        None => 0,
    };
    for other in &others {
        other.release(&node)?;
    }
    machine.load_after = machine::load();
    let report = Report {
        schema: 1,
        machine,
        turns: options.turns,
        open_ms,
        from_nothing_ms,
        levels,
        one_shot: one_shot.context("no level was measured")?,
        kernel_bytes_per_workload: bytes,
    };
    report.write(&options.out)?;
    println!("{}", report.markdown());
    progress.note(&format!("written to {}", options.out.display()));
    Ok(!options.check || report.met())
}

/// In this process, which is running already.
fn turns(node: &Node, subject: &BarePod, how: &AttachOptions, others: usize, turns: usize) -> Result<Level> {
    let (mut enroll, mut release) = (Vec::new(), Vec::new());
    // The first may load programs.
    for turn in 0..=turns {
        let started = Instant::now();
        subject.enroll(node, how)?;
        let enrolled = started.elapsed();
        let started = Instant::now();
        subject.release(node)?;
        if turn > 0 {
            enroll.push(millis(enrolled));
            release.push(millis(started.elapsed()));
        }
    }
    Ok(Level::of(others, enroll, release))
}

/// `sidestep attach` as a command.
fn one_shots(subject: &BarePod, turns: usize) -> Result<OneShot> {
    const FLAGS: [&str; 6] = ["-u", "1337", "-i", "*", "-b", "*"];
    let (mut attach, mut rss) = (Vec::new(), 0);
    for turn in 0..turns {
        // Not in the same turns: looking costs time.
        let look = turn < 10;
        let started = Instant::now();
        rss = rss.max(run_command(subject.command("attach", &FLAGS)?, look)?);
        if !look || turns <= 10 {
            attach.push(millis(started.elapsed()));
        }
        run_command(subject.command("detach", &[])?, false)?;
    }
    Ok(OneShot::of(attach, rss))
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Runs a command; the most memory it had, in bytes, if anybody looks.
fn run_command(mut command: std::process::Command, look: bool) -> Result<u64> {
    command.stdout(Stdio::null());
    let mut child = command.spawn().context("start sidestep")?;
    if look {
        return memory::most_resident(&mut child);
    }
    let status = child.wait().context("wait for sidestep")?;
    ensure!(status.success(), "{command:?} failed ({status})");
    Ok(0)
}
