//! Where values come from: every flag, every variable, and which one wins.

use std::{net::IpAddr, time::Duration};

use rstest::rstest;

use super::*;
use crate::config::{DnsServers, NoHost, OwnerGroup};

#[test]
fn nothing_given() {
    let resolved = Given::default().resolve(&Environment::default(), &NoHost).unwrap();
    assert_eq!(resolved.config, Config::default());
    assert_eq!(resolved.run, RunOptions::default());
}

#[test]
fn what_the_injector_passes() {
    let args = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x |-b * -d 15090,15021,15020 \
                --log_output_level=default:info,wasm:warning --run-validation --skip-rule-apply";
    let args: Vec<&str> = args.split([' ', '|']).collect();
    let Resolved { config, run } = resolve(&args, &[]).unwrap();
    assert_eq!(config.outbound_include, CidrSet::All);
    assert_eq!(config.inbound_exclude, [15090, 15021, 15020]);
    assert_eq!((config.proxy_uids, config.proxy_gids), (vec![1337], vec![1337]));
    assert!(run.run_validation && run.skip_rule_apply && !run.dry_run);
}

/// Each flag under its short form, its long form and its variable makes the same configuration.
#[rstest]
#[case(Some("-z"), "--inbound-capture-port", "INBOUND_CAPTURE_PORT", "16")]
#[case(Some("-e"), "--inbound-tunnel-port", "INBOUND_TUNNEL_PORT", "0")]
#[case(Some("-u"), "--proxy-uid", "PROXY_UID", "3,istio-proxy")]
#[case(Some("-g"), "--proxy-gid", "PROXY_GID", "1,istio-proxy")]
#[case(Some("-m"), "--istio-inbound-interception-mode", "ISTIO_INBOUND_INTERCEPTION_MODE", "TPROXY")]
#[case(Some("-b"), "--istio-inbound-ports", "ISTIO_INBOUND_PORTS", "*")]
#[case(Some("-d"), "--istio-local-exclude-ports", "ISTIO_LOCAL_EXCLUDE_PORTS", "6000,7000,")]
#[case(Some("-c"), "--istio-exclude-interfaces", "ISTIO_EXCLUDE_INTERFACES", "eth1, 3g0")]
#[case(Some("-i"), "--istio-service-cidr", "ISTIO_SERVICE_CIDR", "10.0.0.0/8,2001:db8::/32")]
#[case(Some("-x"), "--istio-service-exclude-cidr", "ISTIO_SERVICE_EXCLUDE_CIDR", "1.1.0.0/16")]
#[case(Some("-q"), "--istio-outbound-ports", "ISTIO_OUTBOUND_PORTS", "32000,31000")]
#[case(Some("-o"), "--istio-local-outbound-ports-exclude", "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE", "0")]
#[case(Some("-k"), "--kube-virt-interfaces", "KUBE_VIRT_INTERFACES", "eth1,eth2")]
#[case(Some("-t"), "--istio-inbound-tproxy-mark", "ISTIO_INBOUND_TPROXY_MARK", "0x10")]
#[case(Some("-r"), "--istio-inbound-tproxy-route-table", "ISTIO_INBOUND_TPROXY_ROUTE_TABLE", "9")]
#[case(None, "--redirect-dns", "REDIRECT_DNS", "true")]
#[case(None, "--redirect-dns", "ISTIO_META_DNS_CAPTURE", "1")]
#[case(None, "--drop-invalid", "DROP_INVALID", "T")]
#[case(None, "--drop-invalid", "INVALID_DROP", "true")]
#[case(None, "--dual-stack", "DUAL_STACK", "TRUE")]
#[case(None, "--dual-stack", "ISTIO_DUAL_STACK", "True")]
fn config_settings(
    #[case] short: Option<&str>,
    #[case] long: &str,
    #[case] variable: &str,
    #[case] value: &str,
) {
    let from_env = config(&[], &[(variable, value)]);
    assert_ne!(from_env, config(&[], &[]));
    assert_eq!(config(&[&format!("{long}={value}")], &[]), from_env);
    if let Some(short) = short {
        assert_eq!(config(&[short, value], &[]), from_env);
        assert_eq!(config(&[&format!("{short}{value}")], &[]), from_env);
    }
}

#[rstest]
#[case("--dry-run", "DRY_RUN", "true")]
#[case("--cleanup-only", "CLEANUP_ONLY", "true")]
#[case("--skip-rule-apply", "SKIP_RULE_APPLY", "true")]
#[case("--run-validation", "RUN_VALIDATION", "true")]
#[case("--reconcile", "RECONCILE", "true")]
#[case("--force-apply", "FORCE_APPLY", "true")]
#[case("--native-nftables", "NATIVE_NFTABLES", "true")]
#[case("--cni-mode", "CNI_MODE", "true")]
#[case("--iptables-probe-port", "IPTABLES_PROBE_PORT", "99")]
#[case("--probe-timeout", "PROBE_TIMEOUT", "1m0.5s")]
#[case("--network-namespace", "NETWORK_NAMESPACE", "/proc/1/ns/net")]
#[case("--force-iptables-binary", "FORCE_IPTABLES_BINARY", "nft")]
fn run_settings(#[case] long: &str, #[case] variable: &str, #[case] value: &str) {
    let from_env = run(&[], &[(variable, value)]);
    assert_ne!(from_env, RunOptions::default());
    assert_eq!(run(&[&format!("{long}={value}")], &[]), from_env);
    if value == "true" {
        assert_eq!(run(&[long], &[]), from_env);
    }
}

#[test]
fn flag_wins_over_environment_even_when_empty() {
    let env = [("ISTIO_INBOUND_PORTS", "*"), ("REDIRECT_DNS", "true")];
    let config = config(&["-b", "", "--redirect-dns=false"], &env);
    assert_eq!(config.inbound_include, PortSet::None);
    assert_eq!(config.dns, None);
}

