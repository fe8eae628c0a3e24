//! Interfaces of virtual machines: tc programs that turn what a guest sends through the pod to the sidecar.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aya::Ebpf;
use proxy_common::{addr::Addr, guest::GuestGateway, names::program};

use super::{detach, object, pins};
use crate::{
    config::{CidrSet, Config, Mode},
    kernel::feature::{Answer, Feature},
    netns::{Interfaces, Netns, gateways},
    sys::{
        bpf_link::{self, AttachType},
        bpf_pin,
    },
};

/// What answers comes first.
const SIDES: [(&str, AttachType); 2] =
    [(program::GUEST_OUT, AttachType::TcxEgress), (program::GUEST_IN, AttachType::TcxIngress)];
const PREFIX: &str = "link_guest_";

/// The interfaces that get programs, by index.
#[derive(Debug, Default)]
pub(super) struct Guests {
    pub(super) gateways: BTreeMap<u32, GuestGateway>,
}

/// A link that was put somewhere, and how it was before.
pub(super) enum Placed {
    New(PathBuf),
    Updated(OwnedFd, OwnedFd),
}

impl Guests {
    /// Decides which interfaces get programs, and says which ones cannot.
    pub(super) fn plan(
        netns: &Netns,
        config: &Config,
        interfaces: &Interfaces,
        warnings: &mut Vec<String>,
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
            warnings.push(format!(
                "TCP connections that a virtual machine behind {} makes to others than the pod are not captured: {why}",
                config.kube_virt_interfaces.join(", ")
            ));
            return Ok(Self::default());
        }
        let addresses = gateways(netns)?;
        let mut found = BTreeMap::new();
        for name in &config.kube_virt_interfaces {
            let Some(index) = interfaces.index(name) else { continue };
            let of = addresses.get(name).copied().unwrap_or_default();
            if of.v4.is_none() && of.v6.is_none() {
                warnings.push(format!(
                    "interface {name} has no address: as under iptables, a virtual machine's captured connections \
                     are dropped there"
                ));
            }
            let v4 = of.v4.map_or(Addr::UNSPECIFIED, Addr::from);
            let v6 = of.v6.map_or(Addr::UNSPECIFIED, Addr::from);
            found.insert(index, GuestGateway { v4, v6 });
        }
        Ok(Self { gateways: found })
    }

    /// Puts the programs on every interface: new ones into links that are there.
    pub(super) fn place(
        &self,
        ebpf: &mut Ebpf,
        netns: &Netns,
        dir: &Path,
        placed: &mut Vec<Placed>,
    ) -> Result<()> {
        for index in self.gateways.keys() {
            for (program, kind) in SIDES {
                placed.push(place(ebpf, netns, *index, program, kind, dir)?);
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
                .any(|index| SIDES.iter().any(|(program, _)| *path == link(dir, program, *index)))
        });
        Ok(found)
    }
}

/// Takes every program off the interfaces again: what redirects before what answers.
pub(super) fn remove(dir: &Path) -> Result<()> {
    let mut found = links(dir)?;
    found.sort();
    found.iter().try_for_each(|path| detach::remove_link(path))
}

fn place(
    ebpf: &mut Ebpf,
    netns: &Netns,
    index: u32,
    program: &str,
    kind: AttachType,
    dir: &Path,
) -> Result<Placed> {
    let prog = object::load_program(ebpf, program)?;
    let path = link(dir, program, index);
    if path.exists() {
        let link = bpf_pin::open(&path).with_context(|| format!("open {}", path.display()))?;
        let old = bpf_link::program_id(link.as_fd()).and_then(bpf_link::program_by_id);
        match (bpf_link::update(link.as_fd(), prog), old) {
            (Ok(()), Ok(old)) => return Ok(Placed::Updated(link, old)),
            // The interface it was on is gone; this one has got its number.
            (Err(error), _) if error.raw_os_error() == Some(libc::ENOLINK) => {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
            (updated, old) => {
                updated.and(old.map(drop)).with_context(|| format!("update {}", path.display()))?;
            }
        }
    }
    let link = netns
        .within(|| Ok(bpf_link::create_on_interface(prog, index, kind)))?
        .with_context(|| format!("attach {program} to interface {index}"))?;
    bpf_pin::pin(link.as_fd(), &path).with_context(|| format!("pin {}", path.display()))?;
    Ok(Placed::New(path))
}

fn link(dir: &Path, program: &str, index: u32) -> PathBuf {
    pins::link_in(dir, &format!("{program}_{index}"))
}

fn links(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("list {}", dir.display())),
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)))
        .collect())
}
