//! iptables, for one packet: the text iptables-restore reads, and what netfilter does with it.
//!
//! Written from the semantics of iptables and the kernel, so that it can contradict the decision and the renderer: it
//! shares no code with either, and reads nothing but text.

mod condition;
mod hooks;
mod packet;
mod parse;
mod ruleset;
mod walk;

pub(crate) use hooks::{Fate, Journey, arriving, locally_generated};
pub(crate) use packet::{Packet, Protocol};
pub(crate) use parse::Groups;
pub(crate) use ruleset::{Line, Ruleset};
