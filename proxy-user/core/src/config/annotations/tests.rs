//! One case an annotation, for the injector and for the CNI plugin.

use std::io;

use rstest::rstest;

use super::*;
use crate::config::{CidrSet, DnsServers, Lookup, Mode, NoHost, PortSet};

const MODE: &str = setting::MODE.annotation;
const INCLUDE_RANGES: &str = setting::SERVICE_CIDR.annotation;
const EXCLUDE_RANGES: &str = setting::SERVICE_EXCLUDE_CIDR.annotation;
const INCLUDE_INBOUND: &str = setting::INBOUND_PORTS.annotation;
const EXCLUDE_INBOUND: &str = setting::INBOUND_EXCLUDE.annotation;
const INCLUDE_OUTBOUND: &str = setting::OUTBOUND_PORTS.annotation;
const EXCLUDE_OUTBOUND: &str = setting::OUTBOUND_PORTS_EXCLUDE.annotation;
const EXCLUDE_INTERFACES: &str = setting::EXCLUDE_INTERFACES.annotation;
const REROUTE: &str = setting::KUBE_VIRT_INTERFACES.annotation;
const KUBEVIRT: &str = setting::KUBEVIRT.annotation;
const STATUS_PORT: &str = setting::STATUS_PORT.annotation;
const INJECT: &str = setting::INJECT.annotation;
const STATUS: &str = setting::STATUS.annotation;

fn pod(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(pairs: &[(&str, &str)], defaults: Defaults) -> Result<Capture, ConfigFaults> {
    from_annotations(&pod(pairs), defaults, &ProxySettings::default(), &NoHost)
}

fn config(pairs: &[(&str, &str)], defaults: Defaults) -> Config {
    match read(pairs, defaults) {
        Ok(Capture::Of(config)) => *config,
        other => panic!("{other:?}"),
    }
}

fn reason(name: &str, value: &str, defaults: Defaults) -> String {
    let ConfigFaults(faults) = read(&[(name, value)], defaults).expect_err("accepted");
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].names.contains(name));
    assert_eq!(faults[0].value, value);
    faults[0].reason.clone()
}

#[test]
fn injector_defaults() {
    let config = config(&[], Defaults::Injector);
    assert_eq!(config.inbound_include, PortSet::All);
    assert_eq!(config.inbound_exclude, [15090, 15021, 15020]);
    assert_eq!(config.outbound_include, CidrSet::All);
    assert!(config.outbound_ports_exclude.is_empty());
    assert_eq!((config.proxy_uids, config.proxy_gids), (vec![1337], vec![1337]));
}

/// As the CNI plugin, but for DNS: the pod's resolvers, as istio-init has them.
#[test]
fn agent_defaults() {
    let dns = |defaults, servers: &[&str]| {
        let env = [("ISTIO_META_DNS_CAPTURE", "true")].into_iter().collect();
        let mut proxy = ProxySettings { env, ..ProxySettings::default() };
        let servers = servers.iter().map(|ip| (*ip).to_owned()).collect();
        proxy.given.set(&setting::DNS_SERVER, Value::Items(servers));
        match from_annotations(&pod(&[]), defaults, &proxy, &NoHost) {
            Ok(Capture::Of(config)) => *config,
            other => panic!("{other:?}"),
        }
    };
    let [cni, agent] = [Defaults::Cni, Defaults::Agent].map(|defaults| dns(defaults, &["10.96.0.10"]));
    assert_eq!(cni.dns.as_ref().unwrap().servers, DnsServers::All);
    assert_eq!(agent.dns.as_ref().unwrap().servers, DnsServers::List(vec!["10.96.0.10".parse().unwrap()]));
    assert_eq!(Config { dns: None, ..cni }, Config { dns: None, ..agent });
    let none = read(&[(MODE, "NONE")], Defaults::Agent).unwrap();
    assert!(matches!(none, Capture::Nothing(_)), "{none:?}");
}

#[test]
fn cni_defaults() {
    let config = config(&[], Defaults::Cni);
    assert_eq!(config.inbound_exclude, [15020, 15021, 15090]);
    assert_eq!(config.outbound_ports_exclude, [15020]);
}

#[test]
fn interception_mode() {
    for defaults in [Defaults::Injector, Defaults::Cni] {
        assert_eq!(config(&[(MODE, "TPROXY")], defaults).mode, Mode::Tproxy);
    }
    assert_eq!(
        read(&[(MODE, "NONE")], Defaults::Injector),
        Ok(Capture::Nothing("sidecar.istio.io/interceptionMode is NONE"))
    );
}

