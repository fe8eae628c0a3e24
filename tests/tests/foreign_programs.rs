//! Programs of others at the same hooks: a socket load balancer on a cgroup above the pod's, as Cilium's is on the root,
//! and one on a container's cgroup. Programs of a child cgroup run before those of its parents.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use proxy_plane::sys::bpf_link::{self, AttachType};
use proxy_plane::sys::bpf_load::{self, Instruction as Do, ProgramType};
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::pod::Pod;
use tests::report::Connected;
use tests::server::stand_in;
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 7, 7);
const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 99);

/// Rewrites the service's address to the backend's when a socket connects, on this cgroup, while the value lives.
fn balancer(cgroup: &Path) -> OwnedFd {
    /// `offsetof(struct bpf_sock_addr, user_ip4)`.
    const USER_IP4: i16 = 4;
    let word = |address: Ipv4Addr| i32::from_ne_bytes(address.octets());
    let program = [
        Do::load_word(2, 1, USER_IP4),
        Do::add(2, word(SERVICE).wrapping_neg()),
        Do::skip_if_zero(2, 2),
        Do::result(1),
        Do::exit(),
        Do::set(3, word(BACKEND)),
        Do::store(1, USER_IP4, 3),
        Do::result(1),
        Do::exit(),
    ];
    let kind = AttachType::Connect4;
    let program = bpf_load::load(ProgramType::CgroupSockAddr, Some(kind), "balancer", &program).unwrap();
    let cgroup = File::open(cgroup).unwrap();
    bpf_link::create(program.as_fd(), cgroup.as_fd(), kind).unwrap()
}

fn at_port_80(address: Ipv4Addr) -> SocketAddr {
    (address, 80).into()
}

/// A pod with an address and nobody beyond it.
fn pod_below(node: &Pod) -> Pod {
    let pod = Pod::below(node.cgroup(), "foreign-pod").unwrap();
    pod.ip(
        "link add e0 type veth peer name e1\naddr add 10.10.0.26/24 dev e0\nlink set e0 up\nlink set e1 up\n",
    )
    .unwrap();
    pod
}

/// What the sidecar is told of a connection to the service, made in this cgroup.
fn original_dst(pod: &Pod, cgroup: &Path) -> SocketAddr {
    let connect = Connect::to(at_port_80(SERVICE));
    let seen: Connected = connect.command(pod).unwrap().in_cgroup(cgroup.to_owned()).run_json().unwrap();
    let report = seen.report().unwrap();
    assert_eq!(report.listener.port(), 15001, "{report:?}");
    report.original_dst().address.unwrap()
}

#[test]
fn one_above_the_pod_comes_after_ours() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let node = Pod::new("foreign-node").unwrap();
    let pod = pod_below(&node);
    let _balancer = balancer(node.cgroup());
    let sidestep = Sidestep::attach(&pod, &DEFAULT_FLAGS).unwrap();
    let _sidecar = stand_in(&pod).start().unwrap();
    assert_eq!(original_dst(&pod, pod.cgroup()), at_port_80(SERVICE));
    assert_eq!(sidestep.counters().unwrap().of("O15"), 1);
}

#[test]
fn one_on_a_container_comes_before_ours() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let node = Pod::new("foreign-node").unwrap();
    let pod = pod_below(&node);
    let container = pod.cgroup().join("container");
    fs::create_dir(&container).unwrap();
    let balancer = balancer(&container);
    let sidestep = Sidestep::attach(&pod, &DEFAULT_FLAGS).unwrap();
    let _sidecar = stand_in(&pod).start().unwrap();
    assert_eq!(original_dst(&pod, &container), at_port_80(BACKEND));
    drop(balancer);
    assert_eq!(original_dst(&pod, &container), at_port_80(SERVICE));
    assert_eq!(sidestep.counters().unwrap().of("O15"), 2);
    fs::remove_dir(&container).unwrap();
}
