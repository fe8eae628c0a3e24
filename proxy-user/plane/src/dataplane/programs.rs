//! The programs of the node: loaded once for a set of features, pinned, and linked to every workload that wants them.

use std::{
    collections::HashMap,
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, anyhow};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use proxy_common::{
    flow::FlowKernel,
    names::{global, map, program},
    policy::flag,
    workload::feature,
};

use super::{
    hooks::{HOOKS, Needs},
    known::Known,
    object::{self, BUILD, OBJECT},
    observation,
    pins::{self, map_in},
    refused::{self, Refused, Step},
    wire::Raw,
};
use crate::{
    cgroup::OutsideLimits,
    sys::{bpf_attach, bpf_map_elem, bpf_pin},
};

/// Names of features, for pins.
const NAMES: [(u32, &str); 8] = [
    (flag::IPV6, "ipv6"),
    (flag::DNS, "dns"),
    (flag::TPROXY, "tproxy"),
    (flag::GUESTS, "guests"),
    (feature::OBSERVE, "observe"),
    (feature::TIME, "time"),
    (feature::ACCELERATE, "accelerate"),
    (feature::GUARD, "guard"),
];

/// Those of one set of features.
pub(super) struct Programs(HashMap<&'static str, OwnedFd>);

impl Programs {
    /// Opens them, or loads them first.
    pub(super) fn ensure(root: &Path, node_dir: &Path, known: &Known, features: u32) -> Result<Self> {
        for name in all(known, features) {
            refused::pretended(name).map_err(|error| Refused::to(Step::Load, name, error))?;
        }
        let dir = dir_of(node_dir, features);
        if dir.is_dir() {
            tracing::info!("the node has the programs: {}", dir.display());
        } else {
            let begun = Instant::now();
            load(root, node_dir, &dir, known, features)?;
            tracing::info!("loaded the programs in {} ms: {}", begun.elapsed().as_millis(), dir.display());
        }
        let open = |name: &'static str| {
            let path = pins::program_in(&dir, name);
            Ok((name, bpf_pin::open(&path).with_context(|| format!("open {}", path.display()))?))
        };
        Ok(Self(wanted(known, features).map(open).collect::<Result<_>>()?))
    }

    pub(super) fn get(&self, name: &str) -> Result<BorrowedFd<'_>> {
        self.0.get(name).map(AsFd::as_fd).with_context(|| format!("no program {name} is loaded"))
    }
}

fn dir_of(node_dir: &Path, features: u32) -> PathBuf {
    let mut name = format!("programs_{BUILD:08x}");
    for (_, word) in NAMES.iter().filter(|(bit, _)| features & bit != 0) {
        name.push('_');
        name.push_str(word);
    }
    node_dir.join(name)
}

/// What hangs on workloads.
fn wanted(known: &Known, features: u32) -> impl Iterator<Item = &'static str> {
    let needs = Needs::of_features(features, known.kernel.sk_socket == 0);
    let guests = [program::GUEST_IN, program::GUEST_OUT];
    HOOKS
        .iter()
        .filter(move |hook| hook.is_needed(needs))
        .map(|hook| hook.program)
        .chain(guests.into_iter().filter(move |_| features & flag::GUESTS != 0))
}

/// The same, and what is the node's alone.
fn all(known: &Known, features: u32) -> impl Iterator<Item = &'static str> {
    let of = |bit: u32, names: [&'static str; 2]| names.into_iter().filter(move |_| features & bit != 0);
    wanted(known, features)
        .chain(of(feature::ACCELERATE, [program::REDIRECT, program::DISPATCH]))
        .chain(of(feature::OBSERVE, [program::FLOW_LIST, program::FLOW_SUM]))
}

