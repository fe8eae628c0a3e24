//! A workload's rules in the maps of the node. Written under a number that nobody decides by yet, so that a workload
//! goes from one set to the next at once.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result};
use ipnet::IpNet;
use proxy_common::{
    addr::Addr,
    names::map,
    wire::{LISTED_VALUES, ListKey, PREFIX_HEAD, PREFIXES, PrefixKey, list},
};
use proxy_core::compile::Compiled;
use proxy_core::exit::{Class, Failure};

use super::{
    patience::patiently,
    pins::open_map,
    wire::{Plain, bytes},
};
use crate::sys::bpf_map_elem;

/// A prefix trie's key as the kernel has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(super) struct TrieKey {
    length: u32,
    data: PrefixKey,
}

impl Plain for TrieKey {}

impl TrieKey {
    pub(super) fn tables(&self) -> u32 {
        u32::from_be_bytes(self.data.tables)
    }
}

pub(super) struct Rules {
    policies: OwnedFd,
    ranges: OwnedFd,
    routes: OwnedFd,
    lists: OwnedFd,
}

impl Rules {
    pub(super) fn open(node_dir: &Path) -> Result<Self> {
        Ok(Self {
            policies: open_map(node_dir, map::POLICIES)?,
            ranges: open_map(node_dir, map::RANGES)?,
            routes: open_map(node_dir, map::ROUTES)?,
            lists: open_map(node_dir, map::LISTS)?,
        })
    }

    /// Writes all of them. On error some are there: [`Rules::remove`] takes them away.
    pub(super) fn write(&self, tables: u32, compiled: &Compiled) -> Result<()> {
        for (net, bits) in &compiled.ranges {
            self.store(&self.ranges, &trie_key(tables, net), &[*bits])
                .map_err(|error| full(error, &format!("the range {net}"), PREFIXES))?;
        }
        for (net, route) in &compiled.routes {
            self.store(&self.routes, &trie_key(tables, net), bytes(route))
                .map_err(|error| full(error, &format!("the route {net}"), PREFIXES))?;
        }
        for (key, bits) in listed(tables, compiled) {
            self.store(&self.lists, &key, &[bits])
                .map_err(|error| full(error, name_of(key.list), LISTED_VALUES))?;
        }
        bpf_map_elem::update(self.policies.as_fd(), &tables.to_ne_bytes(), bytes(&compiled.policy), 0)
            .context("write the policy")
    }

    fn store<K: Plain>(&self, map: &OwnedFd, key: &K, value: &[u8]) -> std::io::Result<()> {
        patiently(|| bpf_map_elem::update(map.as_fd(), bytes(key), value, 0))
    }

    /// Takes them away again, those that are there.
    pub(super) fn remove(&self, tables: u32, compiled: &Compiled) -> Result<()> {
        for net in compiled.ranges.keys() {
            bpf_map_elem::delete(self.ranges.as_fd(), bytes(&trie_key(tables, net)))
                .context("remove a range")?;
        }
        for (net, _) in &compiled.routes {
            bpf_map_elem::delete(self.routes.as_fd(), bytes(&trie_key(tables, net)))
                .context("remove a route")?;
        }
        for (key, _) in listed(tables, compiled) {
            bpf_map_elem::delete(self.lists.as_fd(), bytes(&key)).context("remove a listed value")?;
        }
        Ok(())
    }
}

fn listed(tables: u32, compiled: &Compiled) -> impl Iterator<Item = (ListKey, u8)> + '_ {
    let key = move |list: u32, value: u32| ListKey { tables, list, value };
    let ports = (0u32..).zip(&compiled.ports).filter(|(_, bits)| **bits != 0);
    ports
        .map(move |(port, bits)| (key(list::PORT, port), *bits))
        .chain(compiled.ids.iter().map(move |(id, bits)| (key(list::ID, *id), *bits)))
        .chain(compiled.interfaces.iter().map(move |(index, bits)| (key(list::INTERFACE, *index), *bits)))
}

fn name_of(kind: u32) -> &'static str {
    match kind {
        list::PORT => "a port",
        list::ID => "a uid or gid",
        _ => "an interface",
    }
}

/// The map is the node's, so that it can be full for others' lists.
fn full(error: std::io::Error, what: &str, capacity: u32) -> anyhow::Error {
    if error.raw_os_error() == Some(libc::ENOSPC) || error.raw_os_error() == Some(libc::E2BIG) {
        return Failure::error(
            Class::Unavailable,
            format!(
                "no room for {what}: the lists of all workloads of this node together hold {capacity}; give this one \
                 shorter lists"
            ),
        );
    }
    anyhow::Error::new(error).context(format!("store {what}"))
}

fn trie_key(tables: u32, net: &IpNet) -> TrieKey {
    // The family is the text's: a route or range inside ::ffff:0:0/96 (`unreachable ::ffff:0:0/96` is a common one) is
    // none of IPv4's, and no IPv6 packet is in it.
    let (family, mapped) = if matches!(net, IpNet::V4(_)) { (4, 96) } else { (6, 0) };
    TrieKey {
        length: PREFIX_HEAD + mapped + u32::from(net.prefix_len()),
        data: PrefixKey {
            tables: tables.to_be_bytes(),
            family: [0, 0, 0, family],
            addr: Addr::from(net.network()),
        },
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::v4("10.0.0.0/8", 64 + 96 + 8, true)]
    #[case::all_v4("0.0.0.0/0", 64 + 96, true)]
    #[case::v6("fd00::/8", 64 + 8, false)]
    #[case::mapped("::ffff:0:0/96", 64 + 96, false)]
    #[case::mapped_host("::ffff:10.0.0.1/128", 64 + 128, false)]
    fn a_range_covers_its_own_tables_and_family_only(
        #[case] net: &str,
        #[case] length: u32,
        #[case] v4: bool,
    ) {
        let key = trie_key(7, &net.parse().unwrap());
        let some_v4 = PrefixKey::new(7, Addr::v4([10, 0, 0, 1]));
        assert_eq!((key.length, key.data.family == some_v4.family), (length, v4));
        assert_eq!(key.data.tables, some_v4.tables);
    }
}
