//! Virtual machines of pods.

use anyhow::Result;

use crate::network::Network;
use crate::pod::Pod;
use crate::veth::{self, End};

/// The interface of the pod that [`behind`] puts one to: for `-k`.
pub const INTERFACE: &str = "vm0";

/// A virtual machine behind the pod's [`INTERFACE`], whose packets the pod forwards.
pub fn behind(network: &Network) -> Result<Pod> {
    let guest = Pod::new("guest")?;
    let ends = [["10.30.0.1/24", "fd00:30::1/64"], ["10.30.0.2/24", "fd00:30::2/64"]];
    let [here, there] = ends.map(|end| end.map(str::to_owned));
    veth::connect(
        End { pod: &network.pod, name: INTERFACE, addresses: &here },
        End { pod: &guest, name: "eth0", addresses: &there },
    )?;
    guest.ip("route add default via 10.30.0.1\nroute add default via fd00:30::1\n")?;
    network.pod.sysctl("net/ipv4/ip_forward", "1")?;
    network.pod.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    network.outside.ip("route add 10.30.0.0/24 via 10.10.0.26\nroute add fd00:30::/64 via fd00:10::26\n")?;
    Ok(guest)
}
