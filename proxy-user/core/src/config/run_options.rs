//! Settings that say what to do, not what to capture.

use std::{path::PathBuf, time::Duration};

/// The part of istio-iptables' flags that is no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    pub dry_run: bool,
    /// env DRY_RUN_FILE_PATH: where a dry run also writes the rules.
    pub dry_run_file: Option<PathBuf>,
    pub cleanup_only: bool,
    pub skip_rule_apply: bool,
    pub run_validation: bool,
    pub reconcile: bool,
    pub force_apply: bool,
    /// The port istio-validation connects to on 127.0.0.6.
    pub probe_port: u16,
    pub probe_timeout: Duration,
    /// The network namespace to act on; `None` is the caller's.
    pub network_namespace: Option<PathBuf>,
    /// Accepted, without effect: there is no xtables lock to share with the host.
    pub cni_mode: bool,
    /// There are no nftables rules; see [`super::Config::dual_stack`].
    pub native_nftables: bool,
    /// Accepted, without effect: no iptables binary is run.
    pub iptables_binary: Option<IptablesBinary>,
}

/// --force-iptables-binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IptablesBinary {
    Legacy,
    Nft,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            dry_run_file: None,
            cleanup_only: false,
            skip_rule_apply: false,
            run_validation: false,
            reconcile: false,
            force_apply: false,
            probe_port: 15002,
            probe_timeout: Duration::from_secs(5),
            network_namespace: None,
            cni_mode: false,
            native_nftables: false,
            iptables_binary: None,
        }
    }
}
