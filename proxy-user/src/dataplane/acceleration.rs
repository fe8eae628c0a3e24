//! Whether and how a workload is accelerated: the user's wish, and what the running kernel allows.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use proxy_common::accel::{AccelKernel, Switch, switch_flag};
use serde::{Deserialize, Serialize};

use super::facts;
use crate::{
    exit::{Class, Failure},
    kernel::{feature::Feature, version::KernelRelease},
};

/// The wish.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Accelerate {
    /// Event loops (O_NONBLOCK) whose program is known not to splice; without it where the kernel is not safe
    #[default]
    Strict,
    /// Every reader: a blocking recv may return early, splice(2) from a socket does not see redirected data
    Auto,
    /// Redirection only
    Off,
    /// As strict, but fail where the kernel is not safe
    Require,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Acceleration {
    pub mode: Accelerate,
    /// Bytes a receiver may have waiting.
    pub inflight_limit: u32,
    /// Programs the user vouches for: they read sockets with recv, never with splice.
    #[serde(default)]
    pub trusted: Vec<PathBuf>,
}

/// What stock TCP lets a loopback receiver hold, roughly (net.ipv4.tcp_rmem).
pub const DEFAULT_LIMIT: u32 = 4 << 20;

impl Default for Acceleration {
    fn default() -> Self {
        Self { mode: Accelerate::default(), inflight_limit: DEFAULT_LIMIT, trusted: Vec::new() }
    }
}

/// What is done about it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) kernel: Option<AccelKernel>,
    /// Why not, if not.
    pub(super) reason: Option<String>,
}

impl Acceleration {
    pub(super) fn switch(&self) -> Switch {
        let any = if self.mode == Accelerate::Auto { switch_flag::ANY_READER } else { 0 };
        Switch { enabled: 1, limit: self.inflight_limit, flags: any, reserved: 0 }
    }

    /// Fails where `require` cannot be met, before anything is touched.
    pub(super) fn check(&self) -> Result<()> {
        self.plan(0).map(drop)
    }

    /// Decides for this kernel. `require` turns a reason against it into an error.
    pub(super) fn plan(&self, slot: u32) -> Result<Plan> {
        if self.mode == Accelerate::Off {
            return Ok(Plan { kernel: None, reason: Some("switched off (--accelerate off)".to_owned()) });
        }
        let allowed = KernelRelease::current()?.allows_acceleration().and_then(|()| offsets(slot));
        match allowed {
            Ok(kernel) => Ok(Plan { kernel: Some(kernel), reason: None }),
            Err(reason) if self.mode == Accelerate::Require => Err(Failure::error(
                Class::Unavailable,
                format!("--accelerate require: {reason}; use --accelerate strict to go without"),
            )),
            Err(reason) => Ok(Plan { kernel: None, reason: Some(reason) }),
        }
    }
}

/// For a workload that is not accelerated: the node's program, which it loads too, works for the others.
pub(super) fn for_others() -> AccelKernel {
    offsets(u32::MAX).unwrap_or(AccelKernel::UNKNOWN)
}

fn offsets(slot: u32) -> Result<AccelKernel, String> {
    let btf = facts::readable().map_err(|error| format!("receivers cannot be looked at: {error:#}"))?;
    let at = |strukt: &str, member: &str| {
        btf.get(strukt, member).ok_or_else(|| format!("this kernel has no {strukt}.{member}"))
    };
    Ok(AccelKernel {
        // sock_common stands at the head of sock.
        sk_cookie: at("sock_common", "skc_cookie")?,
        sk_rmem_alloc: at("sock", "sk_backlog")?,
        sk_socket: at("sock", "sk_socket")?,
        socket_file: at("socket", "file")?,
        file_flags: at("file", "f_flags")?,
        tcp_copied_seq: at("tcp_sock", "copied_seq")?,
        tcp_write_seq: at("tcp_sock", "write_seq")?,
        tcp_is_mptcp: btf.get("tcp_sock", "is_mptcp").unwrap_or(0),
        // Without it only the sidecar is trusted by itself.
        task_mm: if Feature::CurrentTaskInSockOps.probe().is_yes() { at("task_struct", "mm")? } else { 0 },
        mm_exe_file: at("mm_struct", "exe_file")?,
        file_inode: at("file", "f_inode")?,
        inode_ino: at("inode", "i_ino")?,
        inode_sb: at("inode", "i_sb")?,
        sb_dev: at("super_block", "s_dev")?,
        slot,
        reserved: 0,
    })
}
