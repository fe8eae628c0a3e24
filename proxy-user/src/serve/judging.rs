//! Programs that start after their workload was attached: the BPF programs ask for a look when one of them listens or
//! connects. What it does from then on is redirected if it is found safe.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::pending,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use proxy_plane::dataplane::{Asked, Asks, Claim, Judge, Judged, WorkloadPins, tenants};
use tokio::{
    io::unix::AsyncFd,
    task::spawn_blocking,
    time::{sleep, sleep_until},
};

/// How often whether there is a ring to read, or still the same one.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// A program that asks loads libraries for a while. It is looked at now, and this long after each look.
const AGAIN: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(15), Duration::from_secs(60)];

/// Of its time, looking at one workload takes no more than a tenth: what a pod has to be read holds up no other's for long.
const REST: u32 = 10;

/// Between workloads that have asked at once.
const APART: Duration = Duration::from_millis(50);

/// For as long as it is polled.
pub(super) async fn follow() -> Infallible {
    loop {
        match claim() {
            Ok(Some(mut answering)) => match answering.answer().await {
                Ok(Ended::Gone) => {}
                Ok(Ended::Hidden) => {
                    drop(answering);
                    tracing::info!(
                        "the processes of pods are not visible here (hostPID): nothing is redirected to programs that \
                         start after their pod was captured, but to sidecars"
                    );
                    pending::<()>().await;
                }
                Err(error) => tracing::warn!("programs are not looked at: {error:#}"),
            },
            Ok(None) => {}
            Err(error) => tracing::debug!("programs are not looked at yet: {error:#}"),
        }
        sleep(ASK_EVERY).await;
    }
}

/// None: nothing is attached, or another process answers.
#[expect(
    deprecated,
    reason = "the other way to make it is unsafe; the ring has one descriptor as long as it lives"
)]
fn claim() -> Result<Option<Answering>> {
    let Claim::Granted(asks) = Asks::claim()? else { return Ok(None) };
    let ring = AsyncFd::new(asks).context("wait for who asks")?;
    let mut answering = Answering { ring, judge: Some(Judge::open()?), due: BTreeMap::new() };
    let asked = answering.ring.get_mut().drain();
    answering.asked(&asked)?;
    Ok(Some(answering))
}

/// Why it is over.
enum Ended {
    /// The ring is not the node's any more.
    Gone,
    /// No process can be looked at from here.
    Hidden,
}

struct Answering {
    ring: AsyncFd<Asks>,
    /// None: it is looking.
    judge: Option<Judge>,
    due: BTreeMap<u64, Due>,
}

/// A workload that is to be looked at.
struct Due {
    workload: WorkloadPins,
    at: Instant,
    /// Not before.
    rested: Instant,
    /// How often it was, since it asked.
    looks: usize,
}

impl Due {
    fn new(workload: &WorkloadPins, at: Instant) -> Self {
        Self { workload: workload.clone(), at, rested: at, looks: 0 }
    }
}

impl Answering {
    async fn answer(&mut self) -> Result<Ended> {
        let mut current_until = Instant::now() + ASK_EVERY;
        loop {
            let next =
                self.due.iter().filter(|(_, due)| due.looks <= AGAIN.len()).min_by_key(|(_, due)| due.at);
            let (tenancy, at) = next.map_or((None, current_until), |(tenancy, due)| (Some(*tenancy), due.at));
            tokio::select! {
                ready = self.ring.readable_mut() => {
                    let mut ready = ready?;
                    let asked = ready.get_inner_mut().drain();
                    ready.clear_ready();
                    self.asked(&asked)?;
                }
                () = sleep_until(at.min(current_until).into()) => {
                    if let Some(tenancy) = tenancy.filter(|_| at <= Instant::now())
                        && self.look(tenancy).await? == Judged::Hidden
                    {
                        return Ok(Ended::Hidden);
                    }
                    if current_until <= Instant::now() {
                        if !self.ring.get_ref().is_current() {
                            return Ok(Ended::Gone);
                        }
                        current_until = Instant::now() + ASK_EVERY;
                    }
                }
            }
        }
    }

    /// Each has its turn as soon as it has rested; where some may have asked in vain, all have one.
    fn asked(&mut self, asked: &Asked) -> Result<()> {
        let there = tenants()?;
        self.due.retain(|tenancy, _| there.contains_key(tenancy));
        if let Some(judge) = &mut self.judge {
            judge.keep(|tenancy| there.contains_key(&tenancy));
        }
        let turns = there.iter().filter(|(tenancy, _)| asked.was_full || asked.tenancies.contains(tenancy));
        for (place, (tenancy, workload)) in (0..).zip(turns) {
            let now = Instant::now() + APART * place;
            let due = self.due.entry(*tenancy).or_insert_with(|| Due::new(workload, now));
            (due.at, due.looks) = (due.rested.max(now), 0);
        }
        Ok(())
    }

    async fn look(&mut self, tenancy: u64) -> Result<Judged> {
        let Some(due) = self.due.get(&tenancy) else { return Ok(Judged::Same) };
        let (workload, began) = (due.workload.clone(), Instant::now());
        let mut judge = self.judge.take().context("a look was given up")?;
        let (judge, judged) = spawn_blocking(move || {
            let judged = judge.look(tenancy, &workload);
            (judge, judged)
        })
        .await?;
        self.judge = Some(judge);
        let Some(due) = self.due.get_mut(&tenancy) else { return Ok(Judged::Same) };
        due.rested = Instant::now() + began.elapsed() * REST;
        due.at = due.rested.max(Instant::now() + AGAIN.get(due.looks).copied().unwrap_or_default());
        due.looks += 1;
        match judged {
            Ok(Judged::Learnt { safe, hazardous }) => {
                tracing::debug!(
                    workload = due.workload.name(),
                    "its programs were looked at: {safe} may be redirected to, {hazardous} not"
                );
                Ok(Judged::Same)
            }
            Ok(judged) => Ok(judged),
            // It may have gone, or be another version's.
            Err(error) => {
                tracing::debug!(workload = due.workload.name(), "its programs were not looked at: {error:#}");
                Ok(Judged::Same)
            }
        }
    }
}
