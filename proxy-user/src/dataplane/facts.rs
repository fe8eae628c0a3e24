//! What the programs are told about the running kernel, and what is worse without it.

use anyhow::Result;
use proxy_common::wire::Kernel;

use crate::kernel::{btf::Offsets, version::KernelVersion};

/// The facts, and warnings about those that are missing.
pub(super) fn gather(cookie: Option<u64>) -> Result<(Kernel, Vec<String>)> {
    let version = KernelVersion::current()?;
    let mut warnings = Vec::new();
    let offsets = Offsets::of_running_kernel(&["sock", "socket", "file", "cred"])
        .map_err(|error| {
            warnings.push(format!(
                "socket owners are recorded when a socket is created, real ids only, not for sockets that exist \
                 already: no kernel type information ({error:#})"
            ));
        })
        .ok();
    let at = |strukt: &str, member: &str| offsets.as_ref().and_then(|o| o.get(strukt, member)).unwrap_or(0);
    let kernel = Kernel {
        netns_cookie: cookie.unwrap_or(0),
        sk_socket: at("sock", "sk_socket"),
        socket_file: at("socket", "file"),
        file_cred: at("file", "f_cred"),
        cred_fsuid: at("cred", "fsuid"),
        cred_fsgid: at("cred", "fsgid"),
        has_ingress_ifindex: u32::from(version >= KernelVersion(5, 17)),
        has_sock_ops_cookie: u32::from(version >= KernelVersion(5, 15) && cookie.is_some()),
        reserved: 0,
    };
    Ok((kernel, warnings))
}