#[test]
fn last_flag_wins() {
    assert_eq!(config(&["-b", "80", "-b", "81", "--drop-invalid", "--drop-invalid=false"], &[]), {
        config(&["-b", "81"], &[])
    });
}

#[test]
fn alias_wins_over_the_plain_variable() {
    let env = [("REDIRECT_DNS", "true"), ("ISTIO_META_DNS_CAPTURE", "false")];
    assert_eq!(config(&[], &env).dns, None);
}

#[test]
fn empty_variable_is_not_set_where_text_is_none() {
    assert_eq!(run(&[], &[("PROBE_TIMEOUT", ""), ("IPTABLES_PROBE_PORT", "")]), RunOptions::default());
    assert!(!config(&[], &[("INVALID_DROP", "")]).drop_invalid);
}

#[test]
fn variables_that_istio_does_not_read() {
    let env = [("ENVOY_PORT", "1"), ("ISTIO_INBOUND_EXCLUDE_PORTS", "1"), ("DNS_SERVER", "1.1.1.1")];
    assert_eq!(config(&[], &env), config(&[], &[]));
}

#[test]
fn owners_default_to_the_envoy_user() {
    let owners = |args: &[&str], env: &[(&str, &str)]| {
        let config = config(args, env);
        (config.proxy_uids, config.proxy_gids)
    };
    assert_eq!(owners(&[], &[]), (vec![1234], vec![1234]));
    assert_eq!(owners(&[], &[("ENVOY_USER", "envoy")]), (vec![7], vec![7]));
    assert_eq!(owners(&[], &[("ENVOY_USER", "nobody-here")]), (vec![1337], vec![1337]));
    assert_eq!(owners(&["-u", "3,4"], &[]), (vec![3, 4], vec![3, 4]));
    assert_eq!(owners(&["-u", "istio-proxy"], &[]), (vec![1234], vec![1235]));
}

#[test]
fn owner_groups() {
    let groups = |env: &[(&str, &str)]| config(&[], env).owner_groups;
    let (include, exclude) = ("ISTIO_OUTBOUND_OWNER_GROUPS", "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE");
    let java = OwnerGroup { gid: 203, name: Some("java".into()) };
    let number = |gid| OwnerGroup { gid, name: None };
    assert_eq!(groups(&[]), OwnerGroups::Everyone);
    assert_eq!(groups(&[(include, "")]), OwnerGroups::Only(Vec::new()));
    assert_eq!(groups(&[(include, "java,202")]), OwnerGroups::Only(vec![java.clone(), number(202)]));
    assert_eq!(groups(&[(exclude, "888, java")]), OwnerGroups::Except(vec![number(888), java]));
    assert_eq!(groups(&[(include, "1"), (exclude, "2")]), OwnerGroups::Only(vec![number(1)]));
}

#[test]
fn dns_servers() {
    let servers = |args: &[&str]| config(args, &[]).dns.map(|dns| dns.servers);
    let list = |texts: &[&str]| {
        Some(DnsServers::List(texts.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect()))
    };
    assert_eq!(servers(&["--capture-all-dns", "--dns-server", "1.1.1.1"]), None);
    assert_eq!(servers(&["--redirect-dns"]), list(&["10.96.0.10", "fe80::1"]));
    assert_eq!(servers(&["--redirect-dns", "--capture-all-dns"]), Some(DnsServers::All));
    assert_eq!(servers(&["--redirect-dns", "--dns-server", "none"]), list(&[]));
    let two = ["--redirect-dns", "--dns-server", "::127.0.0.53", "--dns-server", "1.1.1.1"];
    assert_eq!(servers(&two), list(&["::127.0.0.53", "1.1.1.1"]));
    assert_eq!(config(&["--redirect-dns", "--dns-server=none"], &[]).dns_active(), None);
}

#[test]
fn env_files_come_last() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar =
        "# comment\nISTIO_SERVICE_CIDR='10.0.0.0/8'\nexport ISTIO_INBOUND_PORTS=80\nREDIRECT_DNS=true\n";
    let sidecar = env_file(folder.path(), "sidecar.env", sidecar);
    let cluster = env_file(folder.path(), "cluster.env", "ISTIO_SERVICE_CIDR='*'\nISTIO_INBOUND_PORTS='*'\n");
    let files = ["--env-file", &sidecar, "--env-file", &cluster];
    let config = config(&files, &[("ISTIO_INBOUND_PORTS", "22"), ("ISTIO_META_DNS_CAPTURE", "false")]);
    assert_eq!(config.outbound_include, CidrSet::All);
    assert_eq!(config.inbound_include, PortSet::List(vec![22]));
    assert_eq!(config.dns, None, "the environment wins, whatever the name");
}

#[rstest]
#[case("5s", Some(Duration::from_secs(5)))]
#[case("1h2m3.5s", Some(Duration::from_millis(3_723_500)))]
#[case("300ms", Some(Duration::from_millis(300)))]
#[case("0", Some(Duration::ZERO))]
#[case("5", None)]
#[case("-1s", None)]
#[case("s", None)]
#[case("", None)]
fn durations(#[case] text: &str, #[case] expected: Option<Duration>) {
    assert_eq!(parse_duration(text), expected);
}

#[test]
fn survives_the_pins() {
    let args = ["-i", "10.0.0.1/8", "-b", "80", "--redirect-dns", "-c", "eth1", "--dual-stack"];
    let config = config(&args, &[("ISTIO_OUTBOUND_OWNER_GROUPS", "java")]);
    let stored = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&stored).unwrap(), config);
}
