//! Differences that are known, each with its reason; docs/decisions.md has them as well. Everything else fails.

use tests::settings::{Kind, Settings, name};

use Difference::{OursRefuses, OursTakes};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Istio takes it.
    OursRefuses,
    /// Istio refuses it.
    OursTakes,
    /// Both take it and mean other rules.
    Rules,
    /// Both have the same rules, and decide differently.
    Decision,
}

/// A kind of settings that are taken, or meant, differently.
pub(crate) struct Known {
    pub(crate) applies: fn(&Settings) -> bool,
    pub(crate) difference: Difference,
    pub(crate) why: &'static str,
}

pub(crate) const KNOWN: &[Known] = &[
    Known {
        applies: |settings| is(settings, &[Kind::PortZero]),
        difference: OursRefuses,
        why: "port 0 as a listener: nothing can listen there",
    },
    Known {
        applies: |settings| is(settings, &[Kind::PortRange]),
        difference: OursRefuses,
        why: "ports 8000:8010, pasted into --dport: the annotations for the same setting refuse them",
    },
    Known {
        applies: |settings| is(settings, &[Kind::PortName]),
        difference: OursRefuses,
        why: "ports by service name: another port on another host",
    },
    Known {
        applies: |settings| is(settings, &[Kind::PortSign, Kind::Hexadecimal]) && !says_mark(settings),
        difference: OursRefuses,
        why: "numbers with a sign, or in hexadecimal: iptables reads them, the annotations refuse them",
    },
    Known {
        applies: |settings| is(settings, &[Kind::LeadingZero]),
        difference: OursRefuses,
        why: "leading zeros: iptables reads octal, people mean decimal",
    },
    Known {
        applies: |settings| settings.odd.is_some_and(|odd| odd.text == "1337/0xff"),
        difference: OursRefuses,
        why: "a mark with a mask, in TPROXY mode without inbound ports: with them iptables refuses it",
    },
    Known {
        applies: |settings| is(settings, &[Kind::UidRange]),
        difference: OursRefuses,
        why: "ranges of uids and gids, pasted into --uid-owner: Istio documents lists",
    },
    Known {
        applies: |settings| is(settings, &[Kind::UidNobody]),
        difference: OursRefuses,
        why: "an empty list of proxy uids or gids: the sidecar's own traffic would be captured, and loop",
    },
    Known {
        applies: |settings| is(settings, &[Kind::Mode]),
        difference: OursRefuses,
        why: "a mode that is neither REDIRECT nor TPROXY: a misspelt TPROXY hides the clients' addresses",
    },
    Known {
        applies: |settings| is(settings, &[Kind::InterfaceWildcard]),
        difference: OursRefuses,
        why: "interfaces by iptables' wildcard: they are found by name when attaching",
    },
    Known {
        applies: |settings| is(settings, &[Kind::InterfaceName]),
        difference: OursRefuses,
        why: "interface names with other characters than letters, digits, _ . and -",
    },
    Known {
        applies: |settings| is(settings, &[Kind::Variable]),
        difference: OursRefuses,
        why: "a variable that is no boolean or number: Istio takes the default without a word",
    },
    Known {
        applies: |settings| is(settings, &[Kind::NegativeTimeout]),
        difference: OursRefuses,
        why: "a negative time to wait",
    },
    Known {
        applies: |settings| is(settings, &[Kind::Blank, Kind::PortList]),
        difference: OursTakes,
        why: "blanks around an item of a list: they do not count here",
    },
    Known {
        applies: |settings| is(settings, &[Kind::Hexadecimal, Kind::Table]) && says_mark(settings),
        difference: OursTakes,
        why: "a mark in hexadecimal, or any routing table: no route is made",
    },
    Known {
        applies: |settings| settings.host.resolv_conf.contains("%absent0"),
        difference: OursTakes,
        why: "a server of resolv.conf with the zone of no interface: the zone is cut off",
    },
    Known {
        applies: |settings| is(settings, &[Kind::ManyGroups]),
        difference: OursTakes,
        why: "more owner groups than iptables-restore takes words in a line: from 50 on",
    },
];

/// The row a difference is of, if it is known.
pub(crate) fn row(settings: &Settings, difference: Difference) -> Option<usize> {
    KNOWN.iter().position(|known| known.difference == difference && (known.applies)(settings))
}

fn is(settings: &Settings, kinds: &[Kind]) -> bool {
    settings.odd.is_some_and(|odd| kinds.contains(&odd.kind))
}

fn says_mark(settings: &Settings) -> bool {
    let odd = settings.odd.and_then(|odd| odd.name);
    odd == Some(&name::TPROXY_MARK) || odd == Some(&name::TPROXY_TABLE)
}
