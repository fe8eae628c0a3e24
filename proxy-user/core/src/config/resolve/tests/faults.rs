//! What is refused, and how it is said.

use rstest::rstest;

use super::*;

fn faults(args: &[&str], env: &[(&str, &str)]) -> Vec<crate::config::Fault> {
    resolve(args, env).expect_err("accepted").0
}

#[rstest]
#[case::listener(&["-p", "0"], "--envoy-port (-p)", "cannot be listened on")]
#[case::capture(&["-z", "65536"], "INBOUND_CAPTURE_PORT", "is out of range")]
#[case::tunnel(&["-e", "x"], "INBOUND_TUNNEL_PORT", "is not a decimal number")]
#[case::nobody(&["-u", ","], "PROXY_UID", "names nobody")]
#[case::last_uid(&["-u", "4294967295"], "PROXY_UID", "stands for nobody")]
#[case::octal_uid(&["-u", "01337"], "PROXY_UID", "would read it as octal")]
#[case::octal_port(&["-b", "80,022"], "ISTIO_INBOUND_PORTS", "would read it as octal")]
#[case::octal_listener(&["-p", "015001"], "--envoy-port (-p)", "would read it as octal")]
#[case::octal_mark(&["-m", "TPROXY", "-b", "80", "-t", "01337"], "ISTIO_INBOUND_TPROXY_MARK", "would read it as octal")]
#[case::user(&["-u", "1,nope"], "PROXY_UID", "is neither a uid nor a user")]
#[case::gid(&["-g", "99999999999"], "PROXY_GID", "is neither a gid nor a group")]
#[case::mode(&["-m", "tproxy"], "annotation sidecar.istio.io/interceptionMode", "is not an interception mode")]
#[case::range(&["-b", "8000:8010"], "ISTIO_INBOUND_PORTS", "is a port range")]
#[case::star_in_list(&["-b", "80,*"], "includeInboundPorts", "is not a port")]
#[case::service(&["-b", "*", "-d", "ssh"], "ISTIO_LOCAL_EXCLUDE_PORTS", "is not a decimal number")]
#[case::star(&["-q", "*"], "ISTIO_OUTBOUND_PORTS", "is not a port")]
#[case::plus(&["-o", "+80"], "excludeOutboundPorts", "is not a decimal number")]
#[case::long_name(&["-c", "abcdefghijklmnop"], "ISTIO_EXCLUDE_INTERFACES", "too long (max 15 chars)")]
#[case::wildcard_name(&["-k", "eth+"], "KUBE_VIRT_INTERFACES", "contains invalid characters")]
#[case::no_length(&["-i", "10.0.0.1"], "ISTIO_SERVICE_CIDR", "10.0.0.1/32 is that one address")]
#[case::star_and_more(&["-i", "*,10.0.0.0/8"], "-i", "cannot be one item of a list")]
#[case::too_long(&["-i", "10.0.0.0/33"], "-i", "longer than its address")]
#[case::leading_zero(&["-i", "10.0.0.0/08"], "-i", "leading zero")]
#[case::zone(&["-i", "fe80::%eth0/64"], "-i", "has a zone")]
#[case::exclude_all(&["-x", "*"], "ISTIO_SERVICE_EXCLUDE_CIDR", "invalid value for OUTBOUND_IP_RANGES_EXCLUDE")]
#[case::mark_without_inbound(&["-m", "TPROXY", "-t", "1337/0xff"], "ISTIO_INBOUND_TPROXY_MARK", "is not a decimal number")]
#[case::mark(&["-m", "TPROXY", "-b", "80", "-t", "0xg"], "ISTIO_INBOUND_TPROXY_MARK", "is not a hexadecimal number")]
#[case::boolean(&["--redirect-dns=yes"], "env REDIRECT_DNS or ISTIO_META_DNS_CAPTURE", "is not a boolean")]
#[case::server(&["--redirect-dns", "--dns-server", "x"], "--dns-server", "is not an IP address")]
#[case::none_and_one(&["--redirect-dns", "--dns-server=none", "--dns-server=1.1.1.1"], "--dns-server", "empty list")]
#[case::timeout(&["--probe-timeout", "5"], "PROBE_TIMEOUT", "is not a duration")]
#[case::binary(&["--force-iptables-binary", "x"], "FORCE_IPTABLES_BINARY", "invalid FORCE_IPTABLES_BINARY value \"x\"")]
#[case::file(&["--env-file", "/nonexistent"], "--env-file", "cannot be read")]
fn refused(#[case] args: &[&str], #[case] name: &str, #[case] reason: &str) {
    let shown = faults(args, &[]).first().expect("a fault").to_string();
    assert!(shown.contains(name), "{shown}");
    assert!(shown.contains(reason), "{shown}");
}

