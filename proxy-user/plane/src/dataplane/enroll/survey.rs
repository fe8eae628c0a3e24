//! What is found out about a workload before the lock is taken: much of it is the pod's, files of its containers
//! included, and may take its time.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use proxy_common::{accel::Executable, policy::flag, workload::feature};
use proxy_core::exit::{Class, Failure};
use proxy_core::{
    compile::{Compiled, compile},
    network::Routes,
};

use crate::{
    cgroup::Cgroup,
    clock::monotonic_ns,
    dataplane::{
        acceleration::Plan,
        attach_options::AttachOptions,
        extras::Extras,
        guests::Guests,
        kept::Kept,
        known::Known,
        late_listeners,
        layout::layout,
        meta::Meta,
        observation::Observation,
        passthrough6::Passthrough6,
        pins::WorkloadPins,
        readers::{self, Readers, Trust},
        warning::Warning,
    },
    netns::{self, Netns},
};

/// A workload's network, its processes, and the rules that follow from both.
pub(super) struct Survey<'a> {
    pub(super) cookie: Option<u64>,
    pub(super) compiled: Compiled,
    pub(super) guests: Guests,
    pub(super) listeners: late_listeners::Found,
    /// The address goes again with this value unless it is kept.
    pub(super) passthrough6: Passthrough6<'a>,
    pub(super) extras: Extras,
    /// How the pod's programs read, as far as they could be looked into.
    pub(super) programs: Result<readers::Programs>,
    pub(super) readers: Readers<'a>,
    /// The programs that the user vouches for.
    pub(super) trusted: Vec<Executable>,
    pub(super) warnings: Vec<Warning>,
    ipv6: bool,
    routes: Routes,
    /// Seconds since the epoch.
    began: u64,
}

impl<'a> Survey<'a> {
    pub(super) fn of(
        known: &Known,
        pins: &WorkloadPins,
        netns: &'a Netns,
        cgroup: &Cgroup,
        options: &'a AttachOptions,
    ) -> Result<Self> {
        let AttachOptions { config, acceleration, observe, .. } = options;
        let plan = Plan::of(acceleration, known)?;
        let trusted = acceleration.trusted.iter().map(|path| trusted(path)).collect::<Result<Vec<_>>>()?;
        let interfaces = netns::interfaces(netns)?;
        let ipv6 = interfaces.enable_ipv6(config.dual_stack).ok_or_else(|| no_address(netns))?;
        let cookie = netns.cookie()?;
        let mut warnings = Warning::of_interfaces(config, &interfaces);
        warnings.extend(known.owners.clone().map(|why| Warning::OwnersRecorded { why }));
        let mut readers = Readers::new(config, &plan);
        let programs =
            if plan.is_on() { readers.in_cgroup(cgroup.path()) } else { Ok(readers::Programs::default()) };
        let added = Kept::read(pins).is_ok_and(|kept| kept.added_passthrough6);
        let passthrough6 = Passthrough6::ensure(netns, added, config, ipv6, &mut warnings)?;
        let routes = netns::routes(netns)?;
        let mut compiled = compile(config, ipv6, &interfaces, &routes);
        let guests = Guests::plan(netns, config, &interfaces, &mut warnings)?;
        if !guests.gateways.is_empty() {
            compiled.policy.flags |= flag::GUESTS;
        }
        let listeners = late_listeners::Found::of(netns, &compiled.policy)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let extras = Extras::new(acceleration.mode, plan, Observation::plan(*observe, known));
        Ok(Self {
            cookie,
            compiled,
            guests,
            listeners,
            passthrough6,
            extras,
            programs,
            readers,
            trusted,
            warnings,
            ipv6,
            routes,
            began: now.as_secs(),
        })
    }

    /// The workload's description. The slot, the tables and what depends on the extras are still open.
    pub(super) fn describe(&self, netns: &Netns, cgroup: &Cgroup, options: &AttachOptions) -> Meta {
        Meta {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            layout: layout(),
            netns: netns.id(),
            netns_path: netns.path().to_owned(),
            netns_cookie: self.cookie,
            cgroup_path: cgroup.path().to_owned(),
            cgroup_id: cgroup.id(),
            pod: options.pod.clone(),
            sandbox: options.sandbox.clone(),
            ipv6: self.ipv6,
            added_passthrough6: self.passthrough6.ours(),
            attached_at: self.began,
            config: options.config.clone(),
            acceleration: options.acceleration.clone(),
            not_accelerated: None,
            kernel_differs: self.extras.plan.findings.differs.clone(),
            hazardous: Vec::new(),
            observe: options.observe,
            not_observed: None,
            not_timed: None,
            not_guarded: None,
            slot: 0,
            number: number(),
            tables: 0,
            features: 0,
            policy_flags: 0,
            addresses: Vec::new(),
            interfaces: Vec::new(),
            routes: Vec::new(),
        }
        .with_rules(&self.compiled, &self.routes)
    }
}

impl Survey<'_> {
    /// Programs to which nothing is redirected.
    pub(super) fn hazardous(&self) -> Vec<readers::Hazardous> {
        let guards = self.extras.plan.guards();
        let named = |programs| Trust { programs, vouched: &self.trusted, guards }.named();
        self.programs.as_ref().map_or_else(|_| Vec::new(), named)
    }
}

/// Which programs a workload needs.
pub(super) fn features(compiled: &Compiled, extras: &Extras) -> u32 {
    let mut features = compiled.policy.flags & feature::OF_POLICY;
    for (bit, on) in [
        (feature::OBSERVE, extras.observed.is_on()),
        (feature::TIME, extras.times()),
        (feature::ACCELERATE, extras.plan.is_on()),
        (feature::GUARD, extras.plan.guards()),
    ] {
        features |= if on { bit } else { 0 };
    }
    features
}

/// The clock, in microseconds: it tells a workload from the one that had its slot before.
fn number() -> u32 {
    monotonic_ns().map_or(1, |now| ((now / 1000) as u32).max(1))
}

fn no_address(netns: &Netns) -> anyhow::Error {
    Failure::error(
        Class::Other,
        format!(
            "no valid local IP address found in {}: attach after the pod's interface is configured",
            netns.path().display()
        ),
    )
}

fn trusted(path: &Path) -> Result<Executable> {
    readers::program(path).map_err(|error| {
        Failure::error(
            Class::Usage,
            format!("--trust-program {}: {error:#}; name a program's file", path.display()),
        )
    })
}
