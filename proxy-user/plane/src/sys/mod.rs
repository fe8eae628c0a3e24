//! System calls nobody else wraps, one per file. The only place in userspace with `unsafe`.

pub mod bpf_attach;
pub mod bpf_entries;
pub mod bpf_link;
pub mod bpf_load;
pub mod bpf_map_create;
pub mod bpf_map_elem;
pub mod bpf_mmap;
pub mod bpf_pin;
pub mod bpf_query;
pub mod bpf_range;
pub mod bpf_test_run;
pub mod fionread;
pub mod interface_mtu;
pub mod owning_userns;
pub mod pidfd;
pub mod setns;
pub mod socket_cookie;
pub mod userns_child;

mod bpf;
mod bpf_batch;