/// Loads and pins them; what of them is the node's alone is put in its place.
fn load(root: &Path, node_dir: &Path, dir: &Path, known: &Known, features: u32) -> Result<()> {
    let _uncharged = OutsideLimits::enter();
    let mut ebpf = maps_and_programs(root, node_dir, known, features)?;
    let mut new = dir.as_os_str().to_owned();
    new.push("_new");
    let new = PathBuf::from(new);
    // Of an attach that was killed halfway.
    pins::remove(&new)?;
    fs::create_dir(&new).with_context(|| format!("create {}", new.display()))?;
    let loaded = (|| {
        if features & feature::ACCELERATE != 0 {
            accelerate(&mut ebpf, node_dir)?;
        }
        if features & feature::OBSERVE != 0 {
            observation::install(&mut ebpf, node_dir)?;
        }
        for name in wanted(known, features) {
            let program = object::load_program(&mut ebpf, name)?;
            let path = pins::program_in(&new, name);
            bpf_pin::pin(program, &path).with_context(|| format!("pin {}", path.display()))?;
        }
        fs::rename(&new, dir).with_context(|| format!("rename to {}", dir.display()))
    })();
    if loaded.is_err() {
        pins::remove(&new)?;
    }
    loaded
}

/// Puts this build's program in the place of the one that runs, for live sockets too.
fn accelerate(ebpf: &mut Ebpf, node_dir: &Path) -> Result<()> {
    let table = pins::open_map(node_dir, map::DISPATCH)?;
    let redirect = object::load_program(ebpf, program::REDIRECT)?;
    bpf_map_elem::set_fd(table.as_fd(), 0, redirect).context("install the sk_msg program")?;
    let sockets = pins::open_map(node_dir, map::SOCKS)?;
    let dispatch = object::load_program(ebpf, program::DISPATCH)?;
    // Who frees the map takes what waits at its sockets from them (`net/core/sock_map.c: sock_hash_free`): it stays until the
    // last of them, which has this program, is closed.
    bpf_attach::keep_map(dispatch, sockets.as_fd()).context("bind the sockets' map to the sk_msg program")?;
    bpf_attach::sk_msg_verdict(dispatch, sockets.as_fd()).context("attach the sk_msg program")?;
    // For the end: only who has the program can take it from the map.
    let pin = pins::program_in(node_dir, program::DISPATCH);
    match fs::remove_file(&pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("replace a pin"),
        _ => bpf_pin::pin(dispatch, &pin).with_context(|| format!("pin {}", pin.display())),
    }
}

fn maps_and_programs(root: &Path, node_dir: &Path, known: &Known, features: u32) -> Result<Ebpf> {
    let (kernel, accel) = (Raw(known.kernel), Raw(known.accel_kernel()));
    let flow = Raw(known.flow.clone().unwrap_or(FlowKernel::OFF));
    let slots = pins::slots_dir(root);
    fs::create_dir_all(&slots).with_context(|| format!("create {}", slots.display()))?;
    // It reads the kernel's type information by itself.
    let mut loader = EbpfLoader::new();
    loader
        .verifier_log_level(VerifierLogLevel::STATS)
        .override_global(global::FEATURES, &features, true)
        .override_global(global::KERNEL, &kernel, true)
        .override_global(global::ACCEL, &accel, true)
        .override_global(global::FLOW, &flow, true)
        .map_pin_path(map::SLOT, map_in(&slots, map::SLOT));
    for name in map::NODE {
        loader.map_pin_path(name, map_in(node_dir, name));
    }
    let guests = features & flag::GUESTS != 0;
    for name in map::GUESTS {
        if guests {
            loader.map_pin_path(name, map_in(node_dir, name));
        } else {
            loader.map_max_entries(name, 1);
        }
    }
    loader.load(OBJECT).context("create the BPF maps")
}

/// Removes what other builds have pinned here, once no workload runs it.
pub(super) fn remove_other_builds(node_dir: &Path, in_use: impl Fn(u32) -> bool) -> Result<()> {
    for path in pins::entries(node_dir)? {
        let Some(name) = pins::name_of(&path) else { continue };
        let Some(build) = name.strip_prefix("programs_").and_then(|rest| rest.get(..8)) else { continue };
        let build = u32::from_str_radix(build, 16).map_err(|_| anyhow!("{name}: no build's number"))?;
        if build != BUILD && !in_use(build) {
            pins::remove(&path)?;
        }
    }
    Ok(())
}