#[test]
fn include_outbound_ranges() {
    let nets = |text: &str| CidrSet::List(text.split(',').map(|net| net.parse().unwrap()).collect());
    let ranges = config(&[(INCLUDE_RANGES, "10.0.0.0/8,2001:db8::/32")], Defaults::Cni).outbound_include;
    assert_eq!(ranges, nets("10.0.0.0/8,2001:db8::/32"));
    let none = config(&[(INCLUDE_RANGES, "")], Defaults::Injector).outbound_include;
    assert_eq!(none, CidrSet::List(Vec::new()));
}

#[test]
fn exclude_outbound_ranges() {
    let excluded = config(&[(EXCLUDE_RANGES, "1.1.0.0/16")], Defaults::Injector).outbound_exclude;
    assert_eq!(excluded, ["1.1.0.0/16".parse().unwrap()]);
}

#[test]
fn include_inbound_ports() {
    let ports = config(&[(INCLUDE_INBOUND, "80, 81")], Defaults::Injector).inbound_include;
    assert_eq!(ports, PortSet::List(vec![80, 81]));
    assert_eq!(config(&[(INCLUDE_INBOUND, "")], Defaults::Cni).inbound_include, PortSet::None);
}

#[test]
fn exclude_inbound_ports() {
    let injector = config(&[(EXCLUDE_INBOUND, "22,23")], Defaults::Injector);
    assert_eq!(injector.inbound_exclude, [15090, 15021, 22, 23, 15020]);
    let cni = config(&[(EXCLUDE_INBOUND, "3333,4444,15021")], Defaults::Cni);
    assert_eq!(cni.inbound_exclude, [3333, 4444, 15021, 15020, 15090]);
}

#[test]
fn outbound_ports() {
    let annotations = [(INCLUDE_OUTBOUND, "8080"), (EXCLUDE_OUTBOUND, "5555,6666")];
    for defaults in [Defaults::Injector, Defaults::Cni] {
        let config = config(&annotations, defaults);
        assert_eq!(config.outbound_ports_include, [8080]);
        assert_eq!(config.outbound_ports_exclude, [5555, 6666]);
    }
}

#[test]
fn interfaces() {
    let config = config(&[(EXCLUDE_INTERFACES, "eth1,net-2")], Defaults::Cni);
    assert_eq!(config.exclude_interfaces, ["eth1", "net-2"]);
}

#[test]
fn virtual_interfaces_under_both_names() {
    let old = config(&[(KUBEVIRT, "k6t-eth0")], Defaults::Injector);
    assert_eq!(old.kube_virt_interfaces, ["k6t-eth0"]);
    let both = config(&[(KUBEVIRT, "eth9"), (REROUTE, "eth1")], Defaults::Cni);
    assert_eq!(both.kube_virt_interfaces, ["eth1"]);
}

#[test]
fn status_port() {
    let moved = config(&[(STATUS_PORT, "15099")], Defaults::Injector);
    assert_eq!(moved.inbound_exclude, [15090, 15021, 15099]);
    let off = config(&[(STATUS_PORT, "0")], Defaults::Injector);
    assert_eq!(off.inbound_exclude, [15090, 15021]);
    assert_eq!(config(&[(STATUS_PORT, "15099")], Defaults::Cni).inbound_exclude, [15020, 15021, 15090]);
}

#[test]
fn inject_and_status() {
    let (yes, none, proxy) = (pod(&[(STATUS, "{}")]), pod(&[]), ProxySettings::default());
    assert_eq!(opted_out(&none, &none, &proxy, Defaults::Injector), None);
    assert_eq!(opted_out(&none, &none, &proxy, Defaults::Cni), Some(OptOut::NotInjected));
    assert_eq!(opted_out(&yes, &none, &proxy, Defaults::Cni), None);
    let no = pod(&[(INJECT, "false")]);
    assert_eq!(opted_out(&no, &none, &proxy, Defaults::Injector), Some(OptOut::InjectFalse));
    assert_eq!(opted_out(&no, &pod(&[(INJECT, "true")]), &proxy, Defaults::Injector), None);
    assert_eq!(opted_out(&yes, &pod(&[(INJECT, "F")]), &proxy, Defaults::Cni), Some(OptOut::InjectFalse));
}

