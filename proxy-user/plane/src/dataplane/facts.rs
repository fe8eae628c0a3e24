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
    let found = Kernel::find(|structure, member| offsets?.get(structure, member));
    let kernel = Kernel {
        has_ingress_ifindex: u32::from(Feature::IngressIfindex.probe().is_yes()),
        has_sock_ops_cookie: u32::from(Feature::NetnsCookieInSockOps.probe().is_yes()),
        // Each of its members is optional.
        ..found.unwrap_or(Kernel::UNKNOWN)
    };
    (kernel, why)
}
