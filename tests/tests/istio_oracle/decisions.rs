//! The rules the real program left in the kernel, read by the interpreter, against the decision.

use std::collections::BTreeMap;
use std::io;

use anyhow::{Context, Result, anyhow};
use proxy_common::egress::{Egress, egress};
use proxy_common::ingress::{Ingress, ingress};
use proxy_common::verdict::{Target, Verdict};
use proxy_common::wire::route_flag;
use proxy_core::compile::{Compiled, compile};
use proxy_core::config::{Config, DnsServers, Environment, Given, Host, Lookup};
use proxy_core::network::{Interfaces, Routes};
use proxy_plane::netns::{self, Netns, add_passthrough};
use tests::interpreter::{Fate, Groups, Packet, Protocol, Ruleset, arriving, locally_generated};
use tests::pod::Pod;
use tests::random::Random;
use tests::settings::host::{GROUPS, USERS};
use tests::settings::{CommandLine, Settings, name};

use crate::addressed::{Aims, Connection};

/// Connections tried under each setting.
const OUTGOING: usize = 150;
const INCOMING: usize = 50;

/// Where connections went, and how many of them.
pub(crate) type Compared = BTreeMap<&'static str, usize>;

/// The host of the settings.
struct ThatHost<'a>(&'a Settings);

impl Host for ThatHost<'_> {
    fn user_id(&self, name: &str) -> Lookup {
        look_up(&USERS, name)
    }

    fn group_id(&self, name: &str) -> Lookup {
        look_up(&GROUPS, name)
    }

    fn resolv_conf(&self) -> io::Result<String> {
        Ok(self.0.host.resolv_conf.clone())
    }
}

fn look_up(known: &[(&str, u32)], name: &str) -> Lookup {
    let found = known.iter().find(|(known, _)| *known == name);
    found.map_or_else(|| Lookup::Unknown(format!("{name} is unknown")), |(_, id)| Lookup::Found(*id))
}

/// The configuration sidestep makes of settings it takes.
pub(crate) fn config(settings: &Settings) -> Config {
    let CommandLine { args, env } = settings.command_line();
    let given = Given::from_words(args).expect("taken before");
    given.resolve(&Environment::from_iter(env), &ThatHost(settings)).expect("taken before").config
}

/// The servers `sidestep rules` has to be told.
pub(crate) fn servers(config: &Config) -> Vec<String> {
    match config.dns.as_ref().map(|dns| &dns.servers) {
        Some(DnsServers::List(servers)) if servers.is_empty() => vec!["none".to_owned()],
        Some(DnsServers::List(servers)) => servers.iter().map(ToString::to_string).collect(),
        Some(DnsServers::All) | None => Vec::new(),
    }
}

/// Whether an account is said by its name. Without a uid it is the one of a user, by name.
pub(crate) fn names_somebody(settings: &Settings) -> bool {
    let is_name = |text: String| text.contains(|c: char| c.is_ascii_alphabetic());
    let names = [&name::PROXY_UID, &name::PROXY_GID, &name::OWNER_GROUPS, &name::OWNER_GROUPS_EXCLUDE];
    settings.text_of(&name::PROXY_UID).is_none_or(|text| text.is_empty())
        || names.iter().any(|name| settings.text_of(name).is_some_and(is_name))
}

/// The host as `attach` reads it: with `::6`, and without the routes Istio makes for TPROXY.
pub(crate) struct HostNetwork {
    interfaces: Interfaces,
    routes: Routes,
}

impl HostNetwork {
    /// Before the real program runs; an address it finds there does not disturb it.
    pub(crate) fn prepare(pod: &Pod, settings: &Settings) -> Result<Self> {
        let netns = Netns::open(&pod.netns())?;
        if settings.host.families.has_v6() {
            add_passthrough(&netns)?;
        }
        Ok(Self { interfaces: netns::interfaces(&netns)?, routes: netns::routes(&netns)? })
    }
}

