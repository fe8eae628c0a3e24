//! The workload's network namespace: its identity, addresses, interfaces and routes.

mod addresses;
mod changes;
mod fresh;
mod gateways;
mod handle;
mod id_map;
mod listeners;
mod loopback;
mod netlink;
mod open_sockets;
mod owner;
mod routes;
mod sock_diag;

pub use addresses::{interfaces, interfaces_here};
pub use changes::changes;
pub use fresh::{add_to_lo, lo_up};
pub use gateways::{Gateway, gateways};
pub use handle::{Netns, NetnsId, is_first_here};
pub use id_map::{IdMap, IdRange};
pub use listeners::{Listener, listeners, listening_ports, udp_receivers};
pub use loopback::{PASSTHROUGH6, add_passthrough, remove_passthrough};
pub(crate) use open_sockets::sockets_of;
pub use open_sockets::{OpenSocket, netns_of, open_sockets, processes};
pub use owner::OwnerMap;
pub use routes::routes;
