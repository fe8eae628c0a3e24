//! Who the users of a user namespace are on the node (user_namespaces(7)).

/// Ids of a user namespace, and the node's for them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdMap {
    ranges: Vec<IdRange>,
}

/// A row of /proc/PID/uid_map, as the node reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdRange {
    pub inside: u32,
    pub host: u32,
    pub length: u32,
}

impl IdMap {
    /// The kernel's own limit (kernel/user_namespace.c: map_write).
    pub const MOST_RANGES: usize = 340;

    /// None when there are more ranges than a user namespace can have.
    pub fn new(ranges: Vec<IdRange>) -> Option<Self> {
        (ranges.len() <= Self::MOST_RANGES).then_some(Self { ranges })
    }

    /// That of the node itself: everybody is who they are.
    pub fn identity() -> Self {
        Self { ranges: vec![IdRange { inside: 0, host: 0, length: u32::MAX }] }
    }

    /// None: nobody has this id inside.
    pub fn host_id(&self, inside: u32) -> Option<u32> {
        self.ranges.iter().find_map(|range| {
            let offset = inside.checked_sub(range.inside)?;
            if offset >= range.length {
                return None;
            }
            // The kernel keeps -1 for nobody.
            range.host.checked_add(offset).filter(|&host| host != u32::MAX)
        })
    }

    /// From the text of /proc/PID/uid_map or gid_map. None when it is no such text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let row = |line: &str| {
            let mut numbers = line.split_whitespace().map(str::parse);
            let (inside, host, length) =
                (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
            numbers.next().is_none().then_some(IdRange { inside, host, length })
        };
        Self::new(text.lines().map(row).collect::<Option<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::the_sidecar("         0    1000000      65536\n", 1337, Some(1_001_337))]
    #[case::the_last_one("0 1000000 65536\n", 65535, Some(1_065_535))]
    #[case::nobody_has_it("0 1000000 65536\n", 65536, None)]
    #[case::below("1000 5000 10\n", 999, None)]
    #[case::the_second_row("0 1000 1\n1 100000 65535\n", 1337, Some(101_336))]
    #[case::the_node_itself("0 0 4294967295\n", 4_294_967_294, Some(4_294_967_294))]
    #[case::beyond_all_ids("0 4294967290 65536\n", 10, None)]
    #[case::nobody("0 4294967290 65536\n", 5, None)]
    #[case::nothing_written_yet("", 0, None)]
    fn ids_of_the_node(#[case] text: &str, #[case] inside: u32, #[case] expected: Option<u32>) {
        assert_eq!(IdMap::parse(text).unwrap().host_id(inside), expected);
    }

    #[rstest]
    #[case::two_numbers("0 1000\n")]
    #[case::four_numbers("0 1000 1 1\n")]
    #[case::words("a b c\n")]
    #[case::too_large("0 4294967296 1\n")]
    fn no_such_text(#[case] text: &str) {
        assert_eq!(IdMap::parse(text), None);
    }

    #[test]
    fn no_more_ranges_than_the_kernel_takes() {
        let range = IdRange { inside: 0, host: 0, length: 1 };
        assert!(IdMap::new(vec![range; IdMap::MOST_RANGES]).is_some());
        assert_eq!(IdMap::new(vec![range; IdMap::MOST_RANGES + 1]), None);
    }

    #[test]
    fn on_the_node_everybody_is_who_they_are() {
        assert_eq!(IdMap::identity().host_id(1337), Some(1337));
    }
}
