//! From what is given to a validated configuration: flag > process environment > env files > default.

use std::{path::PathBuf, time::Duration};

use tracing::warn;

use super::{
    Config, DnsCapture, Environment, Host, IptablesBinary, Mode, NoHost, OwnerGroups, PortSet, Ports,
    RunOptions,
    accounts::Lookup,
    cidr::{self, CidrSet},
    dns,
    fault::ConfigFaults,
    given::{Given, Value},
    go_value::{items, parse_bool, parse_duration, parse_mark, parse_number},
    interfaces::parse_interfaces,
    ports::{parse_listener, parse_ports},
    setting::{self, Setting},
};

/// What the flags and the environment ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub config: Config,
    pub run: RunOptions,
}

/// One pass over the table, gathering faults.
struct Resolver<'a> {
    given: Given,
    host: &'a dyn Host,
    faults: ConfigFaults,
}

impl Given {
    /// Reads every setting and reports every fault. Reads the `--env-file`s; asks `host` for account names and, if
    /// DNS capture needs it, resolv.conf.
    pub fn resolve(&self, env: &Environment, host: &dyn Host) -> Result<Resolved, ConfigFaults> {
        let (mut given, mut env, mut faults) = (self.clone(), env.clone(), ConfigFaults::default());
        env.add_files(self.files(&setting::ENV_FILE), &mut faults);
        given.add_variables(&env);
        let mut resolver = Resolver { given, host, faults };
        let config = resolver.config();
        let run = resolver.run_options();
        resolver.faults.or(Resolved { config, run })
    }

    /// What is to be done alone, for who takes the rest from annotations.
    pub fn run_options(&self, env: &Environment) -> Result<RunOptions, ConfigFaults> {
        let (mut given, mut env, mut faults) = (self.clone(), env.clone(), ConfigFaults::default());
        env.add_files(self.files(&setting::ENV_FILE), &mut faults);
        given.add_variables(&env);
        let mut resolver = Resolver { given, host: &NoHost, faults };
        let run = resolver.run_options();
        resolver.faults.or(run)
    }
}

