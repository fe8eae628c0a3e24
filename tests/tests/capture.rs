//! `sidestep capture`: the bytes that tcpdump does not see, each of them and in order; and `sidestep pause`, which gives them back
//! to the stack for a while.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_file::pcapng::{Block, PcapNgReader, blocks::enhanced_packet::EnhancedPacketOption};
use tests::accelerated::{Accelerated, attach_both, streams};
use tests::alone::alone;
use tests::any_reader::ANY_READER;
use tests::content::Content;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::Requirement;
use tests::sidestep::{self, Sidestep, ended};
use tests::wait::until;

const AT: ([u8; 4], u16) = ([127, 0, 0, 1], 7000);
const BYTES: u64 = 1 << 20;
const WITHIN: Duration = Duration::from_secs(60);
/// What a flow of `lab-agent stream` sends before its content, and at most after it.
const AROUND: usize = 32;

fn name_of(attached: &Sidestep) -> String {
    let meta = attached.meta().unwrap();
    format!("{}-{}", meta["netns"]["ino"], meta["cgroup_id"])
}

/// `sidestep capture`, running.
struct Capture(Child);

impl Capture {
    /// Of this workload, with these flags; when it has begun.
    fn start(attached: &Sidestep, flags: &[&str]) -> Self {
        let mut command = Command::new(sidestep::binary().unwrap());
        command.args(["capture", "--workload", &name_of(attached)]).args(flags);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("it captures", WITHIN, || is_capturing(attached));
        Self(child)
    }

    /// Ends it as Ctrl-C does; what it said.
    fn interrupt(self) -> (String, String) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        self.end()
    }

    fn end(self) -> (String, String) {
        let output = self.0.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }
}

/// Whether the programs have been told: the map says until when.
fn is_capturing(attached: &Sidestep) -> bool {
    let dump = Command::new("bpftool")
        .args(["--json", "map", "dump", "pinned"])
        .arg(attached.node_map("CAPTURE").unwrap())
        .output()
        .unwrap();
    let dump: serde_json::Value = serde_json::from_slice(&dump.stdout).unwrap();
    let bytes = dump[0]["value"].as_array().unwrap();
    bytes[..8].iter().any(|byte| byte != "0x00")
}

/// A direction of a connection.
type Direction = (SocketAddr, SocketAddr);

#[derive(Default)]
struct Stream {
    /// By place: sequence numbers less the first one.
    pieces: BTreeMap<u32, Vec<u8>>,
    first: Option<u32>,
    redirected: usize,
}

impl Stream {
    /// Its bytes, if none is missing.
    fn whole(&self) -> Result<Vec<u8>> {
        let mut whole = Vec::new();
        for (place, bytes) in &self.pieces {
            anyhow::ensure!(*place as usize == whole.len(), "{place} follows {}", whole.len());
            whole.extend_from_slice(bytes);
        }
        Ok(whole)
    }
}

fn read(path: &Path) -> Result<BTreeMap<Direction, Stream>> {
    let mut reader = PcapNgReader::new(File::open(path)?)?;
    let mut streams: BTreeMap<Direction, Stream> = BTreeMap::new();
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block? else { continue };
        let sliced = SlicedPacket::from_ip(&packet.data)?;
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { anyhow::bail!("no TCP") };
        let (source, target): (IpAddr, IpAddr) = match sliced.net.context("no IP")? {
            NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            other => anyhow::bail!("{other:?}"),
        };
        let ports = (tcp.source_port(), tcp.destination_port());
        let stream = streams.entry(((source, ports.0).into(), (target, ports.1).into())).or_default();
        let first = *stream.first.get_or_insert(tcp.sequence_number());
        let bytes = tcp.payload().to_vec();
        let is_redirected = packet
            .options
            .iter()
            .any(|it| matches!(it, EnhancedPacketOption::Comment(text) if text.starts_with("redirected")));
        stream.redirected += if is_redirected { bytes.len() } else { 0 };
        stream.pieces.insert(tcp.sequence_number().wrapping_sub(first), bytes);
    }
    Ok(streams)
}

/// Streams that switch between both paths all the time, while they are captured: each arrives whole, and stands whole in the file.
#[test]
fn every_byte_is_in_the_file() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    // A node has one capture at a time.
    let _turn = alone();
    // On a loaded machine whoever reads the ring may come too late, and says so.
    assert!((0..5).any(|_| has_every_byte()), "five times there was no room for some");
}

