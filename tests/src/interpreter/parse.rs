//! The words of one rule.

use std::{collections::BTreeMap, iter::Peekable, net::IpAddr, str::FromStr};

use super::{
    condition::{Condition, Match},
    packet::Protocol,
    ruleset::Target,
};

/// /etc/group.
pub type Groups = BTreeMap<String, u32>;

pub(super) struct Words<'a>(Peekable<std::str::SplitAsciiWhitespace<'a>>);

impl<'a> Words<'a> {
    pub(super) fn of(line: &'a str) -> Self {
        Self(line.split_ascii_whitespace().peekable())
    }

    pub(super) fn next(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn word(&mut self) -> Result<&'a str, String> {
        self.next().ok_or_else(|| "ends too early".to_owned())
    }

    fn is_next(&mut self, word: &str) -> bool {
        self.0.next_if(|next| *next == word).is_some()
    }

    pub(super) fn number<T: FromStr>(&mut self) -> Result<T, String> {
        number(self.word()?)
    }

    pub(super) fn end(&mut self) -> Result<(), String> {
        self.next().map_or(Ok(()), |word| Err(format!("{word} is one word too many")))
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number that fits"))
}

/// A mark: decimal, or hexadecimal as iptables-save prints it.
fn mark(text: &str) -> Result<u32, String> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).map_err(|error| format!("{text}: {error}")),
        None => number(text),
    }
}

/// A mark and the bits of it that count, all of them without a mask.
fn masked(text: &str) -> Result<(u32, u32), String> {
    match text.split_once('/') {
        Some((value, mask)) => Ok((mark(value)?, mark(mask)?)),
        None => Ok((mark(text)?, u32::MAX)),
    }
}

/// Matches and target of a rule; the command and the chain are already read.
pub(super) fn rule(words: &mut Words<'_>, groups: &Groups) -> Result<(Vec<Match>, Target), String> {
    let mut matches = Vec::new();
    let mut module = None;
    loop {
        let negated = words.is_next("!");
        let option = words.word()?;
        if option == "-j" {
            if negated {
                return Err("! -j".into());
            }
            let target = target(words)?;
            words.end()?;
            return Ok((matches, target));
        }
        if option == "-m" {
            if negated {
                return Err("! -m".into());
            }
            module = Some(words.word()?);
            continue;
        }
        let condition = condition(option, module, words, groups)?;
        matches.push(Match { negated, condition });
    }
}

fn condition(
    option: &str,
    module: Option<&str>,
    words: &mut Words<'_>,
    groups: &Groups,
) -> Result<Condition, String> {
    Ok(match (option, module) {
        ("-p", _) => Condition::Protocol(match words.word()? {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(format!("protocol {other}")),
        }),
        ("-i", _) => Condition::InInterface(interface(words.word()?)?),
        ("-o", _) => Condition::OutInterface(interface(words.word()?)?),
        ("-s", _) => range(words.word()?).map(|(net, length)| Condition::Source(net, length))?,
        ("-d", _) => range(words.word()?).map(|(net, length)| Condition::Destination(net, length))?,
        ("--sport", _) => Condition::SourcePort(words.number()?),
        ("--dport", _) => Condition::DestinationPort(words.number()?),
        ("--dports", Some("multiport")) => {
            let ports: Result<Vec<u16>, _> = words.word()?.split(',').map(number).collect();
            let ports = ports?;
            if ports.len() > 15 {
                return Err("multiport takes 15 ports".into());
            }
            Condition::DestinationPorts(ports)
        }
        ("--uid-owner", Some("owner")) => Condition::Uid(words.number()?),
        ("--gid-owner", Some("owner")) => {
            let group = words.word()?;
            // iptables looks names up first (extensions/libxt_owner.c), and no name here is a number.
            match groups.get(group) {
                Some(gid) => Condition::Gid(*gid),
                None => Condition::Gid(number(group)?),
            }
        }
        ("--mark", Some("mark")) => Condition::Mark(mark(words.word()?)?),
        ("--mark", Some("connmark")) => Condition::ConnMark(mark(words.word()?)?),
        ("--ctstate", Some("conntrack")) => {
            Condition::States(words.word()?.split(',').map(str::to_owned).collect())
        }
        _ => return Err(format!("{option} after -m {module:?}")),
    })
}

fn target(words: &mut Words<'_>) -> Result<Target, String> {
    let name = words.word()?;
    Ok(match name {
        "RETURN" => Target::Return,
        "ACCEPT" => Target::Accept,
        "DROP" => Target::Drop,
        "REDIRECT" => match words.word()? {
            // getopt_long takes an unambiguous abbreviation.
            "--to-ports" | "--to-port" => Target::Redirect(words.number()?),
            other => return Err(format!("REDIRECT {other}")),
        },
        "TPROXY" => tproxy(words)?,
        "MARK" => match words.word()? {
            "--set-mark" => Target::SetMark(mark(words.word()?)?),
            // With every bit in the mask they are the same.
            "--set-xmark" => match masked(words.word()?)? {
                (value, u32::MAX) => Target::SetMark(value),
                (_, mask) => return Err(format!("MARK --set-xmark with mask {mask:#x}")),
            },
            other => return Err(format!("MARK {other}")),
        },
        "CONNMARK" => {
            let target = match words.word()? {
                "--save-mark" => Target::SaveMark,
                "--restore-mark" => Target::RestoreMark,
                other => return Err(format!("CONNMARK {other}")),
            };
            for option in ["--nfmask", "--ctmask"] {
                if words.is_next(option) && mark(words.word()?)? != u32::MAX {
                    return Err(format!("CONNMARK {option} of some bits"));
                }
            }
            target
        }
        "CT" => {
            expect(words, "--zone")?;
            Target::Zone(words.number()?)
        }
        chain => Target::Jump(chain.to_owned()),
    })
}

/// The options in any order: people write the mark first, iptables-save the port.
fn tproxy(words: &mut Words<'_>) -> Result<Target, String> {
    let (mut value, mut port) = (None, None);
    while let Some(option) = words.next() {
        match option {
            "--tproxy-mark" => value = Some(masked(words.word()?)?),
            "--on-port" => port = Some(words.number()?),
            // The address the packet was sent to.
            "--on-ip" if matches!(words.word()?, "0.0.0.0" | "::") => {}
            other => return Err(format!("TPROXY {other}")),
        }
    }
    let (mark, mask) = value.ok_or("TPROXY without a mark")?;
    Ok(Target::Tproxy { mark, mask, port: port.ok_or("TPROXY without a port")? })
}

fn expect(words: &mut Words<'_>, wanted: &str) -> Result<(), String> {
    match words.word()? {
        word if word == wanted => Ok(()),
        other => Err(format!("{other} in place of {wanted}")),
    }
}

fn interface(name: &str) -> Result<String, String> {
    if name.len() > 15 || name.ends_with('+') {
        return Err(format!("interface {name}"));
    }
    Ok(name.to_owned())
}

fn range(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, length) = text.split_once('/').ok_or("an address without a length")?;
    let address: IpAddr = address.parse().map_err(|_| format!("address {address}"))?;
    let length = number(length)?;
    if length > if address.is_ipv4() { 32 } else { 128 } {
        return Err(format!("mask {length}"));
    }
    Ok((address, length))
}
