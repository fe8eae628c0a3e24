//! Whether and how a workload is accelerated: the user's wish, and what the running kernel allows.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use proxy_common::accel::{AccelKernel, DEFAULT_LIMIT, Switch, switch_flag};
use serde::{Deserialize, Serialize};

use super::{facts, known::Known, self_test::Findings};
use crate::{
    exit::{Class, Failure},
    kernel::feature::Feature,
};

/// The wish.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Accelerate {
    /// Event loops (O_NONBLOCK) whose program is known to read what it is sent; without it where the kernel is not safe
    #[default]
    Strict,
    /// Every reader: a blocking recv may return early, splice(2) and on some kernels FIONREAD do not see all data
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
    /// Programs the user vouches for: they read sockets with recv until nothing is left, whatever their code could.
    #[serde(default)]
    pub trusted: Vec<PathBuf>,
}

impl Default for Acceleration {
    fn default() -> Self {
        Self { mode: Accelerate::default(), inflight_limit: DEFAULT_LIMIT, trusted: Vec::new() }
    }
}

/// What is done about it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Why not, if not.
    pub(super) reason: Option<String>,
    /// What the self-test found to differ from stock TCP.
    pub(super) findings: Findings,
    /// By the user.
    pub(super) switched_off: bool,
}

impl Acceleration {
    /// The switch of a workload with this number.
    pub(super) fn switch(&self, number: u32) -> Switch {
        let any = if self.mode == Accelerate::Auto { switch_flag::ANY_READER } else { 0 };
        Switch { enabled: 1, limit: self.inflight_limit, flags: any, number }
    }

    /// Decides for this kernel, before anything is touched. `require` turns a reason against it into an error.
    pub(super) fn plan(&self, known: &Known) -> Result<Plan> {
        if self.mode == Accelerate::Off {
            return Ok(Plan {
                switched_off: true,
                ..Plan::not("switched off (--accelerate off)".to_owned())
            });
        }
        match &known.accel {
            Ok((_, findings)) => Ok(Plan { reason: None, findings: findings.clone(), switched_off: false }),
            Err(reason) if self.mode == Accelerate::Require => Err(Failure::error(
                Class::Unavailable,
                format!("--accelerate require: {reason}; use --accelerate strict to go without"),
            )),
            Err(reason) => Ok(Plan::not(reason.clone())),
        }
    }
}

impl Plan {
    pub(super) fn not(reason: String) -> Self {
        Self { reason: Some(reason), findings: Findings::default(), switched_off: false }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.reason.is_none()
    }

    /// Why a wish for it is not fulfilled.
    pub(super) fn missing(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| !self.switched_off)
    }
}

/// Where the programs look; an error: what this kernel has not.
pub(super) fn offsets() -> Result<AccelKernel, String> {
    let btf = facts::readable().map_err(|error| format!("receivers cannot be looked at: {error:#}"))?;
    let at = |strukt: &str, member: &str| {
        btf.get(strukt, member).ok_or_else(|| format!("this kernel has no {strukt}.{member}"))
    };
    // Without checkpoint/restore nobody makes up a connection's numbers.
    let repair = btf.get_bit("tcp_sock", "repair").unwrap_or((0, 0));
    // Without memory cgroups there is no limit to hold.
    let memory = |strukt: &str, member: &str| btf.get(strukt, member).unwrap_or(0);
    Ok(AccelKernel {
        // sock_common stands at the head of sock.
        sk_cookie: at("sock_common", "skc_cookie")?,
        sk_rmem_alloc: at("sock", "sk_backlog")?,
        sk_socket: at("sock", "sk_socket")?,
        socket_file: at("socket", "file")?,
        file_flags: at("file", "f_flags")?,
        // Without them every reader counts as edge-triggered.
        file_ep: btf.get("file", "f_ep").unwrap_or(0),
        epitem_link: btf.get("epitem", "fllink").unwrap_or(0),
        epitem_event: btf.get("epitem", "event").unwrap_or(0),
        tcp_copied_seq: at("tcp_sock", "copied_seq")?,
        tcp_write_seq: at("tcp_sock", "write_seq")?,
        tcp_is_mptcp: btf.get("tcp_sock", "is_mptcp").unwrap_or(0),
        tcp_repair: repair.0,
        tcp_repair_mask: repair.1,
        // Without it only the sidecar is trusted by itself.
        task_mm: if Feature::CurrentTaskInSockOps.probe().is_yes() { at("task_struct", "mm")? } else { 0 },
        mm_exe_file: at("mm_struct", "exe_file")?,
        file_inode: at("file", "f_inode")?,
        inode_ino: at("inode", "i_ino")?,
        inode_sb: at("inode", "i_sb")?,
        sb_dev: at("super_block", "s_dev")?,
        sk_prot: at("sock_common", "skc_prot")?,
        proto_memory_allocated: at("proto", "memory_allocated")?,
        proto_sysctl_mem: at("proto", "sysctl_mem")?,
        sk_memcg: memory("sock", "sk_memcg"),
        memcg_memory: memory("mem_cgroup", "memory"),
        counter_usage: memory("page_counter", "usage"),
        counter_max: memory("page_counter", "max"),
        counter_parent: memory("page_counter", "parent"),
        reserved: 0,
    })
}
