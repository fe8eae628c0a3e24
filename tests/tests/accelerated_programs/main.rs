//! Real programs give the same answers accelerated as they give over the stack.

mod jvm;
mod postgres;
mod redis;
mod web;

use rstest::rstest;
use tests::accelerated::Accelerated;
use tests::any_reader::{ANY_READER, UNKNOWN_SENDS};
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pod::Pod;
use tests::process::Process;
use tests::requirement::Requirement;
use tests::server::APP_USER;

/// A server, and what is asked of it.
struct Program {
    needs: &'static [Requirement],
    start: fn(&Pod) -> Vec<Process>,
    /// A shell script with a comparable answer.
    ask: &'static str,
    /// Programs that are started after the attach.
    clients: &'static [&'static str],
}

/// What a program has answered, and what became of its connections.
fn answers(program: &Program, accelerated: &Accelerated) -> (String, Acceleration) {
    let network = Network::new("programs").unwrap();
    let pod = &network.pod;
    std::fs::write(pod.scratch().join("content"), content()).unwrap();
    // Before the attach: it looks at the programs that run.
    let _servers = (program.start)(pod);
    let mut flags = accelerated.clone().trusting_nobody().attach_flags();
    for client in program.clients {
        flags.extend(["--trust-program".to_owned(), (*client).to_owned()]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let _attached = tests::sidestep::Sidestep::attach(pod, &flags).unwrap();
    let script = format!("set -e; cd {}; {}", pod.scratch().display(), program.ask);
    let answer = pod.command("bash").args(["-o", "pipefail", "-c", &script]).user(APP_USER.0, APP_USER.1);
    let answer = answer.run().unwrap();
    let acceleration = Acceleration::of_pod(pod).unwrap();
    println!("{accelerated:?}: {acceleration:?}\n{answer}");
    (answer, acceleration)
}

/// 5 MB that no repetition makes look right.
fn content() -> Vec<u8> {
    (0..1_310_720u32).flat_map(|place| place.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[rstest]
#[case::nginx(web::NGINX, &["safe-readers", ANY_READER])]
#[case::apache(web::APACHE, &["safe-readers", ANY_READER])]
// It splices: [`ANY_READER`], is not for it. What it sends may be redirected.
#[case::haproxy(web::HAPROXY, &["safe-readers"])]
#[case::splicing(web::HAPROXY_MANY, &[UNKNOWN_SENDS])]
#[case::redis(redis::REDIS, &["safe-readers", ANY_READER])]
#[case::postgres(postgres::POSTGRES, &["safe-readers", ANY_READER])]
fn as_over_the_stack(#[case] program: Program, #[case] modes: &[&str]) {
    if !DataPlane::Sidestep.met(&[program.needs, &[Requirement::Acceleration]].concat()) {
        return;
    }
    let (plain, acceleration) = answers(&program, &Accelerated::new("off"));
    assert!(!plain.trim().is_empty() && acceleration.of("redirected").messages == 0);
    for mode in modes {
        let (seen, acceleration) = answers(&program, &Accelerated::new(mode));
        assert_eq!(seen, plain, "{mode}");
        assert!(*mode == "safe-readers" || acceleration.of("redirected").messages > 10, "{acceleration:?}");
    }
}

/// It splices: nothing is redirected to it, and what it sends is, without a word about it.
#[test]
fn what_a_splicing_proxy_sends() {
    let program = &web::HAPROXY_MANY;
    if !DataPlane::Sidestep.met(&[program.needs, &[Requirement::Acceleration]].concat()) {
        return;
    }
    let (plain, _) = answers(program, &Accelerated::new("off"));
    let (seen, acceleration) = answers(program, &Accelerated::new("safe-readers"));
    assert_eq!(seen, plain);
    // With the guard it is redirected to.
    let entered = acceleration.of("enrolled_to_send").sockets + acceleration.of("enrolled").sockets;
    assert!(entered >= 10, "most are short: {acceleration:?}");
    assert!(acceleration.of("redirected").bytes > 1_000_000, "{acceleration:?}");
}

/// FIONREAD: where the kernel counts wrongly, who asks it stays out of the map, or it waits for what is there already.
#[rstest]
#[case::nginx(web::NGINX_ASKING, "nginx")]
#[case::jvm(jvm::JVM, "java")]
fn who_asks_what_waits(#[case] program: Program, #[case] name: &str) {
    if !DataPlane::Sidestep.met(&[program.needs, &[Requirement::Acceleration]].concat()) {
        return;
    }
    let (plain, _) = answers(&program, &Accelerated::new("off"));
    // So little that everything goes over the stack, and as much as usual.
    for accelerated in [Accelerated::new("safe-readers").limit(64), Accelerated::new("safe-readers")] {
        let (seen, acceleration) = answers(&program, &accelerated);
        assert_eq!(seen, plain);
        let is_wrong = acceleration.kernel_differs.iter().any(|it| it.starts_with("FIONREAD"));
        let stays_out = acceleration.hazardous.iter().any(|program| program.ends_with(name));
        assert_eq!(stays_out, is_wrong, "{acceleration:?}");
        let entered = acceleration.of(if is_wrong { "untrusted_reader" } else { "enrolled" });
        assert!(entered.sockets > 0, "{acceleration:?}");
    }
}
