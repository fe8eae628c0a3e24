//! Interfaces of virtual machines: tc programs that turn what a guest sends through the pod to the sidecar.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use proxy_common::{
    addr::Addr,
    guest::{FLOWS, GuestFlow, GuestGateway, GuestKey, InterfaceKey},
    names::{map, program},
    wire::ConnectionKey,
};
use proxy_core::config::{CidrSet, Config, Mode};
use proxy_core::network::Interfaces;

use super::{
    patience::patiently,
    pins::{self, map_in, open_map},
    stub,
    undo::Undo,
    warning::Warning,
    wire::bytes,
};
use crate::{
    cgroup::OutsideLimits,
    kernel::feature::{Answer, Feature},
    netns::{Netns, gateways},
    sys::{
        bpf_link::{self, AttachType},
        bpf_map_create, bpf_map_elem, bpf_pin,
    },
};

/// What answers comes first.
const SIDES: [(&str, AttachType, stub::Kind); 2] = [
    (program::GUEST_OUT, AttachType::TcxEgress, stub::Kind::GuestOut),
    (program::GUEST_IN, AttachType::TcxIngress, stub::Kind::GuestIn),
];
const PREFIX: &str = "link_guest_";

/// What is remembered of flows: names of the maps, sizes of key and value.
const OF_FLOWS: [(&str, usize, usize); 2] = [
    (map::GUEST_FLOWS, size_of::<GuestKey>(), size_of::<GuestFlow>()),
    (map::GUEST_PORTS, size_of::<ConnectionKey>(), size_of::<[u8; 4]>()),
];

/// The interfaces that get programs, by index.
#[derive(Debug, Default)]
pub(super) struct Guests {
    pub(super) gateways: BTreeMap<u32, GuestGateway>,
}

impl Guests {
    /// Decides which interfaces get programs, and says which ones cannot.
    pub(super) fn plan(
        netns: &Netns,
        config: &Config,
        interfaces: &Interfaces,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self> {
        let captures = match &config.outbound_include {
            CidrSet::All => true,
            CidrSet::List(nets) => !nets.is_empty(),
        };
        if config.kube_virt_interfaces.is_empty() || !captures {
            return Ok(Self::default());
        }
        let why = if config.mode == Mode::Tproxy {
            Some("in TPROXY mode only what is sent to the pod's own addresses is".to_owned())
        } else if let Answer::No(detail) = Feature::Tcx.probe() {
            Some(format!("no tcx links ({detail}), Linux {} has them", Feature::Tcx.row().since))
        } else {
            None
        };
        if let Some(why) = why {
            let interfaces = config.kube_virt_interfaces.clone();
            warnings.push(Warning::GuestsNotCaptured { interfaces, why });
            return Ok(Self::default());
        }
        let addresses = gateways(netns)?;
        let mut found = BTreeMap::new();
        for name in &config.kube_virt_interfaces {
            let Some(index) = interfaces.index(name) else { continue };
            let of = addresses.get(name).copied().unwrap_or_default();
            if of.v4.is_none() && of.v6.is_none() {
                warnings.push(Warning::GuestWithoutAddress { interface: name.clone() });
            }
            let v4 = of.v4.map_or(Addr::UNSPECIFIED, Addr::from);
            let v6 = of.v6.map_or(Addr::UNSPECIFIED, Addr::from);
            found.insert(index, GuestGateway { v4, v6 });
        }
        Ok(Self { gateways: found })
    }

    /// Puts the workload's own small programs on every interface, which pass on to the node's. Links that are there
    /// stay as they are: what they pass on to is another entry of a table.
    pub(super) fn attach<'a>(&self, owner: &Owner<'a>, undo: &mut Undo<'a>) -> Result<()> {
        make_room(owner.node_dir, owner.slot, undo)?;
        let gateways = open_map(owner.node_dir, map::GUEST_GATEWAYS)?;
        for (index, gateway) in &self.gateways {
            let key = InterfaceKey { slot: owner.slot, index: *index };
            patiently(|| bpf_map_elem::update(gateways.as_fd(), bytes(&key), bytes(gateway), 0))
                .with_context(|| format!("store the addresses of interface {index}"))?;
        }
        for index in self.gateways.keys() {
            for (program, kind, stub) in SIDES {
                attach(owner, *index, program, kind, stub, undo)?;
            }
        }
        Ok(())
    }

