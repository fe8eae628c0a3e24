//! From flags and environment to a validated configuration: flag > process environment > env files > default.

use std::{path::PathBuf, time::Duration};

use super::{
    Config, DnsCapture, Environment, Host, IptablesBinary, Mode, OwnerGroups, PortSet, Ports, RunOptions,
    accounts::Lookup,
    cidr::{self, CidrSet},
    dns,
    fault::ConfigFaults,
    flags::IstioFlags,
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

/// One pass over the sources, gathering faults.
struct Resolver<'a> {
    env: Environment,
    host: &'a dyn Host,
    faults: ConfigFaults,
}

impl IstioFlags {
    /// Reads every setting and reports every fault. Reads the `--env-file`s; asks `host` for account names and, if
    /// DNS capture needs it, resolv.conf.
    pub fn resolve(&self, env: &Environment, host: &dyn Host) -> Result<Resolved, ConfigFaults> {
        let mut resolver = Resolver { env: env.clone(), host, faults: ConfigFaults::default() };
        resolver.env.add_files(&self.env_file, &mut resolver.faults);
        let config = resolver.config(self);
        let run = resolver.run_options(self);
        resolver.faults.or(Resolved { config, run })
    }
}

impl Resolver<'_> {
    fn config(&mut self, flags: &IstioFlags) -> Config {
        let defaults = Config::default();
        let (proxy_uids, proxy_gids) = self.owners(flags);
        let ports = self.ports(flags, defaults.ports);
        let mode = self.mode(&flags.istio_inbound_interception_mode);
        let tproxy_mark =
            self.mark(&setting::TPROXY_MARK, &flags.istio_inbound_tproxy_mark, defaults.tproxy_mark);
        let tproxy_route_table = self.mark(
            &setting::TPROXY_ROUTE_TABLE,
            &flags.istio_inbound_tproxy_route_table,
            defaults.tproxy_route_table,
        );
        let inbound_include = self.parse(&setting::INBOUND_PORTS, &flags.istio_inbound_ports, PortSet::parse);
        let inbound_exclude =
            self.parse(&setting::INBOUND_EXCLUDE, &flags.istio_local_exclude_ports, parse_ports);
        let outbound_ports_include =
            self.parse(&setting::OUTBOUND_PORTS, &flags.istio_outbound_ports, parse_ports);
        let outbound_ports_exclude = self.parse(
            &setting::OUTBOUND_PORTS_EXCLUDE,
            &flags.istio_local_outbound_ports_exclude,
            parse_ports,
        );
        let outbound_include = self.parse(&setting::SERVICE_CIDR, &flags.istio_service_cidr, CidrSet::parse);
        let outbound_exclude = self.parse(
            &setting::SERVICE_EXCLUDE_CIDR,
            &flags.istio_service_exclude_cidr,
            |_, text, faults| cidr::parse_excluded(text, faults),
        );
        let exclude_interfaces =
            self.parse(&setting::EXCLUDE_INTERFACES, &flags.istio_exclude_interfaces, parse_interfaces);
        let kube_virt_interfaces =
            self.parse(&setting::KUBE_VIRT_INTERFACES, &flags.kube_virt_interfaces, parse_interfaces);
        let owner_groups = self.owner_groups();
        let dns = self.dns(flags);
        let loopback_cidr = match self.env.get(&setting::LOOPBACK_CIDR) {
            Some(text) => cidr::parse_loopback(text, &mut self.faults),
            None => defaults.loopback_cidr,
        };
        Config {
            ports,
            proxy_uids,
            proxy_gids,
            mode,
            tproxy_mark,
            tproxy_route_table,
            inbound_include,
            inbound_exclude,
            outbound_ports_include,
            outbound_ports_exclude,
            outbound_include,
            outbound_exclude,
            exclude_interfaces,
            kube_virt_interfaces,
            owner_groups,
            dns,
            loopback_cidr,
            drop_invalid: self.boolean(&setting::DROP_INVALID, &flags.drop_invalid),
            dual_stack: self.boolean(&setting::DUAL_STACK, &flags.dual_stack),
        }
    }

    fn run_options(&mut self, flags: &IstioFlags) -> RunOptions {
        let defaults = RunOptions::default();
        let probe_port = match self.given_value(&setting::PROBE_PORT, &flags.iptables_probe_port) {
            Some(text) => parse_listener(&setting::PROBE_PORT, &text, defaults.probe_port, &mut self.faults),
            None => defaults.probe_port,
        };
        RunOptions {
            dry_run: self.boolean(&setting::DRY_RUN, &flags.dry_run),
            dry_run_file: self.path(&setting::DRY_RUN_FILE, &None),
            cleanup_only: self.boolean(&setting::CLEANUP_ONLY, &flags.cleanup_only),
            skip_rule_apply: self.boolean(&setting::SKIP_RULE_APPLY, &flags.skip_rule_apply),
            run_validation: self.boolean(&setting::RUN_VALIDATION, &flags.run_validation),
            reconcile: self.boolean(&setting::RECONCILE, &flags.reconcile),
            force_apply: self.boolean(&setting::FORCE_APPLY, &flags.force_apply),
            probe_port,
            probe_timeout: self.timeout(&flags.probe_timeout, defaults.probe_timeout),
            network_namespace: self.path(&setting::NETWORK_NAMESPACE, &flags.network_namespace),
            cni_mode: self.boolean(&setting::CNI_MODE, &flags.cni_mode),
            native_nftables: self.boolean(&setting::NATIVE_NFTABLES, &flags.native_nftables),
            iptables_binary: self.iptables_binary(&flags.force_iptables_binary),
        }
    }

    /// The text of a setting, from the flag or else the environment.
    fn given(&self, setting: &Setting, flag: &Option<String>) -> Option<String> {
        flag.clone().or_else(|| self.env.get(setting).map(str::to_owned))
    }

    /// A setting whose default is the empty text.
    fn parse<T>(
        &mut self,
        setting: &Setting,
        flag: &Option<String>,
        parse: impl FnOnce(&Setting, &str, &mut ConfigFaults) -> T,
    ) -> T {
        let text = self.given(setting, flag).unwrap_or_default();
        parse(setting, &text, &mut self.faults)
    }

    /// A setting that is no text in Istio (boolean, probe port, timeout): an empty variable is not set, because
    /// templates write VAR="" for that, and Istio drops what it cannot parse from the environment.
    fn given_value(&self, setting: &Setting, flag: &Option<String>) -> Option<String> {
        let variable = || self.env.get(setting).filter(|text| !text.is_empty()).map(str::to_owned);
        flag.clone().or_else(variable)
    }

    fn boolean(&mut self, setting: &Setting, flag: &Option<String>) -> bool {
        let Some(text) = self.given_value(setting, flag) else { return false };
        parse_bool(&text).unwrap_or_else(|| {
            self.faults.add(setting.fault(text, "is not a boolean", "write true or false"));
            false
        })
    }

    fn ports(&mut self, flags: &IstioFlags, defaults: Ports) -> Ports {
        let mut listener =
            |setting: &Setting, flag: &Option<String>, default: u16| match self.given(setting, flag) {
                Some(text) => parse_listener(setting, &text, default, &mut self.faults),
                None => default,
            };
        let outbound = listener(&setting::ENVOY_PORT, &flags.envoy_port, defaults.outbound);
        let inbound = listener(&setting::INBOUND_CAPTURE_PORT, &flags.inbound_capture_port, defaults.inbound);
        let tunnel = match self.given(&setting::INBOUND_TUNNEL_PORT, &flags.inbound_tunnel_port) {
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
    fn owners(&mut self, flags: &IstioFlags) -> (Vec<u32>, Vec<u32>) {
        let uid_text = self.given(&setting::PROXY_UID, &flags.proxy_uid).filter(|text| !text.is_empty());
        let uid_text = uid_text.unwrap_or_else(|| {
            let user = self.env.get(&setting::ENVOY_USER).unwrap_or("istio-proxy");
            match self.host.user_id(user) {
                Lookup::Found(uid) => uid.to_string(),
                Lookup::Unknown(_) => setting::DEFAULT_PROXY_ID.to_string(),
            }
        });
        let gid_text = self.given(&setting::PROXY_GID, &flags.proxy_gid).filter(|text| !text.is_empty());
        let gid_text = gid_text.unwrap_or_else(|| uid_text.clone());
        let host = self.host;
        let uids = self.ids(&setting::PROXY_UID, &uid_text, |name| host.user_id(name));
        let gids = self.ids(&setting::PROXY_GID, &gid_text, |name| host.group_id(name));
        (uids, gids)
    }

    fn ids(&mut self, setting: &Setting, text: &str, look_up: impl Fn(&str) -> Lookup) -> Vec<u32> {
        let mut ids = Vec::new();
        for item in items(text) {
            match Lookup::of(item, &look_up) {
                Lookup::Found(id) => ids.push(id),
                Lookup::Unknown(reason) => {
                    self.faults.add_item(setting, item, reason, "give the sidecar's numeric id")
                }
            }
        }
        if items(text).next().is_none() {
            let reason = "names nobody, so the sidecar's own traffic would be captured";
            self.faults.add(setting.fault(text, reason, "give the sidecar's numeric id, usually 1337"));
        }
        ids
    }

    /// Istio takes any text and lets only the exact `TPROXY` change something; a misspelt mode is refused here
    /// because it would silently hide the clients' addresses.
    fn mode(&mut self, flag: &Option<String>) -> Mode {
        let text = self.given(&setting::MODE, flag).unwrap_or_default();
        match text.as_str() {
            "" | "REDIRECT" => Mode::Redirect,
            "TPROXY" => Mode::Tproxy,
            _ => {
                let next = "write REDIRECT or TPROXY; to capture nothing inbound, leave -b empty";
                self.faults.add(setting::MODE.fault(text, "is not an interception mode", next));
                Mode::Redirect
            }
        }
    }

    fn mark(&mut self, setting: &Setting, flag: &Option<String>, default: u32) -> u32 {
        let Some(text) = self.given(setting, flag) else { return default };
        parse_mark(text.trim()).unwrap_or_else(|reason| {
            self.faults.add(setting.fault(text, reason, "give a number between 0 and 4294967295"));
            default
        })
    }

    fn owner_groups(&mut self) -> OwnerGroups {
        let include = self.env.get(&setting::OWNER_GROUPS).unwrap_or("*");
        let exclude = self.env.get(&setting::OWNER_GROUPS_EXCLUDE).unwrap_or_default();
        OwnerGroups::parse(include, exclude, self.host, &mut self.faults)
    }

    fn dns(&mut self, flags: &IstioFlags) -> Option<DnsCapture> {
        let capture_all = self.boolean(&setting::CAPTURE_ALL_DNS, &flags.capture_all_dns);
        if !self.boolean(&setting::REDIRECT_DNS, &flags.redirect_dns) {
            return None;
        }
        let servers = dns::servers(capture_all, &flags.dns_server, self.host, &mut self.faults);
        Some(DnsCapture { servers })
    }

    fn timeout(&mut self, flag: &Option<String>, default: Duration) -> Duration {
        let Some(text) = self.given_value(&setting::PROBE_TIMEOUT, flag) else { return default };
        parse_duration(&text).unwrap_or_else(|| {
            let reason = "is not a duration";
            self.faults.add(setting::PROBE_TIMEOUT.fault(text, reason, "write it as 5s, 500ms or 1m30s"));
            default
        })
    }

    fn path(&self, setting: &Setting, flag: &Option<String>) -> Option<PathBuf> {
        self.given(setting, flag).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    fn iptables_binary(&mut self, flag: &Option<String>) -> Option<IptablesBinary> {
        let text = self.given(&setting::FORCE_IPTABLES_BINARY, flag).unwrap_or_default();
        match text.as_str() {
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

#[cfg(test)]
mod tests;
