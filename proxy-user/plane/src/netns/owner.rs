//! The user namespace that a network namespace belongs to. A pod with `hostUsers: false` has one of its own, and what its
//! sidecar calls uid 1337 is another uid on the node. `xt_owner` of iptables maps by the same namespace.

use std::{
    fs::File,
    os::{fd::AsFd, unix::fs::MetadataExt},
};

use anyhow::{Context, Result};

use super::{IdMap, Netns};
use crate::sys;

/// Who the users and groups of a network namespace's owner are on the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnerMap {
    pub uids: IdMap,
    pub gids: IdMap,
}

impl Netns {
    /// By its user namespace. No process need be in either.
    pub fn owner_map(&self) -> Result<OwnerMap> {
        let of = || format!("the user namespace of the network namespace {}", self.path().display());
        let userns = File::from(sys::owning_userns::owning_userns(self.as_fd()).with_context(of)?);
        let ours = std::fs::metadata("/proc/self/ns/user").context("/proc/self/ns/user")?;
        let theirs = userns.metadata().with_context(of)?;
        if (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()) {
            return Ok(OwnerMap { uids: IdMap::identity(), gids: IdMap::identity() });
        }
        let child =
            sys::userns_child::Child::within(userns.as_fd()).with_context(|| format!("enter {}", of()))?;
        let map = |name| {
            let text = child.read(name).with_context(|| format!("{name} of {}", of()))?;
            IdMap::parse(&text).with_context(|| format!("{name} of {}: not three numbers a line", of()))
        };
        Ok(OwnerMap { uids: map("uid_map")?, gids: map("gid_map")? })
    }
}
