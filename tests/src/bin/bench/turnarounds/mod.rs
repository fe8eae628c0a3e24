//! `bench turnarounds`: what is told of how long answers take, beside what Envoy's access log has of the same requests, and
//! an application that is known to wait.
//!
//! One request in fifteen waits ten times as long as the others, so that the median is of the one kind and p99 of the other.
//! A connection carries so few that all are measured.

mod report;

use std::time::Duration;

use ::tests::accelerated::Accelerated;
use ::tests::any_reader::ANY_READER;
use ::tests::envoy_config::{Forward, SidecarConfig};
use ::tests::network::Network;
use ::tests::requirement::Requirement;
use ::tests::sidecar::{Kind, Logged, Sidecar};
use ::tests::turnarounds::{Seen, answerer_of, ask};
use ::tests::wait::until;
use anyhow::{Context, Result, bail, ensure};

use crate::machine::{self, Machine};
use crate::options::TurnaroundOptions;
use crate::own_bpffs;
use crate::progress::Progress;
use report::{Compared, Quantiles, Report};

const WAITS_MS: [u64; 15] = [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 50];
const LOGGED_WITHIN: Duration = Duration::from_secs(30);

/// False when `--check` was said and a figure is missed.
pub(crate) fn run(options: &TurnaroundOptions) -> Result<bool> {
    for need in [
        Requirement::Root,
        Requirement::Cgroup2,
        Requirement::Envoy,
        Requirement::Sidestep,
        Requirement::Observation,
        Requirement::Acceleration,
    ] {
        if let Some(why) = need.missing() {
            bail!(why);
        }
    }
    own_bpffs::mount_over()?;
    let progress = Progress::start();
    let mut machine = Machine::look()?;
    let mut compared = Vec::new();
    for (forward, over) in [(Forward::Localhost, "lo"), (Forward::Passthrough, "eth0")] {
        for (mode, path) in [(ANY_READER, "redirected"), ("off", "stacked")] {
            progress.note(&format!("forwarded over {over}, {path}: {} requests", options.requests()));
            let lines = measure(forward, mode, options.connections);
            let lines = lines.with_context(|| format!("forwarded over {over}, {path}"))?;
            compared.extend(lines.into_iter().map(|line| Compared { over, path, ..line }));
        }
    }
    machine.load_after = machine::load();
    let report = Report { schema: 1, machine, requests: options.requests(), compared };
    report.write(&options.out)?;
    println!("{}", report.markdown());
    progress.note(&format!("written to {}", options.out.display()));
    Ok(!options.check || report.met())
}

impl TurnaroundOptions {
    fn requests(&self) -> u64 {
        u64::from(self.connections) * WAITS_MS.len() as u64
    }
}

fn measure(forward: Forward, mode: &str, connections: u32) -> Result<Vec<Compared>> {
    let network = Network::with_own_addresses("bench-turns")?;
    let mode = Accelerated::new(mode);
    let _attached = [mode.capture(&network.pod)?, mode.attach(&network.outside)?];
    let config = SidecarConfig::new(forward, &[8080]).http();
    let sidecar = Sidecar::start_kind(Kind::Envoy, &network.pod, &config)?;
    let at = match forward {
        Forward::Localhost => "127.0.0.1:8080".parse()?,
        Forward::Passthrough => network.pod4(8080),
    };
    // Envoy keeps its connections for other requests.
    let _app = answerer_of(&network.pod, at, WAITS_MS.len() as u32)?;
    let waits = WAITS_MS.map(|ms| ms.to_string()).join(",");
    for _ in 0..connections {
        ask(&network.outside, network.pod4(8080), &["--wait-ms", &waits, "--requests", "1"])?;
    }
    let all = connections as usize * WAITS_MS.len();
    until("all requests are logged", LOGGED_WITHIN, || sidecar.logged().len() >= all);
    let lines = sidecar.logged();
    let logged = |of: fn(&Logged) -> Option<u64>| lines.iter().filter_map(of).collect::<Vec<_>>();
    let waited = WAITS_MS.iter().map(|ms| ms * 1000).cycle().take(all).collect();
    let seen = Seen::now()?;
    [
        ("inbound", "server", "Envoy's DS_RX_END:DS_TX_BEG", logged(|line| line.downstream_us)),
        ("inner", "client", "Envoy's US_TX_END:US_RX_BEG", logged(|line| line.upstream_us)),
        ("inner", "server", "what the application waits", waited),
    ]
    .into_iter()
    .map(|(hop, end, beside, known)| {
        ensure!(known.len() == all, "{} of {all} requests have {beside}", known.len());
        let told = seen.of(&network.pod, hop, end)?;
        ensure!(told.count == all as u64, "{hop}, {end}: {} of {all} requests were counted", told.count);
        let told = Quantiles { p50_us: told.p50, p99_us: told.p99 };
        Ok(Compared { over: "", path: "", hop, end, told, beside, known: Quantiles::of(known) })
    })
    .collect()
}
