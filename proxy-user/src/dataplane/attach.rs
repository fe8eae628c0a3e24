//! Attach: one shot, idempotent, all or nothing.
//!
//! A first attach prepares everything in a directory of its own and renames it into place. A second one loads the
//! programs anew with the new configuration, and puts them into the existing links one by one: each connection meets
//! either the old rules or the new, and sockets keep what is remembered of them.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use proxy_common::{flow::FlowKernel, names::map, policy::flag};

use super::{
    acceleration::Acceleration,
    claim, compile,
    extras::Extras,
    facts,
    guests::Guests,
    hooks::Needs,
    job::Job,
    meta::Meta,
    node,
    object::Facts,
    observation::{self, Observation, Observe},
    passthrough6::Passthrough6,
    pins::WorkloadPins,
    privileges,
    readers::{self, Programs, Readers},
};
use crate::{
    cgroup::Cgroup,
    config::{Config, PodName},
    exit::{Class, Failure},
    kernel::feature::Feature,
    netns::{Interfaces, Netns, Routes},
};

/// What an attach did.
#[derive(Debug)]
pub struct Attached {
    pub pins: WorkloadPins,
    /// The workload was attached before and got new programs and configuration.
    pub updated: bool,
    /// What the user should know though it did not fail.
    pub warnings: Vec<String>,
}

/// How a workload is to be attached.
#[derive(Clone, Debug)]
pub struct Wish {
    pub config: Config,
    pub acceleration: Acceleration,
    pub observe: Observe,
    /// The pod it is, where somebody knows.
    pub pod: Option<PodName>,
}

/// Attaches one workload. On error everything is as before.
pub fn attach(netns: &Netns, cgroup: &Cgroup, wish: &Wish) -> Result<Attached> {
    let Wish { config, acceleration, observe, pod } = wish;
    privileges::check()?;
    let pins = WorkloadPins::new(netns, cgroup);
    let interfaces = Interfaces::of(netns)?;
    let ipv6 = interfaces.enable_ipv6(config.dual_stack).ok_or_else(|| no_address(netns))?;
    let cookie = netns.cookie()?;
    let (kernel, mut warnings) = facts::gather(cookie)?;
    warnings.extend(unknown_interfaces(config, &interfaces));
    warnings.extend(blind_to_interfaces(config));
    let plan = acceleration.plan()?;
    let trusted = acceleration.trusted.iter().map(|path| trusted(path)).collect::<Result<Vec<_>>>()?;

    // Before the lock: files of the containers are read.
    let mut readers = Readers::new(config, plan.findings.miscounts_waiting);
    let programs =
        if plan.kernel.is_some() { readers.in_cgroup(cgroup.path()) } else { Ok(Programs::default()) };

    let (root, _lock) = node::Lock::take_making_root()?;
    let undo_root = RemoveIfUnused(&root);
    claim::clear(&pins, cookie)?;
    let slot = node::slot_for(&pins)?;
    let observed = Observation::plan(*observe, &pins, slot)?;
    let mut extras = Extras::new(acceleration.mode, plan, observed);
    let passthrough6 = Passthrough6::ensure(netns, &pins, config, ipv6, &mut warnings)?;
    let routes = Routes::of(netns)?;
    let mut compiled = compile::compile(config, ipv6, &interfaces, &routes);
    let guests = Guests::plan(netns, config, &interfaces, &mut warnings)?;
    if !guests.gateways.is_empty() {
        compiled.policy.flags |= flag::GUESTS;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let mut meta = Meta {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        layout: Meta::LAYOUT,
        netns: netns.id(),
        netns_path: netns.path().to_owned(),
        netns_cookie: cookie,
        cgroup_path: cgroup.path().to_owned(),
        cgroup_id: cgroup.id(),
        pod: pod.clone(),
        ipv6,
        added_passthrough6: passthrough6.ours(),
        attached_at: now.as_secs(),
        config: config.clone(),
        acceleration: acceleration.clone(),
        not_accelerated: None,
        kernel_differs: extras.plan.findings.differs.clone(),
        hazardous: programs.as_ref().map_or_else(|_| Vec::new(), Programs::named),
        observe: *observe,
        not_observed: None,
        slot,
        addresses: routes.own_addresses(),
    };
    let node_dir = node::ensure_dir()?;
    let updated = pins.exists();
    let listeners = loop {
        meta.not_accelerated.clone_from(&extras.plan.reason);
        meta.not_observed.clone_from(&extras.observed.reason);
        let job = Job {
            pins: &pins,
            netns,
            cgroup,
            needs: Needs {
                owner_record: kernel.sk_socket == 0,
                accelerated: extras.plan.kernel.is_some(),
                observe: extras.observed.kernel.is_some(),
                ..Needs::of(config)
            },
            compiled: &compiled,
            guests: &guests,
            facts: Facts {
                kernel,
                accel: extras.plan.kernel_for(slot),
                flow: extras.observed.kernel.unwrap_or(FlowKernel::OFF),
            },
            meta: meta.to_chunks()?,
            node_dir: &node_dir,
            slot,
            moves_ports: moves_ports(&pins, config),
        };
        match if updated { job.update() } else { job.create() } {
            Ok(listeners) => break listeners,
            Err(error) => extras.without_cause_of(error)?,
        }
    };
    warnings.extend(extras.warnings());
    if listeners.1 > 0 {
        warnings.push(format!(
            "{} of {} sidecar listeners belong to processes not visible here; they are found when they listen again",
            listeners.1, listeners.0
        ));
    }
    passthrough6.keep();
    undo_root.keep();
    if extras.observed.kernel.is_some()
        && let Err(error) = observation::mark_listeners(netns, &node_dir)
    {
        warnings.push(format!(
            "flows of listeners that were there before do not name their process: {error:#}; run attach again"
        ));
    }
    let accelerated = (|| {
        if extras.plan.kernel.is_none() {
            return node::switch_off(&pins);
        }
        node::trust(&node_dir, &programs?, &trusted)?;
        readers.mark_listeners(netns, &compiled.policy, &node_dir, &trusted)?;
        node::switch_on(&node_dir, slot, acceleration.switch(), &meta.addresses)
    })();
    // Redirection never depends on acceleration: the workload is attached, its connections stay on the stack.
    if let Err(error) = accelerated {
        warnings.push(format!("redirected, but not accelerated: {error:#}; run attach again"));
        node::switch_off(&pins)?;
    }
    Ok(Attached { pins, updated, warnings })
}

/// Whether the sidecar listens elsewhere than under the rules in place.
fn moves_ports(pins: &WorkloadPins, config: &Config) -> bool {
    Meta::read(&pins.map(map::META)).is_ok_and(|old| old.config.ports != config.ports)
}

/// Removes the directory for all workloads again when the first attach fails.
struct RemoveIfUnused<'a>(&'a Path);

