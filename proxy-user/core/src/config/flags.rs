//! The flags of istio-iptables, as `sidestep attach`, `rules`, `explain` and `istio-iptables` take them.
//!
//! clap keeps the texts only: environment, defaults and validation come in `resolve`, so that all faults are reported
//! together and tests need no process environment. Every flag may be repeated, the last one counts (pflag).

use std::path::PathBuf;

use clap::Args;

/// Flags under Istio's names. `None` was not given; an empty text is a value.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(args_override_self = true, next_help_heading = "Istio options")]
pub struct IstioFlags {
    /// Port of the sidecar's outbound listener [default: 15001]
    #[arg(short = 'p', long, value_name = "PORT")]
    pub envoy_port: Option<String>,

    /// Port of the sidecar's inbound listener [env: INBOUND_CAPTURE_PORT] [default: 15006]
    #[arg(short = 'z', long, value_name = "PORT")]
    pub inbound_capture_port: Option<String>,

    /// HBONE port, reached directly [env: INBOUND_TUNNEL_PORT] [default: 15008]
    #[arg(short = 'e', long, value_name = "PORT")]
    pub inbound_tunnel_port: Option<String>,

    /// Users whose traffic is the sidecar's own [env: PROXY_UID] [default: $ENVOY_USER, else 1337]
    #[arg(short = 'u', long, value_name = "UID,...")]
    pub proxy_uid: Option<String>,

    /// Groups whose traffic is the sidecar's own [env: PROXY_GID] [default: the value of --proxy-uid]
    #[arg(short = 'g', long, value_name = "GID,...")]
    pub proxy_gid: Option<String>,

    /// REDIRECT or TPROXY [env: ISTIO_INBOUND_INTERCEPTION_MODE] [default: REDIRECT]
    #[arg(short = 'm', long, value_name = "MODE")]
    pub istio_inbound_interception_mode: Option<String>,

    /// Inbound ports to capture, "*" for all [env: ISTIO_INBOUND_PORTS] [default: none]
    #[arg(short = 'b', long, value_name = "PORT,...|*")]
    pub istio_inbound_ports: Option<String>,

    /// Inbound ports to leave alone, with -b "*" only [env: ISTIO_LOCAL_EXCLUDE_PORTS]
    #[arg(short = 'd', long, value_name = "PORT,...")]
    pub istio_local_exclude_ports: Option<String>,

    /// Interfaces to leave alone in both directions [env: ISTIO_EXCLUDE_INTERFACES]
    #[arg(short = 'c', long, value_name = "NIC,...")]
    pub istio_exclude_interfaces: Option<String>,

    /// Outbound ranges to capture, "*" for all [env: ISTIO_SERVICE_CIDR] [default: none]
    #[arg(short = 'i', long, value_name = "CIDR,...|*")]
    pub istio_service_cidr: Option<String>,

    /// Outbound ranges to leave alone [env: ISTIO_SERVICE_EXCLUDE_CIDR]
    #[arg(short = 'x', long, value_name = "CIDR,...")]
    pub istio_service_exclude_cidr: Option<String>,

    /// Outbound TCP ports to capture at any address [env: ISTIO_OUTBOUND_PORTS]
    #[arg(short = 'q', long, value_name = "PORT,...")]
    pub istio_outbound_ports: Option<String>,

    /// Outbound ports to leave alone [env: ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE]
    #[arg(short = 'o', long, value_name = "PORT,...")]
    pub istio_local_outbound_ports_exclude: Option<String>,

    /// Interfaces whose incoming traffic counts as outbound [env: KUBE_VIRT_INTERFACES]
    #[arg(short = 'k', long, value_name = "NIC,...")]
    pub kube_virt_interfaces: Option<String>,

    /// Packet mark of TPROXY mode [env: ISTIO_INBOUND_TPROXY_MARK] [default: 1337]
    #[arg(short = 't', long, value_name = "MARK")]
    pub istio_inbound_tproxy_mark: Option<String>,