    /// Links on interfaces that no longer get programs.
    pub(super) fn unneeded(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let mut found = links(dir)?;
        found.retain(|path| {
            !self
                .gateways
                .keys()
                .any(|index| SIDES.iter().any(|(program, ..)| *path == link(dir, program, *index)))
        });
        Ok(found)
    }
}

/// Takes every program off the interfaces again: what redirects before what answers.
pub(super) fn remove(dir: &Path) -> Result<()> {
    let mut found = links(dir)?;
    found.sort();
    found.iter().try_for_each(|path| pins::remove_link(path))
}

/// Makes the workload's own maps of flows, unless it has them: its guests' connections stay over an update.
fn make_room<'a>(node_dir: &'a Path, slot: u32, undo: &mut Undo<'a>) -> Result<()> {
    for (name, key_size, value_size) in OF_FLOWS {
        let by_slot = open_map(node_dir, name)?;
        let mut id = [0; 4];
        if bpf_map_elem::lookup(by_slot.as_fd(), &slot.to_ne_bytes(), &mut id)
            .with_context(|| format!("look into {name}"))?
        {
            continue;
        }
        let _uncharged = OutsideLimits::enter();
        let own = bpf_map_create::lru_hash(name, key_size as u32, value_size as u32, FLOWS)
            .with_context(|| format!("create the workload's own {name}"))?;
        bpf_map_elem::set_fd(by_slot.as_fd(), slot, own.as_fd())
            .with_context(|| format!("put the workload's own map into {name}"))?;
        undo.push(format!("its map in {name}"), move || {
            bpf_map_elem::clear(by_slot.as_fd(), slot).map(drop).context("take its map out")
        });
    }
    Ok(())
}

/// Lets go of the workload's maps of flows.
pub(super) fn forget_flows(node_dir: &Path, slot: u32) -> Result<()> {
    for (name, ..) in OF_FLOWS {
        if map_in(node_dir, name).exists() {
            bpf_map_elem::clear(open_map(node_dir, name)?.as_fd(), slot)
                .with_context(|| format!("forget the workload's own {name}"))?;
        }
    }
    Ok(())
}

/// Forgets the addresses of interfaces.
pub(super) fn forget(node_dir: &Path, slot: u32, interfaces: impl Iterator<Item = u32>) -> Result<()> {
    if !map_in(node_dir, map::GUEST_GATEWAYS).exists() {
        return Ok(());
    }
    let gateways = open_map(node_dir, map::GUEST_GATEWAYS)?;
    for index in interfaces {
        bpf_map_elem::delete(gateways.as_fd(), bytes(&InterfaceKey { slot, index }))
            .context("forget the addresses of an interface")?;
    }
    Ok(())
}

/// The workload whose programs are attached.
pub(super) struct Owner<'a> {
    pub(super) netns: &'a Netns,
    pub(super) node_dir: &'a Path,
    /// Where its links are pinned.
    pub(super) dir: &'a Path,
    pub(super) slot: u32,
}

fn attach<'a>(
    owner: &Owner<'a>,
    index: u32,
    program: &str,
    kind: AttachType,
    own: stub::Kind,
    undo: &mut Undo<'a>,
) -> Result<()> {
    let path = link(owner.dir, program, index);
    if path.exists() {
        let link = bpf_pin::open(&path).with_context(|| format!("open {}", path.display()))?;
        if bpf_link::is_attached(link.as_fd()).with_context(|| format!("look at {}", path.display()))? {
            return Ok(());
        }
        // The interface it was on is gone; this one has got its number.
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    let own = stub::load(own, owner.node_dir, owner.slot)?;
    let link = owner
        .netns
        .within(|| Ok(bpf_link::create_on_interface(own.as_fd(), index, kind)))?
        .with_context(|| format!("attach {program} to interface {index}"))?;
    bpf_pin::pin(link.as_fd(), &path).with_context(|| format!("pin {}", path.display()))?;
    undo.push(format!("the link {}", path.display()), move || pins::remove_link(&path));
    Ok(())
}

fn link(dir: &Path, program: &str, index: u32) -> PathBuf {
    pins::link_in(dir, &format!("{program}_{index}"))
}

fn links(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = pins::entries(dir)?;
    found.retain(|path| pins::name_of(path).is_some_and(|name| name.starts_with(PREFIX)));
    Ok(found)
}