/// The CNI plugin leaves a pod alone whose proxy runs no Envoy, or is no sidecar.
#[rstest]
#[case::no_envoy(Some("true"), "proxy sidecar", Some(OptOut::NoEnvoy))]
#[case::envoy(Some("false"), "proxy sidecar", None)]
#[case::not_a_boolean(Some("yes"), "proxy sidecar", None)]
#[case::gateway(None, "proxy router --domain x", Some(OptOut::NoSidecar))]
#[case::sidecar(None, "proxy sidecar --domain x", None)]
#[case::no_type(None, "proxy", None)]
#[case::another_program(None, "wait router", None)]
fn the_sidecar_itself(#[case] no_envoy: Option<&str>, #[case] args: &str, #[case] expected: Option<OptOut>) {
    let env = no_envoy.map(|value| ("DISABLE_ENVOY", value)).into_iter().collect();
    let args = args.split(' ').map(str::to_owned).collect();
    let proxy = ProxySettings { env, args, ..ProxySettings::default() };
    let injected = pod(&[(STATUS, "{}")]);
    assert_eq!(opted_out(&injected, &pod(&[]), &proxy, Defaults::Cni), expected);
    assert_eq!(opted_out(&injected, &pod(&[]), &proxy, Defaults::Injector), None);
}

/// Istio's injector does not look at includeOutboundPorts, and istio-iptables drops the empty item; the CNI plugin refuses.
#[test]
fn an_empty_item_among_included_outbound_ports() {
    for text in ["8080,", ",8080", "8080,,", " 8080 ,"] {
        assert_eq!(config(&[(INCLUDE_OUTBOUND, text)], Defaults::Injector).outbound_ports_include, [8080]);
        assert!(reason(INCLUDE_OUTBOUND, text, Defaults::Cni).contains("invalid syntax"), "{text}");
    }
}

/// Beside the annotation that counts, the injector checks the older one too.
#[test]
fn a_wrong_virtual_interface_that_does_not_count() {
    let both = [(KUBEVIRT, "eth 0"), (REROUTE, "eth1")];
    assert_eq!(config(&both, Defaults::Cni).kube_virt_interfaces, ["eth1"]);
    let ConfigFaults(faults) = read(&both, Defaults::Injector).unwrap_err();
    assert_eq!((faults.len(), faults[0].value.as_str()), (1, "eth 0"));
}

#[rstest]
#[case::mode(MODE, "NON", "interceptionMode invalid, use REDIRECT,TPROXY,NONE: NON")]
#[case::ranges(
    INCLUDE_RANGES,
    "10.0.0.1",
    r#"includeIPRanges invalid: failed parsing cidr '10.0.0.1': netip.ParsePrefix("10.0.0.1"): no '/'"#
)]
#[case::no_wildcard(EXCLUDE_RANGES, "*", "excludeIPRanges invalid: failed parsing cidr '*': ")]
#[case::inbound(INCLUDE_INBOUND, "80,x", "includeInboundPorts invalid: failed parsing port 'x': ")]
#[case::inbound_star(EXCLUDE_INBOUND, "*", "excludeInboundPorts invalid: failed parsing port '*': ")]
#[case::octal(EXCLUDE_OUTBOUND, "022", "excludeOutboundPorts invalid: failed parsing port '022': ")]
#[case::outbound(INCLUDE_OUTBOUND, "*", "includeOutboundPorts invalid: failed parsing port '*': ")]
#[case::outbound_large(
    EXCLUDE_OUTBOUND,
    "65536",
    "excludeOutboundPorts invalid: failed parsing port '65536': "
)]
#[case::status(STATUS_PORT, "x", "excludeInboundPorts invalid: failed parsing port 'x': ")]
#[case::empty_interface(EXCLUDE_INTERFACES, "eth0,", "empty interface name")]
#[case::long(KUBEVIRT, "abcdefghijklmnop", r#"interface name "abcdefghijklmnop" too long (max 15 chars)"#)]
#[case::injection(REROUTE, "eth0 -j DROP", r#"interface name "eth0 -j DROP" contains invalid characters"#)]
fn injector_refuses(#[case] name: &str, #[case] value: &str, #[case] text: &str) {
    let wrapped = format!("invalid value '{value}' for annotation '{name}': {text}");
    assert!(reason(name, value, Defaults::Injector).starts_with(&wrapped));
}