impl RemoveIfUnused<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for RemoveIfUnused<'_> {
    fn drop(&mut self) {
        if let Err(error) = node::remove_if_unused() {
            tracing::error!("the attach failed, and shared pins stay: {error:#}");
        }
        // Not empty as long as there are other workloads.
        let _ = fs::remove_dir(self.0);
    }
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

fn trusted(path: &std::path::Path) -> Result<proxy_common::accel::Executable> {
    readers::program(path).map_err(|error| {
        Failure::error(
            Class::Usage,
            format!("--trust-program {}: {error:#}; name a program's file", path.display()),
        )
    })
}

/// Rules about interfaces that this kernel cannot follow for what arrives.
fn blind_to_interfaces(config: &Config) -> Option<String> {
    let named: Vec<&str> =
        config.exclude_interfaces.iter().chain(&config.kube_virt_interfaces).map(String::as_str).collect();
    if named.is_empty() || Feature::IngressIfindex.probe().is_yes() {
        return None;
    }
    Some(format!(
        "rules about {} have no effect on inbound connections: the kernel does not say by which interface a connection \
         arrives, Linux {} does",
        named.join(", "),
        Feature::IngressIfindex.row().since
    ))
}

fn unknown_interfaces(config: &Config, interfaces: &Interfaces) -> Vec<String> {
    let named = config.exclude_interfaces.iter().chain(&config.kube_virt_interfaces);
    named
        .filter(|name| interfaces.index(name).is_none())
        .map(|name| {
            format!("interface {name} does not exist: rules about it take effect when attach runs again after it does")
        })
        .collect()
}