    /// Routing table of TPROXY mode [env: ISTIO_INBOUND_TPROXY_ROUTE_TABLE] [default: 133]
    #[arg(short = 'r', long, value_name = "TABLE")]
    pub istio_inbound_tproxy_route_table: Option<String>,

    /// Capture DNS for the agent on 15053 [env: REDIRECT_DNS, ISTIO_META_DNS_CAPTURE]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub redirect_dns: Option<String>,

    /// Capture DNS to any server, not only resolv.conf's [env: CAPTURE_ALL_DNS]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub capture_all_dns: Option<String>,

    /// DNS server to capture, in place of reading /etc/resolv.conf; repeatable; none for no server
    #[arg(long, value_name = "IP|none")]
    pub dns_server: Vec<String>,

    /// IPv6 as well, when any address of the host is IPv6 [env: DUAL_STACK, ISTIO_DUAL_STACK]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub dual_stack: Option<String>,

    /// File of KEY=value lines to read settings from (sidecar.env, cluster.env); repeatable, a later file wins, the
    /// process environment wins over files
    #[arg(long, value_name = "PATH")]
    pub env_file: Vec<PathBuf>,

    /// Show the rules, change nothing [env: DRY_RUN; DRY_RUN_FILE_PATH also writes them to a file]
    #[arg(short = 'n', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub dry_run: Option<String>,

    /// Remove, do not attach [env: CLEANUP_ONLY]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub cleanup_only: Option<String>,

    /// Do not attach, only do the rest (validation) [env: SKIP_RULE_APPLY]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub skip_rule_apply: Option<String>,

    /// Check that capture works; exit 126 if not [env: RUN_VALIDATION]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub run_validation: Option<String>,

    /// Port the validation connects to [env: IPTABLES_PROBE_PORT] [default: 15002]
    #[arg(long, value_name = "PORT")]
    pub iptables_probe_port: Option<String>,

    /// How long the validation tries, as 5s or 1m30s [env: PROBE_TIMEOUT] [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub probe_timeout: Option<String>,

    /// Network namespace to act on [env: NETWORK_NAMESPACE] [default: the caller's]
    #[arg(long, value_name = "PATH")]
    pub network_namespace: Option<String>,

    /// Replace what is attached if it differs [env: RECONCILE]; no-op: attach always does, without a gap
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub reconcile: Option<String>,

    /// Attach even if attached [env: FORCE_APPLY]; no-op: attach is idempotent
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub force_apply: Option<String>,

    /// Drop packets conntrack calls INVALID [env: DROP_INVALID, INVALID_DROP]; no-op: there is no NAT to protect
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub drop_invalid: Option<String>,

    /// Run for the CNI plugin [env: CNI_MODE]; no-op: there is no xtables lock
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub cni_mode: Option<String>,

    /// Use nftables [env: NATIVE_NFTABLES]; no-op
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub native_nftables: Option<String>,

    /// legacy or nft [env: FORCE_IPTABLES_BINARY]; no-op beyond the check of the value
    #[arg(long, value_name = "BINARY")]
    pub force_iptables_binary: Option<String>,

    #[command(flatten)]
    pub log: LogFlags,
}

/// The flags of Istio's logger, which the injector passes. All no-ops: RUST_LOG rules our log.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFlags {
    #[arg(long = "log_output_level", hide = true)]
    output_level: Option<String>,
    #[arg(long = "log_target", hide = true)]
    target: Vec<String>,
    #[arg(long = "log_caller", hide = true)]
    caller: Option<String>,
    #[arg(long = "log_stacktrace_level", hide = true)]
    stacktrace_level: Option<String>,
    #[arg(long = "log_rotate", hide = true)]
    rotate: Option<String>,
    #[arg(long = "log_rotate_max_age", hide = true)]
    rotate_max_age: Option<String>,
    #[arg(long = "log_rotate_max_backups", hide = true)]
    rotate_max_backups: Option<String>,
    #[arg(long = "log_rotate_max_size", hide = true)]
    rotate_max_size: Option<String>,
    #[arg(long = "log_as_json", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    as_json: Option<String>,
    #[arg(long = "vklog", hide = true)]
    vklog: Option<String>,
}
