//! aya's `Pod` for the types shared with the programs. The one place that vouches for their layout.
#![allow(unsafe_code)]

use proxy_common::{
    accel::{AccelKernel, EndKey, Executable, Mark, Server, Switch},
    addr::Addr,
    flow::{FlowKernel, FlowRecord, JournalEntry, ListedEnd, OpenKey, OpenTotals, Totals},
    guest::GuestGateway,
    policy::Policy,
    self_test::Trial,
    wire::{Kernel, PrefixKey, Route, SocketState},
};

/// A shared type as aya wants it.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Raw<T>(pub(crate) T);

/// Types without padding or invalid bit patterns; `proxy-common` asserts their sizes.
pub(crate) trait Plain: Copy + 'static {}

impl Plain for AccelKernel {}
impl Plain for Addr {}
impl Plain for Executable {}
impl Plain for EndKey {}
impl Plain for FlowKernel {}
impl Plain for FlowRecord {}
impl Plain for JournalEntry {}
impl Plain for ListedEnd {}
impl Plain for OpenKey {}
impl Plain for OpenTotals {}
impl Plain for Totals {}
impl Plain for GuestGateway {}
impl Plain for Kernel {}
impl Plain for Mark {}
impl Plain for Policy {}
impl Plain for PrefixKey {}
impl Plain for Route {}
impl Plain for Server {}
impl Plain for SocketState {}
impl Plain for Switch {}
impl Plain for Trial {}

/// A value as a program wrote it; none if there are too few words.
pub(crate) fn decode<T: Plain>(words: &[u64]) -> Option<T> {
    // SAFETY: as many bytes as it takes, and any of them are a value.
    (size_of_val(words) >= size_of::<T>()).then(|| unsafe { words.as_ptr().cast::<T>().read_unaligned() })
}

// SAFETY: see `Plain`.
unsafe impl<T: Plain> aya::Pod for Raw<T> {}
