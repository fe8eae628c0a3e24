//! The workload's network namespace: its identity, addresses, interfaces and routes.

mod addresses;
mod fresh;
mod gateways;
mod handle;
mod loopback;
mod netlink;
mod routes;

pub use addresses::{Interface, Interfaces};
pub use fresh::{add_to_lo, lo_up};
pub use gateways::{Gateway, gateways};
pub use handle::{Netns, NetnsId};
pub use loopback::{PASSTHROUGH6, add_passthrough, remove_passthrough};
pub use routes::{RouteEntry, Routes};