#[rstest]
#[case::group("ISTIO_OUTBOUND_OWNER_GROUPS", "java,nope", "is neither a gid nor a group")]
#[case::group_exclude("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "nope", "is neither a gid nor a group")]
#[case::group_octal("ISTIO_OUTBOUND_OWNER_GROUPS", "010", "would read it as octal")]
#[case::group_last("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "4294967295", "stands for nobody")]
#[case::loopback("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "10.0.0.0/8", "expected valid IPv4 loopback address")]
#[case::loopback6("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "::1/128", "expected valid IPv4 loopback address")]
#[case::wide("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.0/7", "mask in range [8, 32]; found 7")]
#[case::no_cidr("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.1", "failed to parse CIDR")]
#[case::boolean("INVALID_DROP", "on", "is not a boolean")]
fn refused_variable(#[case] variable: &str, #[case] value: &str, #[case] reason: &str) {
    let shown = faults(&[], &[(variable, value)]);
    assert_eq!(shown.len(), 1);
    let shown = shown[0].to_string();
    assert!(shown.contains(variable) && shown.contains(reason), "{shown}");
}

#[test]
fn too_many_groups() {
    let groups = |count: u32| (1..=count).map(|gid| gid.to_string()).collect::<Vec<_>>().join(",");
    let variable = "ISTIO_OUTBOUND_OWNER_GROUPS";
    assert_eq!(config(&[], &[(variable, &groups(64))]).owner_groups.gids().len(), 64);
    let fault = faults(&[], &[(variable, &groups(65))]).remove(0);
    let text = "number of owner groups whose outgoing traffic should be redirected to Envoy cannot exceed 64, got 65";
    assert_eq!(fault.reason, text);
}

#[test]
fn all_of_them_each_on_a_line() {
    let args = ["-p", "x", "-b", "x,80,y", "-i", "x", "-u", "x", "--probe-timeout", "x", "--dry-run=x"];
    let error = resolve(&args, &[("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "x")]).unwrap_err();
    // The uid's text is also the gid's.
    assert_eq!(error.0.len(), 9);
    assert_eq!(error.to_string().lines().count(), 9);
    assert!(error.0.iter().all(|fault| fault.value == "x" || fault.value == "y"));
    assert!(error.0.iter().all(|fault| !fault.next.is_empty()));
}

/// What Istio does not look at may be anything, as in a template that is used for both modes.
#[rstest]
#[case::exclude(&["-d", "*"], &["-d", ""], &[])]
#[case::exclude_of_list(&["-b", "80", "-d", "ssh"], &["-b", "80"], &[])]
#[case::mark(&["-t", "abc", "-r", "abc", "-b", "*"], &["-b", "*"], &[])]
#[case::table_without_inbound(&["-m", "TPROXY", "-r", "022"], &["-m", "TPROXY"], &[])]
#[case::groups(&[], &[], &[("ISTIO_OUTBOUND_OWNER_GROUPS", "java"), ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "nope")])]
fn unread(#[case] args: &[&str], #[case] without: &[&str], #[case] env: &[(&str, &str)]) {
    assert_eq!(config(args, env), config(without, env.get(..1).unwrap_or_default()));
}

/// Istio's nftables rules are of both families, whatever the first address is.
#[test]
fn native_nftables_is_dual_stack() {
    assert!(config(&["--native-nftables"], &[]).dual_stack);
    assert!(config(&[], &[("NATIVE_NFTABLES", "1")]).dual_stack);
    assert!(!config(&["--native-nftables=false"], &[]).dual_stack);
    assert_eq!(faults(&["--native-nftables=yes"], &[]).len(), 1);
}

#[test]
fn one_fault_in_full() {
    let error = resolve(&["-i", "10.0.0.1"], &[]).unwrap_err();
    let expected = "--istio-service-cidr (-i), env ISTIO_SERVICE_CIDR, \
                    annotation traffic.sidecar.istio.io/includeOutboundIPRanges = \"10.0.0.1\": \
                    has no prefix length, 10.0.0.1/32 is that one address; \
                    write address/prefix-length, for example 10.0.0.0/8 or 2001:db8::/32";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn env_file_faults_name_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = env_file(folder.path(), "sidecar.env", "A=1\nset -e\n");
    let fault = faults(&["--env-file", &path], &[]).remove(0);
    assert_eq!(fault.value, path);
    assert_eq!(fault.reason, "line 2: is not an assignment");
}
