//! getsockopt: SO_ORIGINAL_DST is ours, everything else is as it was.

use std::net::SocketAddr;
use std::time::Duration;

use rstest::rstest;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::process::Process;
use tests::report::Options;
use tests::server::{self, APP_USER, Server};

fn answers(process: &Process, count: usize) -> Vec<Options> {
    let all = process.output().wait(Duration::from_secs(20), |text| {
        let lines: Vec<Options> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (lines.len() >= count).then_some(lines)
    });
    all.unwrap_or_else(|| panic!("no answers: {}", process.stderr()))
}

/// One connection, the same questions before and after the attach.
#[rstest]
#[case::v4("10.10.0.9:80")]
#[case::v6("[fd00:10::9]:80")]
fn every_option_of_every_level_is_unaltered(#[case] to: SocketAddr) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("options").unwrap();
    let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:80" } else { "[::]:80" }.parse().unwrap();
    let _outside = Server::on(&network.outside).listen(any).silent().start().unwrap();
    let command = network.pod.lab_agent("options").unwrap().args(["--to", &to.to_string()]);
    let mut asking = command.user(APP_USER.0, APP_USER.1).hold_input().spawn().unwrap();
    let before = answers(&asking, 1).remove(0);
    let _sidestep = DataPlane::Sidestep.under(&network.pod).unwrap();
    asking.close_input();
    let after = answers(&asking, 2).remove(1);
    assert_eq!(before.len(), after.len());
    let different: Vec<_> = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .map(|(before, after)| format!("level/option/length {}: {:?} -> {:?}", before.0, before.1, after.1))
        .collect();
    let answered = before.values().filter(|answer| answer.errno.is_none()).count();
    println!("{} questions, {answered} answered", before.len());
    assert!(answered > 300, "{answered}");
    assert!(different.is_empty(), "{different:#?}");
}

/// The app asks for its own connection, with every length a program may offer.
#[rstest]
#[case::v4("10.96.7.7:80", "0/80", 16)]
#[case::v6("[fd00:96::7]:80", "41/80", 28)]
fn original_dst_with_any_length(#[case] service: SocketAddr, #[case] question: &str, #[case] needed: usize) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    const LENGTHS: [usize; 11] = [0, 1, 4, 15, 16, 27, 28, 64, 128, 4096, 8192];
    let ask = |plane: Option<DataPlane>| {
        let network = Network::new("lengths").unwrap();
        let under = plane.map(|plane| plane.under(&network.pod).unwrap());
        let _sidecar = server::stand_in(&network.pod).hold().start().unwrap();
        let lengths = LENGTHS.map(|length| length.to_string()).join(",");
        let command = network.pod.lab_agent("options").unwrap();
        let command = command.args(["--to", &service.to_string(), "--original-dst", &lengths]);
        let asking = command.user(APP_USER.0, APP_USER.1).hold_input().spawn().unwrap();
        let answers = answers(&asking, 1).remove(0);
        if let Some(under) = under {
            under.assert_counted("original_dst", 1);
        }
        answers
    };
    let ours = ask(Some(DataPlane::Sidestep));
    for length in LENGTHS {
        let answer = &ours[&format!("{question}/{length}")];
        // Longer than the hook's buffer is cut to it.
        assert_eq!(answer.length as usize, length.min(4096), "optlen stays: {answer:?}");
        assert_eq!(answer.errno.is_none(), length >= needed, "{length}: {answer:?}");
        // The hook's buffer goes back as long as it was offered, zeroes behind the address; never more.
        let offered = length.min(128) * 2;
        let beyond = if length >= needed { &answer.value[offered..] } else { &answer.value[..] };
        assert!(beyond.chars().all(|digit| "a5".contains(digit)), "{length}: wrote beyond it: {answer:?}");
    }
    if !DataPlane::Iptables.met(&[]) {
        return;
    }
    let theirs = ask(Some(DataPlane::Iptables));
    for length in LENGTHS {
        let name = format!("{question}/{length}");
        let (ours, theirs) = (&ours[&name], &theirs[&name]);
        assert_eq!(ours.errno.is_none(), theirs.errno.is_none(), "{length}: {ours:?} {theirs:?}");
        if theirs.errno.is_none() {
            assert_eq!(ours.length, theirs.length.min(4096), "{length}");
            assert_eq!(ours.value[..needed * 2], theirs.value[..needed * 2], "{length}");
        }
    }
}
