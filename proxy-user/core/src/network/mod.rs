//! What the decision has to know of a pod's network: interfaces, addresses and routes. Plain data; who can look at a
//! namespace fills it in.

mod interfaces;
mod routes;

pub use interfaces::{Interface, Interfaces};
pub use routes::{RouteEntry, Routes};
