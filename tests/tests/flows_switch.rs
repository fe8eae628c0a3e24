//! Observation can be left out, and what a reader asks for wrongly is said.

use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::flows::{of_pod, wait_closed};
use tests::footprint::Footprint;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::server::{self, Server};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep, ended};

const BPFTOOL: Requirement = Requirement::Program("bpftool", "bpftool");

#[test]
fn off_leaves_its_programs_out_and_on_brings_them_back() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, BPFTOOL]) {
        return;
    }
    let network = Network::new("flow-off").unwrap();
    let with = |observe: &'static str| [&DEFAULT_FLAGS[..], &["--observe", observe]].concat();
    let sidestep = Sidestep::attach(&network.pod, &with("off")).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let call = Connect::to("10.96.7.7:80".parse().unwrap());
    call.from(&network.pod).unwrap().report().unwrap();
    let off = Footprint::of(&network.pod).unwrap();
    let error = of_pod(&network.pod, &[]).unwrap_err().to_string();
    assert!(error.contains("--observe off") && error.contains("--observe on"), "{error}");

    sidestep.attach_again(&with("on")).unwrap();
    let on = Footprint::of(&network.pod).unwrap();
    assert_eq!(on.links.len(), off.links.len() + 4, "flow_ops, flow_release, flow_in and flow_out");
    call.from(&network.pod).unwrap().report().unwrap();
    let flows = wait_closed(&network.pod, &["--direction", "outbound"], 1).unwrap();
    assert_eq!(flows.len(), 1, "{flows:#?}");
    // The listener was there first.
    assert_eq!(flows[0]["server_process"]["uid"], 1337, "{flows:#?}");

    sidestep.attach_again(&with("off")).unwrap();
    assert_eq!(Footprint::of(&network.pod).unwrap().links, off.links);
    call.from(&network.pod).unwrap().report().unwrap();
    drop(sidestep);
    on.assert_gone().unwrap();
}

/// The process that attached is long gone; so may everybody who looked.
#[test]
fn readers_may_be_killed_at_any_time() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("flow-killed").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let _server = Server::on(&network.outside)
        .listen("0.0.0.0:80".parse::<std::net::SocketAddr>().unwrap())
        .start()
        .unwrap();
    let binary = tests::sidestep::binary().unwrap();
    for count in 1..=3 {
        let mut reader = std::process::Command::new(&binary)
            .args(["flows", "-f"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Connect::to(network.outside4(80)).user(server::PROXY_USER).from(&network.pod).unwrap();
        reader.kill().unwrap();
        reader.wait().unwrap();
        let flows = wait_closed(&network.pod, &["--port", "80"], count).unwrap();
        assert_eq!(flows.len(), count, "{flows:#?}");
    }
}

#[test]
fn unknown_values_are_told_the_valid_ones() {
    for (args, part) in [
        (["flows", "--direction", "sideways"], "inbound, outbound, self, dns"),
        (["flows", "--forward", "eth1"], "lo, eth0, tproxy"),
        (["flows", "--path", "fast"], "redirected, stacked, mixed"),
        (["flows", "--verdict", "O99"], "captured, refused, bypass"),
        (["flows", "--port", "70000"], "65535"),
        (["flows", "--workload", "1-1"], "no workload '1-1' is attached"),
    ] {
        let said = ended(args).unwrap();
        assert_eq!(said.code, Some(64), "{said:?}");
        assert!(said.stderr.contains(part), "{said:?}");
    }
}
