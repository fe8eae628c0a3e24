//! What is the node's and not a workload's: what the running kernel has, where things are in it, and what the self-test
//! found. Asked once, and kept with the pins, which go with the kernel they were made on.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use proxy_common::{accel::AccelKernel, flow::FlowKernel, names::map, wire::Kernel};
use serde::{Deserialize, Serialize};

use super::{
    blob, facts, node_pins,
    object::BUILD,
    offsets,
    pins::map_in,
    refused,
    self_test::{self, Findings},
    wire::{Plain, words},
};
use crate::kernel::version::KernelRelease;

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) kernel: Kernel,
    /// Socket owners are worse known than `xt_owner` knows them, and why.
    pub(super) owners: Option<String>,
    pub(super) accel: Result<(AccelKernel, Findings), String>,
    pub(super) flow: Result<FlowKernel, String>,
}

/// As it is pinned.
#[derive(Serialize, Deserialize)]
struct Pinned {
    version: String,
    build: u32,
    kernel: Vec<u32>,
    owners: Option<String>,
    accel: Result<(Vec<u32>, Findings), String>,
    flow: Result<Vec<u32>, String>,
}

impl Known {
    /// From the pins, if this build has left it there; None: nobody has.
    pub(super) fn pinned(node_dir: &Path) -> Option<Self> {
        if refused::pretends() {
            return None;
        }
        let path = map_in(node_dir, map::KNOWN);
        let pinned: Pinned = path.exists().then(|| blob::read(&path).ok())??;
        if pinned.version != env!("CARGO_PKG_VERSION") || pinned.build != BUILD {
            return None;
        }
        Some(Self {
            kernel: plain(&pinned.kernel)?,
            owners: pinned.owners,
            accel: match pinned.accel {
                Ok((kernel, findings)) => Ok((plain(&kernel)?, findings)),
                Err(reason) => Err(reason),
            },
            flow: match pinned.flow {
                Ok(kernel) => Ok(plain(&kernel)?),
                Err(reason) => Err(reason),
            },
        })
    }

    /// Asks the kernel: a tenth of a second.
    pub(super) fn ask() -> Result<Self> {
        let (kernel, owners) = facts::gather();
        let accel = KernelRelease::current()?
            .allows_acceleration()
            .and_then(|()| offsets::of_acceleration())
            .and_then(|kernel| match self_test::run(kernel) {
                Ok(findings) => Ok((kernel, findings)),
                Err(error) => Err(format!("self-test: {error:#}")),
            });
        Ok(Self { kernel, owners, accel, flow: offsets::of_observation()? })
    }

    /// The node's directory, made if it is not there, with this in it.
    pub(super) fn ensure_dir(&self) -> Result<PathBuf> {
        let dir = node_pins::ensure_dir()?;
        if Self::pinned(&dir).is_none() {
            self.pin(&dir)?;
        }
        Ok(dir)
    }

    /// Leaves it for those who come later.
    fn pin(&self, node_dir: &Path) -> Result<()> {
        if refused::pretends() {
            return Ok(());
        }
        let pinned = Pinned {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: BUILD,
            kernel: words(&self.kernel),
            owners: self.owners.clone(),
            accel: self
                .accel
                .as_ref()
                .map(|(kernel, found)| (words(kernel), found.clone()))
                .map_err(Clone::clone),
            flow: self.flow.as_ref().map(words).map_err(Clone::clone),
        };
        let path = map_in(node_dir, map::KNOWN);
        if path.exists() {
            std::fs::remove_file(&path).map_err(|error| anyhow!("remove {}: {error}", path.display()))?;
        }
        blob::pin(&pinned, map::KNOWN, &path)
    }

    /// For the programs; what is not known is zero.
    pub(super) fn accel_kernel(&self) -> AccelKernel {
        self.accel.as_ref().map_or(AccelKernel::UNKNOWN, |(kernel, _)| *kernel)
    }
}

fn plain<T: Plain>(words: &[u32]) -> Option<T> {
    super::wire::from_words(words)
}
