//! Real programs give the same answers accelerated as they give over the stack.

mod postgres;
mod redis;
mod web;

use rstest::rstest;
use tests::accelerated::Accelerated;
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

/// Answers under a mode of the acceleration, and messages redirected meanwhile.
fn answers(program: &Program, mode: &str) -> (String, u64) {
    let network = Network::new("programs").unwrap();
    let pod = &network.pod;
    std::fs::write(pod.scratch().join("content"), content()).unwrap();
    // Before the attach: it looks at the programs that run.
    let _servers = (program.start)(pod);
    let mut flags = Accelerated::new(mode).trusting_nobody().attach_flags();
    for client in program.clients {
        flags.extend(["--trust-program".to_owned(), (*client).to_owned()]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let _attached = tests::sidestep::Sidestep::attach(pod, &flags).unwrap();
    let script = format!("set -e; cd {}; {}", pod.scratch().display(), program.ask);
    let answer = pod.command("bash").args(["-o", "pipefail", "-c", &script]).user(APP_USER.0, APP_USER.1);
    let answer = answer.run().unwrap();
    let counters = Acceleration::of_pod(pod).unwrap();
    println!("{mode}: {:?}\n{answer}", counters.counters);
    (answer, counters.of("redirected").messages)
}

/// 5 MB that no repetition makes look right.
fn content() -> Vec<u8> {
    (0..1_310_720u32).flat_map(|place| place.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[rstest]
#[case::nginx(web::NGINX, &["strict", "auto"])]
#[case::apache(web::APACHE, &["strict", "auto"])]
// It splices: `auto`, which does not look, is not for it.
#[case::haproxy(web::HAPROXY, &["strict"])]
#[case::redis(redis::REDIS, &["strict", "auto"])]
#[case::postgres(postgres::POSTGRES, &["strict", "auto"])]
fn as_over_the_stack(#[case] program: Program, #[case] modes: &[&str]) {
    if !DataPlane::Sidestep.met(&[program.needs, &[Requirement::Kernel("safe_sockmap")]].concat()) {
        return;
    }
    let (plain, none) = answers(&program, "off");
    assert!(!plain.trim().is_empty() && none == 0);
    for mode in modes {
        let (seen, redirected) = answers(&program, mode);
        assert_eq!(seen, plain, "{mode}");
        assert!(*mode != "auto" || redirected > 10, "{redirected} messages redirected");
    }
}
