//! How a workload's settings and tables are written for programs: the names and shapes are those of
//! `docs/schema/status.json`, whatever they are called here.

use ipnet::IpNet;
use proxy_common::{policy::interface_flag, wire::route_flag};
use proxy_core::config::{CidrSet, Config, DnsServers, OwnerGroups, PortSet};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::meta::KnownRoute;

pub(super) fn config<S: Serializer>(config: &Config, serializer: S) -> Result<S::Ok, S::Error> {
    value_of(config).serialize(serializer)
}

fn value_of(config: &Config) -> Value {
    let dns = config.dns.as_ref().map(|dns| match &dns.servers {
        DnsServers::All => everything(),
        DnsServers::List(servers) => these(servers),
    });
    json!({
        "mode": config.mode.name(),
        "ports": config.ports,
        "proxy_uids": config.proxy_uids,
        "proxy_gids": config.proxy_gids,
        "tproxy_mark": config.tproxy_mark,
        "tproxy_route_table": config.tproxy_route_table,
        "inbound_include": match &config.inbound_include {
            PortSet::All => everything(),
            PortSet::None => these::<u16>(&[]),
            PortSet::List(ports) => these(ports),
        },
        "inbound_exclude": config.inbound_exclude,
        "outbound_include": match &config.outbound_include {
            CidrSet::All => everything(),
            CidrSet::List(ranges) => these(ranges),
        },
        "outbound_exclude": config.outbound_exclude,
        "outbound_ports_include": config.outbound_ports_include,
        "outbound_ports_exclude": config.outbound_ports_exclude,
        "exclude_interfaces": config.exclude_interfaces,
        "virtual_interfaces": config.kube_virt_interfaces,
        "owner_groups": match &config.owner_groups {
            OwnerGroups::Everyone => json!({ "all": true, "list": [], "except": [] }),
            OwnerGroups::Only(groups) => json!({ "all": false, "list": groups, "except": [] }),
            OwnerGroups::Except(groups) => json!({ "all": true, "list": [], "except": groups }),
        },
        "dns": dns,
        "loopback_cidr": config.loopback_cidr,
        "drop_invalid": config.drop_invalid,
        "dual_stack": config.dual_stack,
    })
}

fn everything() -> Value {
    json!({ "all": true, "list": [] })
}

fn these<T: Serialize>(list: &[T]) -> Value {
    json!({ "all": false, "list": list })
}

pub(super) fn routes<S: Serializer>(
    routes: &[(IpNet, KnownRoute)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(routes.iter().map(|(prefix, route)| {
        json!({
            "prefix": prefix,
            "source": route.source,
            "local": route.flags & route_flag::LOCAL != 0,
            "excluded": route.flags & route_flag::EXCLUDED != 0,
            "unreachable": route.flags & route_flag::UNREACHABLE != 0,
        })
    }))
}

pub(super) fn interfaces<S: Serializer>(interfaces: &[(u32, u8)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(interfaces.iter().map(|(index, flags)| {
        json!({
            "index": index,
            "excluded": flags & interface_flag::EXCLUDED != 0,
            "virtual": flags & interface_flag::VIRTUAL != 0,
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_one_shape() {
        let mut config = Config { inbound_include: PortSet::All, ..Config::default() };
        assert_eq!(value_of(&config)["inbound_include"], json!({ "all": true, "list": [] }));
        config.inbound_include = PortSet::List(vec![8080]);
        assert_eq!(value_of(&config)["inbound_include"], json!({ "all": false, "list": [8080] }));
        assert_eq!(value_of(&config)["outbound_include"], json!({ "all": false, "list": [] }));
        assert_eq!(value_of(&config)["owner_groups"]["all"], true);
        assert_eq!(
            (&value_of(&config)["mode"], &value_of(&config)["dns"]),
            (&json!("REDIRECT"), &Value::Null)
        );
    }
}
