//! `proxy_common::names` and the BPF object name the same programs, globals and maps.

use std::collections::BTreeSet;

use aya_obj::Object as Parsed;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use proxy_common::names::{global, map, program};
use proxy_plane::dataplane::{HOOKS, OBJECT};

/// Of the libraries the programs are built with, not ours.
const FOREIGN_GLOBALS: [&str; 1] = ["AYA_LOG_LEVEL"];

fn set<'a>(names: &[&'a str]) -> BTreeSet<&'a str> {
    let all: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(all.len(), names.len(), "named twice: {names:?}");
    all
}

#[test]
fn programs() {
    let object = Parsed::parse(OBJECT).unwrap();
    let there: BTreeSet<&str> = object.programs.keys().map(String::as_str).collect();
    assert_eq!(there, set(program::ALL));
    assert!(HOOKS.iter().all(|hook| there.contains(hook.program)));
}

#[test]
fn maps() {
    let object = Parsed::parse(OBJECT).unwrap();
    // Sections of globals are maps to the loader.
    let maps = object.maps.keys().map(String::as_str).filter(|name| !name.starts_with('.'));
    let there: BTreeSet<&str> = maps.collect();
    assert_eq!(there, set(map::ALL));
    // Each has one place among the pins, or none.
    let placed = [map::NODE, map::GUESTS, map::SLOTS, map::UNPINNED].concat();
    assert_eq!(set(&placed), there);
}

#[test]
fn globals() {
    let elf = object::File::parse(OBJECT).unwrap();
    let there: BTreeSet<&str> = elf
        .symbols()
        .filter(|symbol| symbol.is_global() && symbol.section_index().is_some())
        .filter(|symbol| {
            let section = elf.section_by_index(symbol.section_index().unwrap()).unwrap();
            section.name().is_ok_and(|name| name.starts_with(".rodata"))
        })
        .map(|symbol| symbol.name().unwrap())
        .filter(|name| !FOREIGN_GLOBALS.contains(name))
        .collect();
    assert_eq!(there, set(global::ALL));
}

/// Where somebody looks what they are for.
#[test]
fn the_architecture_has_them_all() {
    let text = include_str!("../../../docs/architecture.md");
    let is_named = |name: &str| {
        // `connect4`, `6` stands for both.
        let short = name.strip_suffix('6').map(|stem| format!("`{stem}4`"));
        text.contains(&format!("`{name}`")) || short.is_some_and(|four| text.contains(&four))
    };
    let all = program::ALL.iter().chain(map::ALL).chain([&map::META, &map::KNOWN]);
    let absent: Vec<&str> = all.copied().filter(|name| !is_named(name)).collect();
    assert!(absent.is_empty(), "docs/architecture.md does not name {absent:?}");
}