struct Comparison {
    config: Config,
    compiled: Compiled,
    rules: [Ruleset; 2],
    interfaces: Interfaces,
}

/// Tries a sample of connections. The inner error is a difference.
pub(crate) fn compare(
    settings: &Settings,
    config: &Config,
    network: HostNetwork,
    saved: &[String; 2],
    random: &mut Random,
) -> Result<Result<Compared, String>> {
    let groups: Groups = GROUPS.iter().map(|(name, gid)| ((*name).to_owned(), *gid)).collect();
    let parse = |text: &str| Ruleset::parse(text, &groups).map_err(|error| anyhow!("{error}\n{text}"));
    let HostNetwork { interfaces, routes } = network;
    let ipv6 = interfaces.enable_ipv6(config.dual_stack).context("only istio-iptables found an address")?;
    let compiled = compile(config, ipv6, &interfaces, &routes);
    let rules = [parse(&saved[0])?, parse(&saved[1])?];
    let comparison = Comparison { config: config.clone(), compiled, rules, interfaces };
    let aims = Aims::new(config, settings.host.families);
    let mut compared = Compared::new();
    let outgoing = (0..OUTGOING).map(|_| aims.outgoing(random));
    let all: Vec<Connection> = outgoing.collect();
    let incoming: Vec<Connection> = (0..INCOMING).filter_map(|_| aims.incoming(random)).collect();
    for connection in all.iter().chain(&incoming) {
        match comparison.judge(connection) {
            Ok(who) => *compared.entry(who).or_default() += 1,
            Err(report) => return Ok(Err(report)),
        }
    }
    Ok(Ok(compared))
}

impl Comparison {
    /// Who gets it, if both say the same.
    fn judge(&self, connection: &Connection) -> Result<&'static str, String> {
        let verdict = self.decide(connection);
        let packet = packet(connection);
        let rules = &self.rules[usize::from(connection.dst.is_ipv6())];
        let walk = if connection.arrives() { arriving } else { locally_generated };
        let journey = walk(rules, packet);
        let ports = self.config.ports;
        let (fate, who) = match verdict.target {
            Target::Bypass => (Fate::Untouched, "left alone"),
            Target::Outbound => (Fate::Port(ports.outbound), "outbound"),
            Target::Inbound => (Fate::Port(ports.inbound), "inbound"),
            Target::Dns => (Fate::Port(ports.dns), "dns"),
        };
        if fate == journey.fate {
            return Ok(who);
        }
        Err(format!("{connection:?}: sidestep {verdict:?}, istio's rules {:?}\n{journey:?}", journey.fate))
    }

    fn decide(&self, connection: &Connection) -> Verdict {
        let Connection { protocol, dst, dport, .. } = *connection;
        let tcp = protocol == Protocol::Tcp;
        if connection.arrives() {
            let index = self.interfaces.index(connection.interface);
            let bits = index.and_then(|index| self.compiled.interfaces.get(&index)).copied().unwrap_or(0);
            return ingress(&self.compiled, &Ingress { tcp, dst: dst.into(), dport, interface: bits });
        }
        let route = self.compiled.route(dst).map_or(0, |route| route.flags);
        let (uid, gid) = connection.owner.unwrap_or_default();
        egress(
            &self.compiled,
            &Egress {
                tcp,
                src: connection.src.into(),
                dst: dst.into(),
                dport,
                out_lo: route & route_flag::LOCAL != 0,
                out_excluded: route & route_flag::EXCLUDED != 0,
                uid,
                gid,
                mark: connection.mark,
            },
        )
    }
}

fn packet(connection: &Connection) -> Packet {
    let interface = Some(connection.interface.to_owned());
    let (in_interface, out_interface) =
        if connection.arrives() { (interface, None) } else { (None, interface) };
    Packet {
        protocol: connection.protocol,
        src: connection.src,
        dst: connection.dst,
        sport: 40_000,
        dport: connection.dport,
        in_interface,
        out_interface,
        owner: connection.owner,
        mark: connection.mark,
        connmark: 0,
        zone: None,
    }
}
