//! aya's `Pod` for the types shared with the programs. The one place that vouches for their layout.
#![allow(unsafe_code)]

use proxy_common::{
    accel::{AccelKernel, Capture, Captured, EndEntry, EndKey, Executable, Mark, Record, Switch},
    addr::Addr,
    counter::Counters,
    flow::{
        FlowKernel, FlowRecord, JournalEntry, ListedEnd, OpenKey, OpenTotals, PeerKey, ToldPeer, Totals,
        Turnarounds,
    },
    guest::{GuestGateway, InterfaceKey},
    policy::Policy,
    questions::{Questions, Resolvers},
    self_test::Trial,
    wire::{ConnectionKey, Kernel, ListKey, PrefixKey, Route, SocketState},
    workload::{Shares, Workload},
};

/// A shared type as aya wants it.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Raw<T>(pub(crate) T);

/// Types without padding or invalid bit patterns; `proxy-common` asserts their sizes.
pub(crate) trait Plain: Copy + 'static {}

impl Plain for () {}
impl Plain for AccelKernel {}
impl Plain for Addr {}
impl Plain for Capture {}
impl Plain for Captured {}
impl Plain for ConnectionKey {}
impl Plain for Counters {}
impl Plain for EndEntry {}
impl Plain for Executable {}
impl Plain for EndKey {}
impl Plain for FlowKernel {}
impl Plain for FlowRecord {}
impl Plain for JournalEntry {}
impl Plain for ListedEnd {}
impl Plain for OpenKey {}
impl Plain for OpenTotals {}
impl Plain for ToldPeer {}
impl Plain for Totals {}
impl Plain for Turnarounds {}
impl Plain for GuestGateway {}
impl Plain for InterfaceKey {}
impl Plain for Kernel {}
impl Plain for ListKey {}
impl Plain for Mark {}
impl Plain for Policy {}
impl Plain for PeerKey {}
impl Plain for PrefixKey {}
impl Plain for Questions {}
impl Plain for Record {}
impl Plain for Resolvers {}
impl Plain for Route {}
impl Plain for Shares {}
impl Plain for SocketState {}
impl Plain for Switch {}
impl Plain for Trial {}
impl Plain for Workload {}

/// A value as a program wrote it; none if there are too few words.
pub(crate) fn decode<T: Plain>(words: &[u64]) -> Option<T> {
    // SAFETY: as many bytes as it takes, and any of them are a value.
    (size_of_val(words) >= size_of::<T>()).then(|| unsafe { words.as_ptr().cast::<T>().read_unaligned() })
}

/// A value as the kernel takes it.
pub(crate) fn bytes<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: no padding, see `Plain`.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// A value of these bytes. None: another size.
pub(crate) fn value<T: Plain>(bytes: &[u8]) -> Option<T> {
    // SAFETY: as many bytes as it takes, and any of them are a value.
    (bytes.len() == size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// A value of words of 32 bits, to be kept as text.
pub(crate) fn words<T: Plain>(value: &T) -> Vec<u32> {
    bytes(value).as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect()
}

/// And back. None: another number of words.
pub(crate) fn from_words<T: Plain>(words: &[u32]) -> Option<T> {
    // SAFETY: as many bytes as it takes, and any of them are a value.
    (size_of_val(words) == size_of::<T>()).then(|| unsafe { words.as_ptr().cast::<T>().read_unaligned() })
}

// SAFETY: see `Plain`.
unsafe impl<T: Plain> aya::Pod for Raw<T> {}
