//! `sidestep explain` about an attached workload says what it says about the flags, and what the kernel then does.

use std::{net::SocketAddr, process::Command, time::Duration};

use serde_json::Value;
use tests::client::Connect;
use tests::network::Network;
use tests::pod::Pod;
use tests::process::Process;
use tests::requirement::{Requirement, met};
use tests::server::{APP_USER, PROXY_USER, Server, stand_in};
use tests::sidestep::{self, DEFAULT_FLAGS, Sidestep, workload};
use tests::wait::until;

fn explain(args: &[String]) -> Result<Value, (i32, String)> {
    let mut command = Command::new(sidestep::binary().unwrap());
    let output = command.args(["explain", "--output", "json"]).args(args).output().unwrap();
    if !output.status.success() {
        return Err((output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap())
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

#[test]
fn a_workload_and_its_flags_give_the_same_answers() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("explain").unwrap();
    let more = ["--dual-stack", "-o", "9000", "-x", "10.99.0.0/16"];
    let flags: Vec<&str> = DEFAULT_FLAGS.iter().chain(&more).copied().collect();
    let _sidestep = Sidestep::attach(&network.pod, &flags).unwrap();
    let (pod4, pod6) = (network.addresses.pod4.to_string(), network.addresses.pod6.to_string());
    let imagined = [strings(&flags), strings(&["--pod-ip", &pod4, "--pod-ip", &pod6])].concat();
    for question in [
        "--from 1000:1000 --to 10.96.7.7:80",
        "--from 1000:1000 --to [fd00:96::7]:80",
        "--from 1337:1337 --to 10.96.7.7:80",
        "--from 1000:1337 --to udp:10.96.7.7:53",
        "--from 1000:1000 --to 10.96.7.7:9000",
        "--from 1000:1000 --to 10.99.7.7:80",
        &format!("--from 1337:1337 --to {pod4}:8080"),
        &format!("--from 1337:1337 --to [{pod6}]:8080"),
        &format!("--from 1337:1337@127.0.0.6 --to {pod4}:8080"),
        &format!("--from 0:0 --to {pod4}:8080"),
        "--from 0:0 --to 127.0.0.53:53",
        "--from 1337:1337@::1 --to [::6]:15002",
        "--from 0:0@127.0.0.1 --to 10.96.7.7:80",
        &format!("--inbound --to {pod4}:8080"),
        &format!("--inbound --to [{pod6}]:15021"),
        &format!("--inbound --from @10.10.0.9 --to udp:{pod4}:53"),
    ] {
        let question: Vec<String> = question.split(' ').map(str::to_owned).collect();
        let mut attached = explain(&[question.clone(), workload(&network.pod).to_vec()].concat()).unwrap();
        assert!(attached["workload"].is_string());
        attached["workload"] = Value::Null;
        let of_flags = explain(&[question.clone(), imagined.clone()].concat()).unwrap();
        assert_eq!(attached, of_flags, "{question:?}");
    }
}

#[test]
fn what_it_says_is_what_happens() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("explain-true").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let _sidecar = stand_in(&network.pod).start().unwrap();
    let _app = Server::on(&network.pod).listen(network.pod4(8080)).banner("app").start().unwrap();
    for (user, to, target) in [
        (APP_USER, network.pod4(8080), "bypass"),
        (PROXY_USER, network.pod4(8080), "inbound"),
        (APP_USER, "10.96.7.7:80".parse().unwrap(), "outbound"),
    ] {
        let question = strings(&["--from", &format!("{}:{}", user.0, user.1), "--to", &to.to_string()]);
        let answer = explain(&[question, workload(&network.pod).to_vec()].concat()).unwrap();
        assert_eq!(answer["verdict"]["target"], target, "{answer:#}");
        let connected = Connect::to(to).user(user).from(&network.pod).unwrap();
        let port = answer["verdict"]["port"].as_u64();
        let text = format!("{connected:?}");
        match port {
            Some(_) => assert!(text.contains(&to.to_string()) && !text.contains("app"), "{text}"),
            None => assert!(text.contains("app"), "{text}"),
        }
    }
}

/// The kernel refuses a loopback source towards another host for IPv4 alone: IPv6 connections are captured.
#[test]
fn a_loopback_source_is_refused_or_captured_as_it_says() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("explain-lo").unwrap();
    let sidestep = Sidestep::attach(&network.pod, &[&DEFAULT_FLAGS[..], &["--dual-stack"]].concat()).unwrap();
    let _sidecar = stand_in(&network.pod).start().unwrap();
    for (source, to, target) in [
        ("127.0.0.1:0", "10.96.7.7:80", "refused"),
        ("127.0.0.6:0", "10.96.7.7:80", "refused"),
        ("[::1]:0", "[fd00:96::7]:80", "outbound"),
    ] {
        let (bound, to): (SocketAddr, SocketAddr) = (source.parse().unwrap(), to.parse().unwrap());
        let from = format!("{}:{}@{}", APP_USER.0, APP_USER.1, bound.ip());
        let question = strings(&["--from", &from, "--to", &to.to_string()]);
        let answer = explain(&[question, workload(&network.pod).to_vec()].concat()).unwrap();
        assert_eq!(answer["verdict"]["target"], target, "{answer:#}");
        let before = sidestep.rule("O15").unwrap();
        let connected = Connect::to(to).bind(bound).from(&network.pod).unwrap();
        let counted = sidestep.rule("O15").unwrap() - before;
        if target == "refused" {
            let errno = connected.failure.as_ref().map(|failure| failure.errno);
            assert_eq!(errno, Some(libc::EINVAL), "{connected:?}");
            assert_eq!(counted, 0, "{connected:?}");
        } else {
            let report = connected.report().unwrap();
            assert_eq!((report.listener.port(), report.original_dst().address), (15001, Some(to)));
            assert_eq!(counted, 1);
        }
    }
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("explain-wrong").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &[&DEFAULT_FLAGS[..], &["-c", "eth0"]].concat()).unwrap();
    let pod4 = network.pod4(80).to_string();
    let place = workload(&network.pod).to_vec();
    for (question, says) in [
        (vec!["--from", "0:0", "--to", "10.0.0.1:80", "-i", "*"], "leave the istio options"),
        (vec!["--from", "0:0", "--to", "10.0.0.1:80", "--interface", "eth0"], "for its routes to say"),
        (vec!["--inbound", "--to", &pod4], "say by which one"),
        (vec!["--inbound", "--to", &pod4, "--interface", "eth7"], "it has lo, eth0"),
        (vec!["--from", "0:0@::1", "--to", "10.0.0.1:80"], "different families"),
    ] {
        let (code, stderr) = explain(&[strings(&question), place.clone()].concat()).unwrap_err();
        assert_eq!(code, 64, "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
    let row = |question: &[&str]| {
        let answer = explain(&[strings(question), place.clone()].concat()).unwrap();
        answer["row"].as_str().unwrap().to_owned()
    };
    assert_eq!(row(&["--inbound", "--to", &pod4, "--interface", "eth0"]), "I3");
    assert_eq!(row(&["--from", "0:0", "--to", "10.96.0.1:80"]), "O0");
}

/// A process is asked about as it is: in its cgroup or not.
#[test]
fn a_process_outside_the_cgroup_is_not_captured_and_that_is_said() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("explain-pid").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let sleep = |pod: &Pod| pod.command("sleep").args(["600"]).user(APP_USER.0, APP_USER.1);
    let inside = sleep(&network.pod).spawn().unwrap();
    let beside = sleep(&network.pod).outside_cgroup().unwrap().spawn().unwrap();
    let elsewhere = sleep(&network.outside).spawn().unwrap();
    for process in [&inside, &beside, &elsewhere] {
        // Until then it is on its way into the pod.
        let runs = || std::fs::read_to_string(format!("/proc/{}/comm", process.pid())).unwrap() == "sleep\n";
        until("it runs", Duration::from_secs(10), runs);
    }
    let own = network.pod4(8080).to_string();
    let answer = |process: &Process, to: &str| {
        explain(&strings(&["--pid", &process.pid().to_string(), "--to", to])).unwrap()
    };
    for (process, to, target, row, says) in [
        (&inside, "10.96.7.7:80", "outbound", Some("O15"), None),
        (&inside, &*own, "bypass", Some("O4"), None),
        (&beside, "10.96.7.7:80", "bypass", None, Some("not in its cgroup")),
        (&beside, &*own, "inbound", Some("I6"), Some("not in its cgroup")),
        (&beside, "127.0.0.1:8080", "bypass", None, Some("not in its cgroup")),
        (&elsewhere, "10.96.7.7:80", "bypass", None, Some("no workload is attached")),
    ] {
        let seen = answer(process, to);
        assert_eq!(seen["verdict"]["target"], target, "{to}: {seen:#}");
        assert_eq!(seen["row"].as_str(), row, "{to}: {seen:#}");
        let notes = seen["notes"].to_string();
        assert!(says.is_none_or(|says| notes.contains(says)), "{to}: {notes}");
        assert_eq!(seen["connection"]["uid"], APP_USER.0, "{seen:#}");
    }
    assert!(
        answer(&beside, "10.96.7.7:80")["notes"].to_string().contains("iptables would decide by row O15")
    );
    let gone = explain(&strings(&["--pid", "4194304", "--to", "10.96.7.7:80"])).unwrap_err();
    assert!(gone.1.contains("--pid 4194304"), "{gone:?}");
}

/// An answer about a pod without rules is right, and not what was meant.
#[test]
fn without_a_workload_and_without_rules_it_says_so() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let question = strings(&["--from", "1000:1000", "--to", "10.96.7.7:80"]);
    let (code, said) = explain(&question).unwrap_err();
    assert_eq!(code, 64, "{said}");
    assert!(
        said.starts_with("sidestep: nothing is captured: no -i, no -b") && said.contains("--workload"),
        "{said}"
    );
    // Rules that capture nothing are rules.
    let mut command = Command::new(sidestep::binary().unwrap());
    let output = command.arg("explain").args(&question).args(["-u", "1337"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.starts_with("sidestep: warning: nothing is captured: no -i, no -b"),
        "{said}"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("verdict     bypass"), "{output:?}");
}
