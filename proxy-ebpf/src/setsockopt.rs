//! cgroup/setsockopt: a captured connection gets no route of its own (`own_route`), and kernel TLS stays away from
//! sockets in the map. What was handed over before would be read as plain text, and older kernels crash (docs/kernel.md:
//! "Kernel TLS"). Libraries go on in user space when the kernel refuses.
#![allow(unsafe_code, reason = "context fields are read by inline assembly")]

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sockopt},
    macros::cgroup_sockopt,
    programs::SockoptContext,
};

use proxy_common::counter::Event;

use crate::{
    accel::enroll,
    ctx::{load32, load64},
    getsockopt::pass_large,
    own_route,
    uapi::{
        SOL_TCP,
        cgroup::{ALLOW, REFUSE},
    },
    workload::Workload,
};

const TCP_ULP: i32 = 31;

#[cgroup_sockopt(setsockopt)]
pub(crate) fn setsockopt(ctx: SockoptContext) -> i32 {
    let opt = ctx.sockopt;
    let level = load32!(opt, bpf_sockopt, level) as i32;
    let name = load32!(opt, bpf_sockopt, optname) as i32;
    let sk = load64!(opt, bpf_sockopt, __bindgen_anon_1) as *mut bpf_sock;
    if sk.is_null() {
        return ALLOW;
    }
    if level == SOL_TCP && name == TCP_ULP && enroll::refuses_tls(sk) {
        return REFUSE;
    }
    if own_route::comes_with(sk, level, name) {
        if let Some(me) = Workload::of_cgroup() {
            me.count_event(Event::OwnRoute);
        }
        return REFUSE;
    }
    pass_large(opt);
    ALLOW
}
