//! Where the programs find what they read of the kernel's structures.

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
    let at = |strukt: &str, member: &str| {
        btf.get(strukt, member).ok_or_else(|| format!("this kernel has no {strukt}.{member}"))
    };
    // Without checkpoint/restore nobody makes up a connection's numbers.
    let repair = btf.get_bit("tcp_sock", "repair").unwrap_or((0, 0));
    // Two members from 6.11; before that a `timespec64`, whose second half is the nanoseconds, low word first.
    let changed = match (btf.get("inode", "i_ctime_sec"), btf.get("inode", "i_ctime_nsec")) {
        (Some(seconds), Some(nanoseconds)) => (seconds, nanoseconds),
        _ => {
            let time = at("inode", "__i_ctime").or_else(|_| at("inode", "i_ctime"))?;
            (time, time + 8)
        }
    };
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
        inode_changed_sec: changed.0,
        inode_changed_nsec: changed.1,
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
    let at = |strukt: &str, member: &str| {
        btf.get(strukt, member).ok_or_else(|| format!("this kernel has no {strukt}.{member}"))
    };
    Ok(FlowKernel {
        // sock_common stands at the head of sock.
        sk_cookie: at("sock_common", "skc_cookie")?,
        sk_state: at("sock_common", "skc_state")?,
        sk_flags: at("sock_common", "skc_flags")?,
        sk_err: at("sock", "sk_err")?,
        sk_socket: at("sock", "sk_socket")?,
        sk_user_data: at("sock", "sk_user_data")?,
        sk_ifindex: btf.get("sock", "sk_rx_dst_ifindex").unwrap_or(0),
        tcp_write_seq: at("tcp_sock", "write_seq")?,
        tcp_copied_seq: at("tcp_sock", "copied_seq")?,
        tcp_rcv_nxt: at("tcp_sock", "rcv_nxt")?,
        tcp_bytes_acked: at("tcp_sock", "bytes_acked")?,
        tcp_bytes_received: at("tcp_sock", "bytes_received")?,
        tcp_srtt_us: at("tcp_sock", "srtt_us")?,
        tcp_total_retrans: at("tcp_sock", "total_retrans")?,
        task_tgid: if Feature::CurrentTaskInSockOps.probe().is_yes() {
            at("task_struct", "tgid")?
        } else {
            0
        },
        task_comm: at("task_struct", "comm")?,
        psock_ingress: at("sk_psock", "ingress_msg")?,
        msg_list: at("sk_msg", "list")?,
        msg_size: at("sk_msg", "sg")? + at("sk_msg_sg", "size")?,
        psock_total: btf.get("sk_psock", "msg_tot_len").unwrap_or(0),
        task_leader: at("task_struct", "group_leader")?,
        reserved: 0,
    })
}
