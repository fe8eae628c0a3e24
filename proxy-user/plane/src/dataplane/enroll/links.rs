//! How programs get to a workload: by links to its cgroup, its namespace and the interfaces of its guests, and by its
//! places in tables of programs.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use proxy_common::names::{map, program};

use super::enrollment::Enrollment;
use crate::{
    dataplane::{
        guests,
        hooks::Hook,
        meta::Meta,
        pins::{self, open_map},
        programs::Programs,
        refused::{Refused, Step},
        stub,
        undo::Undo,
    },
    sys::{bpf_link, bpf_map_elem, bpf_pin},
};

impl Enrollment<'_> {
    /// Links one of the node's programs to the workload's cgroup, and pins the link in `dir`.
    pub(super) fn link_to_cgroup(
        &self,
        programs: &Programs,
        hook: &Hook,
        dir: &Path,
        undo: &mut Undo<'_>,
    ) -> Result<()> {
        let link = bpf_link::create(programs.get(hook.program)?, self.cgroup.as_fd(), hook.kind)
            .map_err(|error| Refused::to(Step::Attach, hook.program, error))
            .with_context(|| format!("attach {} to {}", hook.program, self.cgroup.path().display()))?;
        tracing::debug!("{} hangs on {}", hook.program, self.cgroup.path().display());
        pin(&link, dir, hook.program, undo)
    }

    /// Links a program of the workload's own to its namespace, which passes on to the node's.
    pub(super) fn link_to_netns(
        &self,
        hook: &Hook,
        slot: u32,
        dir: &Path,
        undo: &mut Undo<'_>,
    ) -> Result<()> {
        let own = stub::load(stub::Kind::Inbound, self.node_dir, slot)?;
        let link = bpf_link::create(own.as_fd(), self.netns.as_fd(), hook.kind)
            .map_err(|error| Refused::to(Step::Attach, hook.program, error))
            .with_context(|| format!("attach {} to {}", hook.program, self.netns.path().display()))?;
        tracing::debug!("{} hangs on {}", hook.program, self.netns.path().display());
        pin(&link, dir, hook.program, undo)
    }

    /// Puts another program into a link that is there.
    pub(super) fn replace(
        &self,
        programs: &Programs,
        hook: &Hook,
        path: PathBuf,
        undo: &mut Undo<'_>,
    ) -> Result<()> {
        let link = bpf_pin::open(&path).with_context(|| format!("open {}", path.display()))?;
        let old = bpf_link::program_id(link.as_fd()).and_then(bpf_link::program_by_id);
        let old = old.with_context(|| format!("the program in {}", path.display()))?;
        bpf_link::update(link.as_fd(), programs.get(hook.program)?)
            .with_context(|| format!("update the link of {}", hook.program))?;
        undo.push(format!("the new program in {}", path.display()), move || {
            bpf_link::update(link.as_fd(), old.as_fd()).context("put the old program back")
        });
        Ok(())
    }

    /// Attaches programs to the interfaces of guests, if the workload has any.
    pub(super) fn attach_to_guests<'b>(
        &'b self,
        meta: &Meta,
        programs: &Programs,
        dir: &'b Path,
        undo: &mut Undo<'b>,
    ) -> Result<()> {
        if self.guests.gateways.is_empty() {
            return Ok(());
        }
        let slot = meta.slot;
        for (table, name) in [(map::GUEST_OUT, program::GUEST_OUT), (map::GUEST_IN, program::GUEST_IN)] {
            self.exchange(table, slot, programs, name, undo)?;
        }
        let owner = guests::Owner { netns: self.netns, node_dir: self.node_dir, dir, slot };
        self.guests.attach(&owner, undo)
    }

    /// Puts a program into the workload's place in a table. The undo step puts back what was there.
    pub(super) fn exchange<'b>(
        &'b self,
        table: &'static str,
        slot: u32,
        programs: &Programs,
        name: &str,
        undo: &mut Undo<'b>,
    ) -> Result<()> {
        let programs_by_slot = open_map(self.node_dir, table)?;
        let mut id = [0; 4];
        let was = if bpf_map_elem::lookup(programs_by_slot.as_fd(), &slot.to_ne_bytes(), &mut id)
            .with_context(|| format!("look into {table}"))?
        {
            Some(bpf_link::program_by_id(u32::from_ne_bytes(id)).context("the program in place")?)
        } else {
            None
        };
        self.set(table, slot, programs, name)?;
        undo.push(format!("the new program in {table}"), move || match was {
            Some(was) => bpf_map_elem::set_fd(programs_by_slot.as_fd(), slot, was.as_fd())
                .context("put the old program back"),
            None => self.clear(table, slot),
        });
        Ok(())
    }

    pub(super) fn set(&self, table: &str, slot: u32, programs: &Programs, name: &str) -> Result<()> {
        bpf_map_elem::set_fd(open_map(self.node_dir, table)?.as_fd(), slot, programs.get(name)?)
            .with_context(|| format!("put {name} into {table}"))
    }

    pub(super) fn clear(&self, table: &str, slot: u32) -> Result<()> {
        bpf_map_elem::clear(open_map(self.node_dir, table)?.as_fd(), slot)
            .map(drop)
            .with_context(|| format!("empty its place in {table}"))
    }
}

fn pin(link: &OwnedFd, dir: &Path, name: &str, undo: &mut Undo<'_>) -> Result<()> {
    let path = pins::link_in(dir, name);
    bpf_pin::pin(link.as_fd(), &path).with_context(|| format!("pin {}", path.display()))?;
    undo.push(format!("the link {}", path.display()), move || pins::remove_link(&path));
    Ok(())
}
