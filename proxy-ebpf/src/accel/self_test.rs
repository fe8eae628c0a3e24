//! sk_msg of the self-test: reports what can be seen of the receiver, by the same reads the real program relies on, and
//! hands over what it is told to. Never attached to anybody's sockets.
#![allow(unsafe_code, reason = "map values are reached through raw pointers the verifier has checked")]

use aya_ebpf::{
    bindings::{bpf_sock, sk_action, sk_msg_md},
    macros::{map, sk_msg},
    maps::{Array, SockMap},
    programs::SkMsgContext,
};
use proxy_common::self_test::Trial;

use super::peer;
use crate::ctx::{load32, load64};
use crate::uapi::BPF_F_INGRESS;

const PASS: u32 = sk_action::SK_PASS;
/// The accepting end's place in the map.
const SERVER: u32 = 0;

/// Written by userspace and by this program.
#[map]
static SELF_TEST: Array<Trial> = Array::with_max_entries(1, 0);

/// Both ends. Written by userspace.
#[map]
static SELF_TEST_SOCKS: SockMap = SockMap::with_max_entries(2, 0);

#[sk_msg]
pub(crate) fn self_test(ctx: SkMsgContext) -> u32 {
    let sk = load64!(ctx.msg, sk_msg_md, __bindgen_anon_3) as *mut bpf_sock;
    if sk.is_null() {
        return PASS;
    }
    let (Some(own), Some(trial)) = (peer::number(sk), SELF_TEST.get_ptr_mut(0)) else { return PASS };
    // SAFETY: the map's only element; one process sends one message at a time.
    let trial = unsafe { &mut *trial };
    trial.messages += 1;
    if load32!(ctx.msg, sk_msg_md, local_port) == trial.server_port {
        trial.server = own;
        return PASS;
    }
    let server = trial.server;
    trial.cookie = peer::cookie(server).unwrap_or(0);
    trial.queued = peer::queued(server).unwrap_or(u32::MAX);
    trial.drained =
        u32::from(peer::copied_seq(server).is_some() && peer::copied_seq(server) == peer::write_seq(own));
    trial.nonblocking = u32::from(peer::file(server).is_some_and(peer::is_nonblocking));
    if trial.redirect != 0 {
        // The answer is not looked at: a message that the helper refuses is lost, which the test notices.
        // SAFETY: the context of this very call.
        let _ = unsafe { SELF_TEST_SOCKS.redirect_msg(&ctx, SERVER, BPF_F_INGRESS) };
    }
    PASS
}