#[rstest]
#[case::mode(MODE, "NONE", "redirectMode", "interceptionMode invalid: NONE")]
#[case::ranges(INCLUDE_RANGES, "x/8", "includeIPCidrs", "IPRanges invalid: failed parsing cidr 'x/8': ")]
#[case::excluded(EXCLUDE_RANGES, "1.1.1.1/33", "excludeIPCidrs", "failed parsing cidr '1.1.1.1/33': ")]
#[case::ports(
    INCLUDE_INBOUND,
    "-1",
    "includeInboundPorts",
    r#"portList "-1" invalid: failed parsing port "-1": "#
)]
#[case::star(EXCLUDE_INBOUND, "*", "excludeInboundPorts", r#"portList "*" invalid: "#)]
#[case::interfaces(EXCLUDE_INTERFACES, "1eth", "excludeInterfaces", r#"interface name "1eth" contains "#)]
fn cni_refuses(#[case] name: &str, #[case] value: &str, #[case] key: &str, #[case] text: &str) {
    let wrapped = format!("annotation value error for value {key}; annotationFound = true: {text}");
    assert!(reason(name, value, Defaults::Cni).starts_with(&wrapped));
}

#[test]
fn all_faults_at_once() {
    let annotations = [(MODE, "x"), (INCLUDE_RANGES, "x"), (STATUS_PORT, "x"), (REROUTE, "x y")];
    let ConfigFaults(faults) = read(&annotations, Defaults::Injector).unwrap_err();
    assert_eq!(faults.len(), 4);
}

#[test]
fn sidecar_environment() {
    struct Pod;
    impl Host for Pod {
        fn user_id(&self, _: &str) -> Lookup {
            unreachable!("the uid is given")
        }
        fn group_id(&self, _: &str) -> Lookup {
            unreachable!("the gid is given")
        }
        fn resolv_conf(&self) -> io::Result<String> {
            Ok("nameserver 10.96.0.10\n".to_owned())
        }
    }
    let env = pod(&[("ISTIO_META_DNS_CAPTURE", "true"), ("INVALID_DROP", "1"), ("ISTIO_DUAL_STACK", "yes")]);
    let proxy = ProxySettings {
        uid: Some(0),
        gid: Some(1234),
        env: Environment::from_iter(env.clone()),
        ..Default::default()
    };
    let Ok(Capture::Of(cni)) = from_annotations(&pod(&[]), Defaults::Cni, &proxy, &NoHost) else {
        panic!("a bad boolean only warns")
    };
    assert_eq!(cni.dns.unwrap().servers, DnsServers::All);
    assert!(cni.drop_invalid && !cni.dual_stack);
    assert_eq!((cni.proxy_uids, cni.proxy_gids), (vec![1337], vec![1234]));

    let proxy = ProxySettings { env: Environment::from_iter([("ISTIO_META_DNS_CAPTURE", "true")]), ..proxy };
    let Ok(Capture::Of(init)) = from_annotations(&pod(&[]), Defaults::Injector, &proxy, &Pod) else {
        panic!()
    };
    assert_eq!(init.dns.unwrap().servers, DnsServers::List(vec!["10.96.0.10".parse().unwrap()]));
}

#[test]
fn flags_say_what_annotations_do_not() {
    // An annotation's default comes before -b.
    let given = Given::from_words(["-z", "16006", "-u", "2000", "--redirect-dns", "-b", "80"]).unwrap();
    let proxy = ProxySettings { given, ..ProxySettings::default() };
    let Ok(Capture::Of(cni)) = from_annotations(&pod(&[]), Defaults::Cni, &proxy, &NoHost) else { panic!() };
    assert_eq!((cni.ports.inbound, cni.proxy_uids, cni.proxy_gids), (16006, vec![2000], vec![1337]));
    assert_eq!(cni.dns.unwrap().servers, DnsServers::All, "the CNI plugin captures all");
    assert_eq!(cni.inbound_include, PortSet::All);
}

#[test]
fn opting_out_of_the_acceleration() {
    let says = |value: &str| accelerate_opt_out(&pod(&[(setting::ACCELERATE.annotation, value)]));
    assert_eq!(accelerate_opt_out(&pod(&[])), Ok(false));
    assert_eq!((says("true"), says("false")), (Ok(false), Ok(true)));
    let text = "annotation sidestep.io/accelerate = \"off\": is neither \"true\" nor \"false\"; \
                write one of these two";
    assert_eq!(says("off").unwrap_err().to_string(), text);
}
