//! What the programs are told about the running kernel, and what is worse without it.

use anyhow::{Context as _, Result, bail};
use proxy_common::wire::Kernel;

use crate::kernel::{
    btf::Offsets,
    feature::{Answer, Feature},
};

/// Offsets by which programs read kernel structures. An error where they may not, or do not know how.
pub(super) fn readable() -> Result<&'static Offsets> {
    if let Answer::No(detail) = Feature::ReadKernelMemory.probe() {
        bail!("programs may not read kernel memory here ({detail})");
    }
    Offsets::of_running_kernel().context("no kernel type information")
}

/// The facts, and why socket owners are not known as `xt_owner` knows them, if they are not.
pub(super) fn gather() -> (Kernel, Option<String>) {
    let (offsets, why) = match readable() {
        Ok(offsets) => (Some(offsets), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let at = |strukt: &str, member: &str| offsets.and_then(|o| o.get(strukt, member)).unwrap_or(0);
    let kernel = Kernel {
        sk_socket: at("sock", "sk_socket"),
        socket_file: at("socket", "file"),
        file_cred: at("file", "f_cred"),
        cred_fsuid: at("cred", "fsuid"),
        cred_fsgid: at("cred", "fsgid"),
        inet_opt: at("inet_sock", "inet_opt"),
        options_srr: at("ip_options_rcu", "opt") + at("ip_options", "srr"),
        // Without IPv6 there is neither.
        inet_pinet6: at("inet_sock", "pinet6"),
        pinet6_opt: at("ipv6_pinfo", "opt"),
        txoptions_srcrt: at("ipv6_txoptions", "srcrt"),
        sk_dst_cache: at("sock", "sk_dst_cache"),
        dst_dev: at("dst_entry", "dev"),
        dev_ifindex: at("net_device", "ifindex"),
        has_ingress_ifindex: u32::from(Feature::IngressIfindex.probe().is_yes()),
        has_sock_ops_cookie: u32::from(Feature::NetnsCookieInSockOps.probe().is_yes()),
    };
    (kernel, why)
}