/// False: there was no room for some messages, as it was said.
fn has_every_byte() -> bool {
    const FLOWS: u64 = 4;
    let network = Network::new("capture").unwrap();
    let attached = Accelerated::new(ANY_READER).limit(50_000).attach(&network.pod).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("all.pcapng");
    fs::write(&path, "of before, for all to read").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let capture = Capture::start(&attached, &["--write", path.to_str().unwrap()]);
    let _server = streams::serve(&network.pod, AT.into(), &[]).unwrap();
    // With pauses, so that whoever reads the ring keeps up.
    let client = streams::Client::to(AT.into(), FLOWS, BYTES).chunk(30_000).burst(100_000);
    let seen = client.run(&network.pod).unwrap();
    assert_eq!((seen.completed, seen.corrupted), (FLOWS, 0), "{seen:?}");
    let (_, said) = capture.interrupt();
    assert!(said.contains("redirected, in"), "{said}");
    if said.contains("no room") {
        return false;
    }

    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "payload is nobody else's");
    let streams = read(&path).unwrap();
    assert_eq!(streams.len() as u64, 2 * FLOWS);
    let content = Content::default();
    let (mut redirected, mut all) = (0, 0);
    for (direction, stream) in &streams {
        let whole = stream.whole().with_context(|| format!("{direction:?}")).unwrap();
        assert!(whole.len() as u64 >= BYTES, "{direction:?}: {}", whole.len());
        assert!(content.is_of_a_flow(&whole[AROUND..whole.len() - AROUND]), "{direction:?}");
        redirected += stream.redirected;
        all += whole.len();
    }
    let counted = Acceleration::of_pod(&network.pod).unwrap();
    assert_eq!(redirected as u64, counted.of("redirected").bytes);
    assert!(redirected > all / 10 && redirected < all, "both paths: {redirected} of {all}");
    assert!(!is_capturing(&attached));
    true
}

/// A reader of such files that is not ours finds nothing wrong with it.
#[test]
fn tcpdump_reads_it() {
    let needs = [Requirement::Acceleration, Requirement::Program("tcpdump", "tcpdump")];
    if !DataPlane::Sidestep.met(&needs) {
        return;
    }
    // A node has one capture at a time.
    let _turn = alone();
    let network = Network::new("capture-read").unwrap();
    let attached = Accelerated::new(ANY_READER).attach(&network.pod).unwrap();
    let _server = streams::serve(&network.pod, AT.into(), &[]).unwrap();
    let mut capture = Capture::start(&attached, &["--write", "-", "--port", "7000"]);
    let file = capture.0.stdout.take().unwrap();
    let mut reading = Command::new("tcpdump");
    reading.args(["-nnvv", "--number", "-r", "-"]).stdin(file);
    let reading = reading.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // In one piece each.
    let seen = streams::Client::to(AT.into(), 1, 20_000).chunk(8000).run(&network.pod).unwrap();
    assert_eq!((seen.completed, seen.corrupted), (1, 0), "{seen:?}");
    let (_, said) = capture.interrupt();
    let read = reading.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&read.stdout);
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let packets: Vec<&str> = text.lines().filter(|line| line.contains("Flags [P.]")).collect();
    let messages = said.split(' ').nth(1).and_then(|count| count.parse::<usize>().ok());
    assert_eq!(Some(packets.len()), messages, "{said}{text}");
    let right =
        |line: &&str| line.contains("127.0.0.1") && line.contains("(correct)") && line.contains(".7000");
    assert!(!packets.is_empty() && packets.iter().all(right), "{text}");
}

/// What another workload sends to the one that is captured is shown as well, and what others say to each other is not.
#[test]
fn of_others_only_what_they_say_to_it() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    // A node has one capture at a time.
    let _turn = alone();
    let network = Network::with_own_addresses("captured").unwrap();
    let both = attach_both(&network, &Accelerated::new(ANY_READER)).unwrap();
    let (to_pod, alone) = (network.pod4(7000), SocketAddr::from(([127, 0, 0, 1], 7001)));
    let _servers = [
        streams::serve(&network.pod, to_pod, &[]).unwrap(),
        streams::serve(&network.outside, alone, &[]).unwrap(),
    ];
    let capture = Capture::start(&both[0], &[]);
    let run = |to, from: &Pod| {
        let seen = streams::Client::to(to, 1, 100_000).run(from).unwrap();
        assert_eq!((seen.completed, seen.corrupted), (1, 0), "{seen:?}");
    };
    run(alone, &network.outside);
    run(to_pod, &network.outside);
    let (lines, said) = capture.interrupt();
    let of = |name: &str| lines.lines().filter(|line| line.contains(name)).count();
    assert!(of(&name_of(&both[0])) > 0 && of(&name_of(&both[1])) > 0, "{lines}{said}");
    assert!(lines.lines().all(|line| line.contains(":7000 ") && line.contains(" bytes, ")), "{lines}");
}

