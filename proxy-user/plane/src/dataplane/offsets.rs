//! Where the programs find what they read of the kernel's structures: the tables of `proxy_common::kernel`.

use anyhow::Result;
use proxy_common::{accel::AccelKernel, flow::FlowKernel};

use super::facts;
use crate::kernel::{
    feature::{Answer, Feature},
    version::KernelVersion,
};

/// Of the acceleration; an error says what this kernel has not.
pub(super) fn of_acceleration() -> Result<AccelKernel, String> {
    let btf = facts::readable().map_err(|error| format!("receivers cannot be looked at: {error:#}"))?;
    let mut found = AccelKernel::find(|structure, member| btf.get(structure, member)).map_err(absent)?;
    (found.tcp_repair, found.tcp_repair_mask) = btf.get_bit("tcp_sock", "repair").unwrap_or((0, 0));
    // Two members from 6.11; before that a `timespec64`, whose second half is the nanoseconds, low word first.
    (found.inode_changed_sec, found.inode_changed_nsec) =
        match (btf.get("inode", "i_ctime_sec"), btf.get("inode", "i_ctime_nsec")) {
            (Some(seconds), Some(nanoseconds)) => (seconds, nanoseconds),
            _ => {
                let time = btf.get("inode", "__i_ctime").or_else(|| btf.get("inode", "i_ctime"));
                let time = time.ok_or_else(|| absent("inode.i_ctime"))?;
                (time, time + 8)
            }
        };
    if !Feature::CurrentTaskInSockOps.probe().is_yes() {
        found.task_mm = 0;
    }
    // x86 has it as the first, arm64 as the second.
    let call = btf.get("pt_regs", "orig_ax").or_else(|| btf.get("pt_regs", "syscallno"));
    found.registers_call = call.unwrap_or(0);
    found.call_splice = libc::SYS_splice as u32;
    Ok(found)
}

fn absent(member: &str) -> String {
    format!("this kernel has no {member}")
}

/// Of the observation; the inner error says what this kernel has not.
pub(super) fn of_observation() -> Result<Result<FlowKernel, String>> {
    if let Answer::No(detail) = Feature::AtomicFetch.probe() {
        let (version, row) = (KernelVersion::current()?, Feature::AtomicFetch.row());
        return Ok(Err(format!("Linux {version} lacks {} (since {}): {detail}", row.name, row.since)));
    }
    Ok(known_of_observation())
}

fn known_of_observation() -> Result<FlowKernel, String> {
    let btf = facts::readable().map_err(|error| format!("sockets cannot be looked at: {error:#}"))?;
    let mut found = FlowKernel::find(|structure, member| btf.get(structure, member)).map_err(absent)?;
    if !Feature::CurrentTaskInSockOps.probe().is_yes() {
        found.task_tgid = 0;
    }
    Ok(found)
}
