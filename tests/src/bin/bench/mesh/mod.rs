//! `bench mesh`: what a request costs on a real Kubernetes with a real Istio, mutual TLS included. Pods of all ways are
//! there at once and take turns of one second: a shared machine changes its speed from minute to minute.

mod account;
mod chart;
mod cluster;
mod driver;
mod pair;
mod pods;
mod report;
mod results;
mod setting;
mod way;

use ::tests::requirement::Requirement;
use anyhow::{Context, Result, bail};

use self::cluster::Cluster;
use self::pair::{Load, Pair};
use self::pods::Pods;
use self::results::Results;
use self::setting::Setting;
use self::way::{Way, Work};
use crate::machine;
use crate::options::MeshOptions;
use crate::pinning::Pinning;
use crate::progress::Progress;

/// Of the load before the turns that count: connections between the sidecars, and the Go runtime's heap.
const WARM_UP: f64 = 0.3;

/// True: there is no figure it could miss.
pub(crate) fn run(options: &MeshOptions) -> Result<bool> {
    for need in [Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep] {
        if let Some(why) = need.missing() {
            bail!(why);
        }
    }
    let cpu = Pinning::new(options.cpu)?.one();
    let progress = Progress::start();
    let cluster = Cluster::read(&options.cluster)?;
    let mut setting = Setting::look(&cluster, cpu)?;
    let pods = Pods::start(&cluster)?;
    let mut pairs = Way::ALL
        .iter()
        .map(|way| Pair::find(&cluster, *way).with_context(|| format!("pods of {}", way.name())))
        .collect::<Result<Vec<_>>>()?;
    for pair in &mut pairs {
        pair.prepare(cpu)?;
        pair.check()?;
    }
    progress.note(&format!("{} pods are there, and go the way they say; on CPU {cpu}", 2 * pairs.len()));
    let loads = turns(&mut pairs, options, &progress)?;
    for pair in &mut pairs {
        pair.check()?;
    }
    drop(pods);
    setting.machine.load_after = machine::load();
    let results = Results::of(setting, options, loads);
    report::write(&results, &options.out)?;
    println!("{}", report::markdown(&results));
    progress.note(&format!("written to {}", options.out.display()));
    Ok(true)
}

fn turns(pairs: &mut [Pair<'_>], options: &MeshOptions, progress: &Progress) -> Result<Vec<Load>> {
    let MeshOptions { connections, seconds, .. } = *options;
    for work in Work::ALL {
        for pair in pairs.iter_mut() {
            pair.load(0, work, connections, WARM_UP)?;
        }
    }
    let mut loads = Vec::new();
    for turn in 0..options.turns as usize {
        let before = loads.len();
        for (number, work) in Work::ALL.into_iter().enumerate() {
            for step in 0..pairs.len() {
                // Another one begins each time.
                let index = (turn + number + step) % pairs.len();
                let pair = &mut pairs[index];
                let load = pair.load(turn, work, connections, seconds);
                loads.push(load.with_context(|| format!("{}, {}", work.name(), pair.way.name()))?);
            }
        }
        let errors: u64 = loads[before..].iter().map(|load| load.errors).sum();
        let share: f64 = loads[before..].iter().map(|load| load.cpu_share).sum::<f64>();
        let share = share / (loads.len() - before) as f64 * 100.0;
        progress
            .note(&format!("  turn {}: {errors} errors, the pods had {share:.0} % of their CPU", turn + 1));
    }
    Ok(loads)
}