/// One at a time; and one that was killed keeps nobody else from it, nor goes on.
#[test]
fn one_process_captures_and_a_killed_one_does_not_stay() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    // A node has one capture at a time.
    let _turn = alone();
    let network = Network::new("capture-one").unwrap();
    let attached = Accelerated::new(ANY_READER).attach(&network.pod).unwrap();
    let name = name_of(&attached);
    let mut first = Capture::start(&attached, &[]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("of before");
    fs::write(&path, "of before").unwrap();
    let second = ended(["capture", "--workload", &name, "--write", path.to_str().unwrap()]).unwrap();
    assert_eq!(second.code, Some(69), "{second:?}");
    assert!(second.stderr.contains("another process captures"), "{second:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "of before");
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    let third = ended(["capture", "--workload", &name, "--for", "100ms"]).unwrap();
    assert_eq!(third.code, Some(0), "{third:?}");
    assert!(third.stderr.contains("0 messages"), "{third:?}");
    assert!(!is_capturing(&attached));
}

#[test]
fn it_ends_by_count_and_by_size() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    // A node has one capture at a time.
    let _turn = alone();
    let network = Network::new("capture-ends").unwrap();
    let attached = Accelerated::new(ANY_READER).attach(&network.pod).unwrap();
    let _server = streams::serve(&network.pod, AT.into(), &[]).unwrap();
    let counted = Capture::start(&attached, &["--count", "3"]);
    let run = || streams::Client::to(AT.into(), 2, BYTES).run(&network.pod).unwrap();
    run();
    let (lines, said) = counted.end();
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert!(said.contains("3 messages"), "{said}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("some.pcapng");
    let sized =
        Capture::start(&attached, &["--write", path.to_str().unwrap(), "--max-mib", "1", "--snaplen", "100"]);
    let run_until = || fs::metadata(&path).is_ok_and(|file| file.len() >= 1 << 20);
    until("it has written enough", WITHIN, || {
        run();
        run_until()
    });
    sized.end();
    let streams = read(&path).unwrap();
    let longest = streams.values().flat_map(|stream| stream.pieces.values().map(Vec::len)).max();
    assert_eq!(longest, Some(100));
}

#[test]
fn what_cannot_be_captured_is_said() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::new("capture-not").unwrap();
    let attached = Accelerated::new("off").attach(&network.pod).unwrap();
    let name = name_of(&attached);
    for verb in ["capture", "pause"] {
        let refused = ended([verb, "--workload", &name]).unwrap();
        assert!(refused.stderr.contains("tcpdump sees all of it"), "{refused:?}");
        assert_ne!(refused.code, Some(0));
        let unknown = ended([verb, "--workload", "shop/nobody-0"]).unwrap();
        assert_eq!(unknown.code, Some(64), "{unknown:?}");
        assert!(unknown.stderr.contains("no workload 'shop/nobody-0'"), "{unknown:?}");
    }
    let long = ended(["pause", "--workload", &name, "--for", "2h"]).unwrap();
    assert_eq!(long.code, Some(64), "{long:?}");
}

fn redirected(pod: &Pod) -> u64 {
    Acceleration::of_pod(pod).unwrap().of("redirected").bytes
}

/// Connections that live go on over the stack, and come back by themselves; a second attach does not end it.
#[test]
fn a_pause_ends_by_itself() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::new("pause").unwrap();
    let accelerated = Accelerated::new(ANY_READER);
    let attached = accelerated.attach(&network.pod).unwrap();
    let _server = streams::serve(&network.pod, AT.into(), &[]).unwrap();
    let name = name_of(&attached);
    let run = || {
        let seen = streams::Client::to(AT.into(), 2, BYTES).run(&network.pod).unwrap();
        assert_eq!((seen.completed, seen.corrupted), (2, 0), "{seen:?}");
        redirected(&network.pod)
    };
    let before = run();
    assert!(before > 0);
    let pause = |span: &str| {
        let paused = ended(["pause", "--workload", &name, "--for", span]).unwrap();
        assert_eq!(paused.code, Some(0), "{paused:?}");
    };
    pause("1h");
    let said = sidestep::status().unwrap();
    assert!(said.contains("paused: nothing is redirected for 59m more"), "{said}");
    assert_eq!(run(), before);
    let seen = Acceleration::of_pod(&network.pod).unwrap();
    // The stack has it from then on: what is not read yet is the reason after the first message.
    assert!(seen.of("off").bytes + seen.of("draining").bytes >= 2 * BYTES, "{seen:?}");
    let flags = accelerated.attach_flags();
    attached.attach_again(&flags.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    assert_eq!(run(), before);
    pause("0s");
    let after = run();
    assert!(after > before);
    pause("500ms");
    until("it is over", WITHIN, || run() > after);
    let history = ended(["history", "--workload", &name]).unwrap();
    assert!(history.stdout.contains("paused") && history.stdout.contains("resumed"), "{history:?}");
}
