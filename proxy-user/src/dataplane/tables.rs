//! The tables of an attached workload, read back from its pins.

use std::net::IpAddr;

use anyhow::{Context, Result};
use aya::maps::{HashMap, LpmTrie, Map, MapData};
use ipnet::IpNet;
use proxy_common::{
    addr::Addr,
    names::map,
    wire::{FAMILY_BITS, PrefixKey, Route},
};

use super::{
    compile::{Compiled, compile},
    meta::Meta,
    pins::WorkloadPins,
    wire::Raw,
};
use crate::netns::{Interfaces, Routes};

/// What the programs of a workload decide by: its configuration compiled again, and the routes and interfaces that
/// the kernel holds.
pub fn pinned_tables(pins: &WorkloadPins, meta: &Meta) -> Result<Compiled> {
    let nothing = Interfaces { interfaces: Vec::new(), addresses: Vec::new() };
    let mut tables = compile(&meta.config, meta.ipv6, &nothing, &Routes::default());
    tables.routes = routes(pins)?;
    tables.interfaces = interfaces(pins)?;
    Ok(tables)
}

fn routes(pins: &WorkloadPins) -> Result<Vec<(IpNet, Route)>> {
    let trie: LpmTrie<_, Raw<PrefixKey>, Raw<Route>> =
        LpmTrie::try_from(Map::LpmTrie(open(pins, map::ROUTES)?)).context("read the routes")?;
    let mut found = Vec::new();
    for entry in trie.iter() {
        let (key, route) = entry.context("read a route")?;
        found.push((prefix(key.prefix_len(), key.data().0.addr)?, route.0));
    }
    Ok(found)
}

fn interfaces(pins: &WorkloadPins) -> Result<std::collections::HashMap<u32, u8>> {
    let table: HashMap<_, u32, u8> =
        HashMap::try_from(Map::HashMap(open(pins, map::INTERFACES)?)).context("read the interfaces")?;
    table.iter().map(|entry| entry.context("read an interface")).collect()
}

fn open(pins: &WorkloadPins, name: &str) -> Result<MapData> {
    let path = pins.map(name);
    MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))
}

/// The reverse of what fills the trie: the family's bits off, and for IPv4 the mapped form's 96.
fn prefix(length: u32, addr: Addr) -> Result<IpNet> {
    let mapped = if addr.is_v4() { 96 } else { 0 };
    let length = length.checked_sub(FAMILY_BITS + mapped).context("a route without a family")?;
    Ok(IpNet::new(IpAddr::from(addr), u8::try_from(length)?)?)
}
