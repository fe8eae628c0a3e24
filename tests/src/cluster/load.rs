//! Requests from a pod that go on whatever becomes of the node's programs: whoever starts them goes, and they stay.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::Cluster;
use super::way::Way;

/// What it takes beyond its time to be read: kubectl goes through the API server and kubelet.
const READ_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Of those that are asked for as long as something takes.
const ONE_LOAD: Duration = Duration::from_secs(10);
const END: &str = "end of load";

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    cluster: Cluster,
    place: String,
    file: String,
    lasts: Duration,
    begun: Instant,
}

/// How its requests ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub answered: u64,
    pub failed: u64,
    /// In the words of the client.
    pub said: String,
}

impl Load {
    /// Two clients in the pod's container (`place` as for [`Cluster::exec`]), each request by a connection of its own, so
    /// that each is captured.
    pub fn start(cluster: &Cluster, place: &str, url: &str, lasts: Duration) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = format!("/tmp/load-{}-{number}", std::process::id());
        let seconds = lasts.as_secs();
        let script = format!(
            "(/bin/app -c 2 -p 20ms -k=false -d {seconds}s {url}; echo {END}) </dev/null >{file} 2>&1 &"
        );
        cluster.exec(place, &["sh", "-c", &script])?;
        Ok(Self { cluster: cluster.clone(), place: place.to_owned(), file, lasts, begun: Instant::now() })
    }

    /// Waits for its end.
    pub fn outcome(self) -> Result<Outcome> {
        thread::sleep(self.lasts.saturating_sub(self.begun.elapsed()));
        loop {
            let said = self.cluster.exec(&self.place, &["cat", &self.file]).unwrap_or_default();
            if let Some(said) = said.trim().strip_suffix(END) {
                return Outcome::read(said);
            }
            let late = self.begun.elapsed() > self.lasts + READ_WITHIN;
            ensure!(!late, "the load in {} does not end: {said}", self.place);
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Outcome {
    /// `ok 7 errors 0 rps …`, and a line for each kind of error.
    fn read(said: &str) -> Result<Self> {
        let words: Vec<&str> = said.split_whitespace().collect();
        let number = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1)?.parse().ok()
        };
        let unclear = || format!("the load client says {said}");
        let (answered, failed) =
            (number("ok").with_context(unclear)?, number("errors").with_context(unclear)?);
        ensure!(answered > 0, "no request was answered: {said}");
        Ok(Self { answered, failed, said: said.trim().to_owned() })
    }
}

/// The clients of both ways ask `url` while `change` is made; under iptables, and under sidestep.
pub fn ask_during(
    cluster: &Cluster,
    url: &str,
    change: impl FnOnce(&Cluster) -> Result<()>,
) -> Result<[Outcome; 2]> {
    let over = &AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = Way::ALL.map(|way| scope.spawn(move || ask_until(cluster, way, url, over)));
        let done = change(cluster);
        over.store(true, Ordering::Relaxed);
        let outcomes = asking.map(|asking| asking.join().map_err(|_| anyhow!("asking panicked")));
        done?;
        let [iptables, sidestep] = outcomes;
        Ok([iptables??, sidestep??])
    })
}

/// # Panics
/// When more of sidestep's requests failed.
pub fn assert_no_more_failed([iptables, sidestep]: &[Outcome; 2]) {
    println!("under iptables: {iptables:?}\nunder sidestep: {sidestep:?}");
    assert!(
        sidestep.failed <= iptables.failed,
        "{} requests failed under sidestep, {} under iptables: {}",
        sidestep.failed,
        iptables.failed,
        sidestep.said
    );
}

fn ask_until(cluster: &Cluster, way: Way, url: &str, over: &AtomicBool) -> Result<Outcome> {
    let client = format!("{}/client", way.namespace());
    let mut sum = Load::start(cluster, &client, url, ONE_LOAD)?.outcome()?;
    while !over.load(Ordering::Relaxed) {
        sum += Load::start(cluster, &client, url, ONE_LOAD)?.outcome()?;
    }
    Ok(sum)
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.said = format!("{}; {}", self.said, other.said);
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn what_the_client_prints_is_read() {
        let said = "ok 12 errors 3 rps 6 p50 1ms p99 2ms\n3 503 Service Unavailable\n";
        let read = Outcome::read(said).unwrap();
        assert_eq!((read.answered, read.failed), (12, 3));
        assert!(read.said.ends_with("Unavailable"));
        assert!(Outcome::read("ok 0 map[refused:7]\n").is_err());
        assert!(Outcome::read("ok 0 errors 2\n").is_err());
    }
}
