//! The kernel's verifier takes the whole program set; what it costs is printed.

use std::fs;
use std::os::fd::AsRawFd;

use proxy_plane::sys::bpf_link::program_by_id;
use tests::data_plane::{DataPlane, flags};
use tests::footprint::Footprint;
use tests::kernel;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::sidestep::Sidestep;

/// `kernel/bpf/verifier.c: BPF_COMPLEXITY_LIMIT_INSNS`.
const MOST_VERIFIED: u64 = 1_000_000;
/// `MAX_BPF_STACK`, over all frames.
const MOST_STACK: u32 = 512;

#[test]
fn the_kernel_takes_every_program() {
    if !DataPlane::Sidestep.met(&[Requirement::Program("bpftool", "bpftool")]) {
        return;
    }
    // `kernel/bpf/syscall.c: bpf_prog_show_fdinfo` tells `verified_insns` since 5.16.
    let is_counted = kernel::release().unwrap() >= (5, 16);
    let network = Network::new("sizes").unwrap();
    let dns = [("ISTIO_META_DNS_CAPTURE", "true")];
    let _sidestep = Sidestep::attach_with(&network.pod, &flags(), &dns).unwrap();
    let footprint = Footprint::of(&network.pod).unwrap();
    assert!(footprint.programs.len() >= 8, "{footprint:?}");
    println!("{:<14} {:>9} {:>9} {:>7} {:>6}", "program", "verified", "xlated", "jited", "stack");
    for id in &footprint.programs {
        let shown = bpftool(&["--json", "prog", "show", "id", &id.to_string()]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let program = program_by_id(u32::try_from(*id).unwrap()).unwrap();
        let verified = fdinfo(program.as_raw_fd(), "verified_insns:");
        let stack = stack_depth(&bpftool(&["prog", "dump", "xlated", "id", &id.to_string()]));
        let name = shown["name"].as_str().unwrap_or("?");
        let (xlated, jited) = (&shown["bytes_xlated"], &shown["bytes_jited"]);
        println!("{name:<14} {verified:>9} {xlated:>9} {jited:>7} {stack:>6}");
        assert!(verified < MOST_VERIFIED && (verified > 0 || !is_counted), "{name}: {verified}");
        assert!(stack <= MOST_STACK, "{name}: {stack}");
        assert_eq!(shown["gpl_compatible"], true, "{name}");
    }
}

fn bpftool(args: &[&str]) -> String {
    let output = std::process::Command::new("bpftool").args(args).output().unwrap();
    assert!(output.status.success(), "bpftool {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fdinfo(fd: i32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// The deepest offset below the frame pointer, over all functions of the program: an upper bound of what the verifier
/// adds up along calls.
fn stack_depth(xlated: &str) -> u32 {
    let mut total = 0;
    let mut deepest = 0;
    let mut copy_of_frame: Option<&str> = None;
    for line in xlated.lines() {
        if line.ends_with(':') && !line.starts_with(';') {
            // The next function's signature.
            total += deepest;
            deepest = 0;
        }
        for part in line.split("r10 -").skip(1) {
            deepest = deepest.max(number(part));
        }
        let operation = line.split_once(") ").map_or("", |(_, operation)| operation);
        match (operation.strip_suffix(" = r10"), copy_of_frame, operation.split_once(" += -")) {
            (Some(register), ..) => copy_of_frame = Some(register),
            (None, Some(register), Some((added, amount))) if added == register => {
                deepest = deepest.max(number(amount));
            }
            _ => copy_of_frame = None,
        }
    }
    (total + deepest).next_multiple_of(8)
}

fn number(text: &str) -> u32 {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}
