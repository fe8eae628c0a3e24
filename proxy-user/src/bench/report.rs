//! What came out.

use serde::Serialize;

use crate::sheet::Sheet;

use super::{load::Exchanged, plane::Mode};

#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    mode: Mode,
    connections: u32,
    round: u32,
    #[serde(flatten)]
    exchanged: Exchanged,
    /// Messages through the sockmap.
    redirected: u64,
}

impl Run {
    pub(super) fn new(mode: Mode, connections: u32, round: u32, run: (Exchanged, u64)) -> Self {
        Self { mode, connections, round, exchanged: run.0, redirected: run.1 }
    }
}

#[derive(Debug, Serialize)]
pub struct Report {
    schema: u32,
    kernel: String,
    load_average: String,
    cpu: usize,
    message_bytes: u32,
    seconds: u32,
    runs: Vec<Run>,
}

impl Report {
    pub(super) fn of(message_bytes: u32, seconds: u32, cpu: usize, runs: Vec<Run>) -> Self {
        let file = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let kernel = file("/proc/sys/kernel/osrelease");
        Self { schema: 1, kernel, load_average: file("/proc/loadavg"), cpu, message_bytes, seconds, runs }
    }

    /// Medians, and requests per second relative to iptables (without it: to no redirection).
    pub fn table(&self) -> String {
        let mut table =
            Sheet::new(&["CONNECTIONS", "MODE", "EXCHANGES/S", "RATIO", "P50 US", "P99 US", "REDIRECTED"]);
        let mut connections: Vec<u32> = self.runs.iter().map(|run| run.connections).collect();
        connections.dedup();
        for count in connections {
            for mode in [Mode::None, Mode::Iptables, Mode::SidestepNoaccel, Mode::Sidestep] {
                let runs =
                    || self.runs.iter().filter(move |run| (run.mode, run.connections) == (mode, count));
                let of = |value: fn(&Run) -> f64| median(runs().map(value).collect());
                let Some(rate) = of(|run| run.exchanged.per_second) else { continue };
                let redirected: u64 = runs().map(|run| run.redirected).sum();
                table.add([
                    count.to_string(),
                    mode.name().to_owned(),
                    format!("{rate:.0}"),
                    self.ratio(mode, count).unwrap_or_default(),
                    format!("{:.1}", of(|run| run.exchanged.p50_us).unwrap_or(f64::NAN)),
                    format!("{:.1}", of(|run| run.exchanged.p99_us).unwrap_or(f64::NAN)),
                    redirected.to_string(),
                ]);
            }
        }
        format!(
            "{table}\nLinux {}, CPU {}, load average {}; messages of {} bytes, there and back through the relay",
            self.kernel, self.cpu, self.load_average, self.message_bytes
        )
    }

    fn ratio(&self, mode: Mode, connections: u32) -> Option<String> {
        let has_iptables = self.runs.iter().any(|run| run.mode == Mode::Iptables);
        let base = if has_iptables { Mode::Iptables } else { Mode::None };
        let rates = |mode| {
            let runs = self.runs.iter().filter(move |run| (run.mode, run.connections) == (mode, connections));
            runs.map(|run| (run.round, run.exchanged.per_second))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        let (rates, base) = (rates(mode), rates(base));
        let ratios: Vec<f64> =
            rates.iter().filter_map(|(round, rate)| Some(rate / base.get(round)?)).collect();
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(0.0, f64::max);
        Some(format!("{:.2} ({low:.2} to {high:.2})", median(ratios)?))
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_value() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![]), None);
    }
}