impl Resolver<'_> {
    fn config(&mut self) -> Config {
        let defaults = Config::default();
        let (proxy_uids, proxy_gids) = self.owners();
        let mode = self.mode();
        let inbound_include = self.parse(&setting::INBOUND_PORTS, PortSet::parse);
        let unread = (mode != Mode::Tproxy).then_some("only TPROXY mode reads it");
        let tproxy_mark = self.unless(unread, |it| it.mark(&setting::TPROXY_MARK, defaults.tproxy_mark));
        let unread =
            unread.or((inbound_include == PortSet::None).then_some("without inbound ports nothing reads it"));
        let tproxy_route_table =
            self.unless(unread, |it| it.mark(&setting::TPROXY_ROUTE_TABLE, defaults.tproxy_route_table));
        let unread = (inbound_include != PortSet::All).then_some("only -b '*' has it read");
        let inbound_exclude = self.unless(unread, |it| it.port_list(&setting::INBOUND_EXCLUDE));
        Config {
            proxy_uids,
            proxy_gids,
            ports: self.ports(defaults.ports),
            mode,
            tproxy_mark,
            tproxy_route_table,
            inbound_include,
            inbound_exclude,
            outbound_ports_include: self.port_list(&setting::OUTBOUND_PORTS),
            outbound_ports_exclude: self.port_list(&setting::OUTBOUND_PORTS_EXCLUDE),
            outbound_include: self.parse(&setting::SERVICE_CIDR, CidrSet::parse),
            outbound_exclude: self
                .parse(&setting::SERVICE_EXCLUDE_CIDR, |_, text, faults| cidr::parse_excluded(text, faults)),
            exclude_interfaces: self.parse(&setting::EXCLUDE_INTERFACES, parse_interfaces),
            kube_virt_interfaces: self.parse(&setting::KUBE_VIRT_INTERFACES, parse_interfaces),
            owner_groups: self.owner_groups(),
            dns: self.dns(),
            loopback_cidr: match self.given.text(&setting::LOOPBACK_CIDR) {
                Some(text) => cidr::parse_loopback(text, &mut self.faults),
                None => defaults.loopback_cidr,
            },
            drop_invalid: self.boolean(&setting::DROP_INVALID),
            // Istio's nftables rules are of both families.
            dual_stack: self.boolean(&setting::DUAL_STACK) | self.is_on(&setting::NATIVE_NFTABLES),
        }
    }

    fn run_options(&mut self) -> RunOptions {
        let defaults = RunOptions::default();
        RunOptions {
            probe_port: self.listener(&setting::PROBE_PORT, defaults.probe_port),
            dry_run: self.boolean(&setting::DRY_RUN),
            dry_run_file: self.path(&setting::DRY_RUN_FILE),
            cleanup_only: self.boolean(&setting::CLEANUP_ONLY),
            skip_rule_apply: self.boolean(&setting::SKIP_RULE_APPLY),
            run_validation: self.boolean(&setting::RUN_VALIDATION),
            reconcile: self.boolean(&setting::RECONCILE),
            force_apply: self.boolean(&setting::FORCE_APPLY),
            probe_timeout: self.timeout(defaults.probe_timeout),
            network_namespace: self.path(&setting::NETWORK_NAMESPACE),
            cni_mode: self.boolean(&setting::CNI_MODE),
            native_nftables: self.boolean(&setting::NATIVE_NFTABLES),
            iptables_binary: self.iptables_binary(),
        }
    }

    /// A setting whose default is the empty text.
    fn parse<T>(
        &mut self,
        setting: &Setting,
        parse: impl FnOnce(&Setting, &str, &mut ConfigFaults) -> T,
    ) -> T {
        parse(setting, self.given.text(setting).unwrap_or_default(), &mut self.faults)
    }

    fn port_list(&mut self, setting: &Setting) -> Vec<u16> {
        parse_ports(setting, self.given.items(setting), &mut self.faults)
    }

    /// A value that Istio does not look at, for the reason given: what is wrong about it is said and no fault.
    fn unless<T>(&mut self, unread: Option<&str>, parse: impl FnOnce(&mut Self) -> T) -> T {
        let Some(why) = unread else { return parse(self) };
        let before = self.faults.0.len();
        let value = parse(self);
        for fault in self.faults.0.drain(before..) {
            warn!("ignored: {fault}; {why}");
        }
        value
    }

    /// Whether a switch is on that somebody else reports the faults of.
    fn is_on(&self, setting: &Setting) -> bool {
        match self.given.get(setting) {
            Some(Value::Switch(on)) => *on,
            Some(Value::Text(text)) => parse_bool(text) == Some(true),
            _ => false,
        }
    }

    fn boolean(&mut self, setting: &Setting) -> bool {
        match self.given.get(setting) {
            Some(Value::Switch(on)) => *on,
            Some(Value::Text(text)) => parse_bool(text).unwrap_or_else(|| {
                self.faults.add(setting.fault(text, "is not a boolean", "write true or false"));
                false
            }),
            _ => false,
        }
    }

    fn listener(&mut self, setting: &Setting, default: u16) -> u16 {
        match self.given.text(setting) {
            Some(text) => parse_listener(setting, text, default, &mut self.faults),
            None => default,
        }
    }

    fn ports(&mut self, defaults: Ports) -> Ports {
        let outbound = self.listener(&setting::ENVOY_PORT, defaults.outbound);
        let inbound = self.listener(&setting::INBOUND_CAPTURE_PORT, defaults.inbound);
        let tunnel = match self.given.text(&setting::INBOUND_TUNNEL_PORT) {
            None => defaults.tunnel,
            Some(text) => parse_number(text.trim()).unwrap_or_else(|reason| {
                let next = "give one port, 0 to 65535";
                self.faults.add(setting::INBOUND_TUNNEL_PORT.fault(text, reason, next));
                defaults.tunnel
            }),
        };
        Ports { outbound, inbound, tunnel, ..defaults }
    }

    /// The proxy's uids and gids. Without a uid: the user $ENVOY_USER if there is one, else 1337; without a gid: the
    /// *text* of the uids, as Istio copies it (a user name is then looked up again, as a group).
    fn owners(&mut self) -> (Vec<u32>, Vec<u32>) {
        let host = self.host;
        let named = |given: &Given, setting| given.get(setting).filter(|value| !is_empty(value)).cloned();
        let uids = named(&self.given, &setting::PROXY_UID).unwrap_or_else(|| {
            let user = self.given.text(&setting::ENVOY_USER).unwrap_or("istio-proxy");
            Value::Id(match host.user_id(user) {
                Lookup::Found(uid) => uid,
                Lookup::Unknown(_) => setting::DEFAULT_PROXY_ID,
            })
        });
        let gids = named(&self.given, &setting::PROXY_GID).unwrap_or_else(|| uids.clone());
        let uids = self.ids(&setting::PROXY_UID, &uids, |name| host.user_id(name));
        let gids = self.ids(&setting::PROXY_GID, &gids, |name| host.group_id(name));
        (uids, gids)
    }

    fn ids(&mut self, setting: &Setting, value: &Value, look_up: impl Fn(&str) -> Lookup) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut take = |shown: &str, found: Lookup| match found {
            Lookup::Found(id) => ids.push(id),
            Lookup::Unknown(reason) => {
                self.faults.add_item(setting, shown, reason, "give the sidecar's numeric id")
            }
        };
        match value {
            Value::Id(id) => take(&id.to_string(), Lookup::of_number(*id)),
            Value::Text(text) if items(text).next().is_none() => {
                let reason = "names nobody, so the sidecar's own traffic would be captured";
                let next = "give the sidecar's numeric id, usually 1337";
                self.faults.add(setting.fault(text, reason, next));
            }
            Value::Text(text) => items(text).for_each(|item| take(item, Lookup::of(item, &look_up))),
            Value::Items(_) | Value::Files(_) | Value::Switch(_) => {}
        }
        ids
    }

    /// Istio takes any text and lets only the exact `TPROXY` change something; a misspelt mode is refused here
    /// because it would silently hide the clients' addresses.
    fn mode(&mut self) -> Mode {
        let text = self.given.text(&setting::MODE).unwrap_or_default();
        match text {
            "" | "REDIRECT" => Mode::Redirect,
            "TPROXY" => Mode::Tproxy,
            _ => {
                let next = "write REDIRECT or TPROXY; to capture nothing inbound, leave -b empty";
                self.faults.add(setting::MODE.fault(text, "is not an interception mode", next));
                Mode::Redirect
            }
        }
    }

    fn mark(&mut self, setting: &Setting, default: u32) -> u32 {
        let Some(text) = self.given.text(setting) else { return default };
        parse_mark(text.trim()).unwrap_or_else(|reason| {
            self.faults.add(setting.fault(text, reason, "give a number between 0 and 4294967295"));
            default
        })
    }

    fn owner_groups(&mut self) -> OwnerGroups {
        let include = self.given.text(&setting::OWNER_GROUPS).unwrap_or("*");
        let exclude = self.given.text(&setting::OWNER_GROUPS_EXCLUDE).unwrap_or_default();
        let (mut of_excluded, mut faults) = (ConfigFaults::default(), ConfigFaults::default());
        let groups = OwnerGroups::parse(include, exclude, self.host, &mut faults, &mut of_excluded);
        let unread = (include.trim() != "*").then_some("only ISTIO_OUTBOUND_OWNER_GROUPS=* has it read");
        self.unless(unread, |it| it.faults.0.extend(of_excluded.0));
        self.faults.0.extend(faults.0);
        groups
    }

    fn dns(&mut self) -> Option<DnsCapture> {
        let capture_all = self.boolean(&setting::CAPTURE_ALL_DNS);
        if !self.boolean(&setting::REDIRECT_DNS) {
            return None;
        }
        let given = self.given.items(&setting::DNS_SERVER);
        let servers = dns::servers(capture_all, &given, self.host, &mut self.faults);
        Some(DnsCapture { servers })
    }

    fn timeout(&mut self, default: Duration) -> Duration {
        let Some(text) = self.given.text(&setting::PROBE_TIMEOUT) else { return default };
        parse_duration(text).unwrap_or_else(|| {
            let reason = "is not a duration";
            self.faults.add(setting::PROBE_TIMEOUT.fault(text, reason, "write it as 5s, 500ms or 1m30s"));
            default
        })
    }

    fn path(&self, setting: &Setting) -> Option<PathBuf> {
        self.given.text(setting).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    fn iptables_binary(&mut self) -> Option<IptablesBinary> {
        let text = self.given.text(&setting::FORCE_IPTABLES_BINARY).unwrap_or_default();
        match text {
            "" => None,
            "legacy" => Some(IptablesBinary::Legacy),
            "nft" => Some(IptablesBinary::Nft),
            _ => {
                let reason = format!("invalid FORCE_IPTABLES_BINARY value {text:?}");
                let next = "write legacy or nft, or leave it out: no iptables binary is used";
                self.faults.add(setting::FORCE_IPTABLES_BINARY.fault(text, reason, next));
                None
            }
        }
    }
}

/// An empty text: Istio then takes the default.
fn is_empty(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.is_empty())
}

#[cfg(test)]
mod tests;
