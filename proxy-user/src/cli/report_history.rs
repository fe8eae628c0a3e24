//! The history in a report: the youngest of it, within a bound.

use anyhow::{Context as _, Result};
use proxy_plane::history::{self, Entry};

/// Bytes: about a thousand entries without changes. The node keeps up to 2 MiB.
const MOST: usize = 256 << 10;

/// Lines as `sidestep history --output json` prints them, and what they leave out in words.
pub(super) struct Youngest {
    pub(super) lines: String,
    pub(super) left_out: Option<String>,
}

pub(super) fn youngest() -> Result<Youngest> {
    let read = history::read()?;
    let (lines, older) = within(&read.entries, MOST)?;
    let older = (older > 0).then(|| format!("{older} older entries: it is the youngest {} KiB", MOST >> 10));
    let unreadable = (read.unreadable > 0).then(|| format!("{} lines not of this version", read.unreadable));
    let left_out: Vec<String> = older.into_iter().chain(unreadable).collect();
    let left_out = (!left_out.is_empty()).then(|| left_out.join(", and "));
    Ok(Youngest { lines, left_out })
}

/// The oldest of them first; and how many older ones have no place.
fn within(entries: &[Entry], most: usize) -> Result<(String, usize)> {
    let mut kept = Vec::new();
    let mut left = most;
    for entry in entries.iter().rev() {
        let line = serde_json::to_string(entry).context("encode an entry of the history")? + "\n";
        let Some(rest) = left.checked_sub(line.len()) else { break };
        left = rest;
        kept.push(line);
    }
    let older = entries.len() - kept.len();
    kept.reverse();
    Ok((kept.concat(), older))
}

#[cfg(test)]
mod tests {
    use proxy_plane::history::{Action, Actor, SCHEMA};

    use super::*;

    fn entry(time: u64) -> Entry {
        let word = |text: &str| text.to_owned();
        let by = Actor { who: word("attach"), pid: 1, version: word("0"), commit: word("c") };
        Entry {
            schema: SCHEMA,
            time,
            workload: word("1-2"),
            namespace: None,
            pod: None,
            action: Action::Attached,
            by,
            config_hash: None,
            changes: Vec::new(),
            given_up: Vec::new(),
            from: None,
            reason: None,
        }
    }

    #[test]
    fn the_youngest_stay_whole_and_in_their_order() {
        let entries: Vec<Entry> = (100..200).map(entry).collect();
        let length = serde_json::to_string(&entries[0]).unwrap().len() + 1;
        for (room, expected) in [(0, 0), (length - 1, 0), (length, 1), (10 * length + 5, 10), (1 << 20, 100)]
        {
            let (lines, older) = within(&entries, room).unwrap();
            let read: Vec<Entry> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(read, entries[100 - expected..], "{room}");
            assert!(older == 100 - expected && lines.len() <= room, "{room}: {older}");
        }
        assert_eq!(within(&[], MOST).unwrap(), (String::new(), 0));
    }
}
