//! iptables, for one packet: the text iptables-restore reads or iptables-save prints, and what netfilter does with it.
//!
//! Written from the semantics of iptables and the kernel, so that it can contradict the decision and the renderer: it
//! shares no code with either, and reads nothing but text.

mod condition;
mod hooks;
mod packet;
mod parse;
mod ruleset;
mod walk;

#[cfg(test)]
mod examples;

pub use hooks::{Fate, Journey, arriving, locally_generated};
pub use packet::{Packet, Protocol};
pub use parse::Groups;
pub use ruleset::{Line, Ruleset};
