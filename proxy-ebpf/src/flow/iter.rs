//! What the iterators over live flows are handed.
#![allow(unsafe_code, reason = "an iterator's context is raw pointers")]

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{bpf_sock, seq_file},
    helpers::generated::bpf_seq_write,
};
use proxy_common::flow::{FlowRecord, flow_flag};

use super::socket::{Socket, state};

/// `struct bpf_iter__bpf_sk_storage_map` (net/core/bpf_sk_storage.c).
#[repr(C)]
pub(super) struct Context {
    meta: *const Meta,
    map: *const c_void,
    sk: *mut bpf_sock,
    value: *const FlowRecord,
}

/// `struct bpf_iter_meta`.
#[repr(C)]
struct Meta {
    seq: *mut seq_file,
}

/// One end of a connection that the journal does not have.
pub(super) struct OpenEnd<'a> {
    pub(super) sk: *mut bpf_sock,
    pub(super) socket: Socket,
    /// State of TCP.
    pub(super) tcp: u32,
    pub(super) record: &'a FlowRecord,
}

impl Context {
    /// # Safety
    /// The context of an iterator of this kind.
    #[inline(always)]
    pub(super) unsafe fn of<'a>(ctx: *const c_void) -> &'a Self {
        // SAFETY: the caller's word.
        unsafe { &*ctx.cast() }
    }

    /// None: behind the last one, a listener, a connection that never began, or one that is over.
    #[inline(always)]
    pub(super) fn open_end(&self) -> Option<OpenEnd<'_>> {
        // Read once: the verifier knows this copy as checked, not another.
        // SAFETY: a field of the context.
        let value = unsafe { (&raw const self.value).read_volatile() };
        // SAFETY: null behind the last element; the value is as large as the map says.
        let record = unsafe { value.as_ref() }?;
        // SAFETY: as above.
        let sk = unsafe { (&raw const self.sk).read_volatile() };
        if sk.is_null() || record.syn_at == 0 || record.has(flow_flag::LISTENER) {
            return None;
        }
        let socket = Socket::of(sk);
        let tcp = socket.state();
        let is_over = tcp == state::CLOSE && (record.close == 0 || !socket.has_owner());
        (!is_over).then_some(OpenEnd { sk, socket, tcp, record })
    }

    /// Hands a number to the reader; the kernel repeats the element if it did not fit.
    #[inline(always)]
    pub(super) fn write(&self, number: u32) {
        // SAFETY: pointer and size of a whole value.
        unsafe {
            bpf_seq_write((*self.meta).seq, (&raw const number).cast_mut().cast(), size_of::<u32>() as u32)
        };
    }
}
