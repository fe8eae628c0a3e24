//! `::6` on lo: there as long as the workload is attached and has IPv6 rules, and gone with it if it was our work.

use std::{fs, path::Path};

use anyhow::Result;
use proxy_core::{
    config::{Config, Mode},
    exit::{Class, Failure},
};

use super::{kept::Kept, warning::Warning};
use crate::netns::{Netns, NetnsId, PASSTHROUGH6, add_passthrough, remove_passthrough};

/// The address during an attach: dropped before [`Passthrough6::keep`], what this attach added goes again.
pub(super) struct Passthrough6<'a> {
    netns: &'a Netns,
    /// Added by this attach.
    added: bool,
    /// Added by this one or an earlier one.
    ours: bool,
}

impl<'a> Passthrough6<'a> {
    pub(super) fn ensure(
        netns: &'a Netns,
        earlier: bool,
        config: &Config,
        ipv6: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self> {
        let none = Self { netns, added: false, ours: earlier };
        if !ipv6 {
            return Ok(none);
        }
        match add_passthrough(netns) {
            Ok(added) => Ok(Self { netns, added, ours: earlier || added }),
            Err(error) if config.mode == Mode::Tproxy => Err(Failure::error(
                Class::Other,
                format!(
                    "TPROXY with IPv6 needs {PASSTHROUGH6} on lo: {error:#}; allow IPv6 on lo \
                     (net.ipv6.conf.lo.disable_ipv6=0) or use REDIRECT"
                ),
            )),
            Err(error) => {
                warnings.push(Warning::NoPassthrough6 { why: format!("{error:#}") });
                Ok(none)
            }
        }
    }

    pub(super) fn ours(&self) -> bool {
        self.ours
    }

    /// The attach has gone well.
    pub(super) fn keep(&mut self) {
        self.added = false;
    }
}

impl Drop for Passthrough6<'_> {
    fn drop(&mut self) {
        if self.added
            && let Err(error) = remove_passthrough(self.netns)
        {
            tracing::error!("the attach failed, and {PASSTHROUGH6} stays on lo: {error:#}");
        }
    }
}

/// Takes it away from the workload's namespace, if that is still there.
pub(super) fn remove(kept: &Kept) -> Result<()> {
    match find(&kept.netns_path, kept.netns) {
        Some(netns) => remove_passthrough(&netns),
        None => Ok(()),
    }
}

/// The namespace by the path it was attached under, or through a process in it.
pub(super) fn find(path: &Path, id: NetnsId) -> Option<Netns> {
    let open = |path: &Path| Netns::open(path).ok().filter(|netns| netns.id() == id);
    open(path).or_else(|| {
        let processes = fs::read_dir("/proc").ok()?;
        processes.filter_map(Result::ok).find_map(|entry| open(&entry.path().join("ns/net")))
    })
}
