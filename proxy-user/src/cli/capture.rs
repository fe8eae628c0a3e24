//! `sidestep capture`.

use std::{
    fs::{OpenOptions, Permissions},
    io::{self, BufWriter, IsTerminal as _},
    os::{
        fd::AsFd as _,
        unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    },
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proxy_common::{
    accel::{MOST_KEPT, Reason},
    names::map,
};
use proxy_core::exit::{Class, Failure};
use proxy_plane::dataplane::{self, Capture, CaptureFilter, Claim, Message, Meta, WorkloadPins};

use super::{port, span};
use crate::{
    capture::{File, Lines, Names, Sink},
    ended, out,
    units::bytes,
};

/// As long as a look at signals and at the clock may wait.
const LOOK_EVERY: u16 = 200;
/// How often the kernel is told that somebody still looks.
const GO_ON_EVERY: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep capture --workload shop/reviews-0\n  \
    sidestep capture --workload shop/reviews-0 --port 8080 --count 20\n  \
    sidestep capture --workload shop/reviews-0 --for 10s --write reviews.pcapng\n  \
    sidestep capture --workload shop/reviews-0 --write - | wireshark -k -i -\n\n\
    Shown is what sockets of the acceleration send, redirected or not, to the workload and from it: between processes and \
    sidecars of this node. What never took part tcpdump sees; `sidestep pause` gives everything back to the stack for a while. \
    Payload stands in the file as it was sent.")]
pub(crate) struct CaptureArgs {
    /// The workload, as `sidestep status` names it, or the pod, as NAMESPACE/NAME; repeatable
    #[arg(long, value_name = "NAME", required = true)]
    workload: Vec<String>,

    /// Only connections with this port at either end: a number, or a service as http
    #[arg(long, value_name = "PORT", value_parser = port::parse)]
    port: Option<u16>,

    /// Write pcapng to this file, or to standard output with -; without it a line for each message is printed
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,

    /// End after this time
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = span::parse)]
    span: Duration,

    /// End after so many messages
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,

    /// End when so many MiB are written
    #[arg(long, value_name = "MIB", default_value_t = 100)]
    max_mib: u64,

    /// Bytes of each message, at most 32768
    #[arg(short, long, value_name = "BYTES", default_value_t = MOST_KEPT,
        value_parser = clap::value_parser!(u32).range(..=i64::from(MOST_KEPT)))]
    snaplen: u32,
}

pub(crate) fn run(args: &CaptureArgs) -> Result<ExitCode> {
    let workloads = accelerated(&args.workload)?;
    let names = names()?;
    // A line needs no payload.
    let most = if args.write.is_none() { 0 } else { args.snaplen };
    let ended = ended::by_signal()?;
    let mut capture = match Capture::claim()? {
        Claim::Granted(capture) => capture,
        Claim::Taken => {
            return Err(Failure::error(
                Class::Unavailable,
                "another process captures on this node; find it with `pgrep -af 'sidestep capture'`, and try again once it \
                 has ended",
            ));
        }
        Claim::Absent => return Err(Failure::error(Class::Other, "no workload is attached any more")),
    };
    // A file that is there is emptied once there is something to write.
    let mut sink = sink(args, names)?;
    capture.begin(&CaptureFilter { workloads, most, port: args.port })?;
    let look = Look { args, ended: &ended, began: Instant::now() };
    let seen = look.until_it_ends(&mut capture, &mut *sink)?;
    sink.flush()?;
    say(&seen, capture.lost(), args);
    Ok(ExitCode::SUCCESS)
}

/// The workloads that are meant, all of them accelerated.
fn accelerated(names: &[String]) -> Result<Vec<WorkloadPins>> {
    let mut found: Vec<WorkloadPins> = Vec::new();
    for name in names {
        found.extend(dataplane::attached_as(name)?);
    }
    for pins in &found {
        let meta = Meta::read(&pins.map(map::META)).with_context(|| format!("workload {}", pins.name()))?;
        if let Some(reason) = meta.not_accelerated {
            return Err(Failure::error(
                Class::Unavailable,
                format!(
                    "workload {}: nothing of it is redirected ({reason}): tcpdump sees all of it, as with \
                     `nsenter --net={} tcpdump -i any`",
                    pins.name(),
                    meta.netns_path.display()
                ),
            ));
        }
    }
    Ok(found)
}

/// Of all workloads of the node: a captured one may talk to each.
fn names() -> Result<Names> {
    let name = |pins: WorkloadPins| {
        Meta::read(&pins.map(map::META)).map_or_else(|_| pins.name(), |meta| meta.called(&pins))
    };
    Ok(dataplane::tenants()?.into_iter().map(|(tenancy, pins)| (tenancy, name(pins))).collect())
}

fn sink(args: &CaptureArgs, names: Names) -> Result<Box<dyn Sink>> {
    let Some(path) = &args.write else { return Ok(Box::new(Lines::new(names))) };
    if path.as_os_str() == "-" {
        if io::stdout().is_terminal() {
            return Err(Failure::error(
                Class::Usage,
                "--write -: pcapng is no text for a terminal; give a file, or a pipe as `| wireshark -k -i -`",
            ));
        }
        return Ok(Box::new(File::begin(io::stdout(), names)?));
    }
    // Payload of pods: for nobody else, and not through somebody's symbolic link.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(|error| {
            Failure::error(Class::of_argument(&error), format!("--write {}: {error}", path.display()))
        })?;
    // One that was there may have been for others to read.
    let meta = file.metadata().with_context(|| format!("stat {}", path.display()))?;
    if meta.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))
            .with_context(|| format!("--write {}: make it root's alone", path.display()))?;
    }
    Ok(Box::new(File::begin(BufWriter::new(file), names)?))
}

#[derive(Default)]
struct Seen {
    messages: u64,
    redirected: u64,
    bytes: u64,
}

struct Look<'a> {
    args: &'a CaptureArgs,
    ended: &'a AtomicBool,
    began: Instant,
}

impl Look<'_> {
    fn until_it_ends(&self, capture: &mut Capture, sink: &mut dyn Sink) -> Result<Seen> {
        let mut seen = Seen::default();
        let mut told = Instant::now();
        loop {
            let is_over = self.is_over(sink);
            if is_over {
                // What was sent until now is in the ring.
                capture.end();
            } else if told.elapsed() >= GO_ON_EVERY {
                capture.go_on()?;
                told = Instant::now();
            }
            // A bounded number, so that signals and time are looked at when messages never end.
            for _ in 0..1024 {
                let Some(message) = capture.next_message() else {
                    if is_over || !sink.flush()? {
                        return Ok(seen);
                    }
                    wait(capture)?;
                    break;
                };
                if self.args.count.is_some_and(|most| seen.messages >= most) {
                    return Ok(seen);
                }
                seen.add(&message);
                if !sink.take(&message)? {
                    return Ok(seen);
                }
            }
        }
    }

    fn is_over(&self, sink: &dyn Sink) -> bool {
        self.ended.load(Ordering::Relaxed)
            || self.began.elapsed() >= self.args.span
            || sink.written() >= self.args.max_mib << 20
    }
}

impl Seen {
    fn add(&mut self, message: &Message) {
        self.messages += 1;
        self.redirected += u64::from(message.reason == Some(Reason::Redirected));
        self.bytes += u64::from(message.size);
    }
}

/// For a message, a signal, or a moment.
fn wait(capture: &Capture) -> Result<()> {
    let mut ring = [PollFd::new(capture.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ring, PollTimeout::from(LOOK_EVERY)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("wait for messages"),
    }
}

fn say(seen: &Seen, lost: u64, args: &CaptureArgs) {
    let Seen { messages, redirected, bytes: sent } = seen;
    let mut text = format!("{messages} messages with {}, {redirected} of them redirected", bytes(*sent));
    if let Some(path) = args.write.as_ref().filter(|path| path.as_os_str() != "-") {
        text.push_str(&format!(", in {}", path.display()));
    }
    if lost > 0 {
        text.push_str(&format!(
            "; warning: {lost} messages found no room and are missing: narrow it with --port or --snaplen"
        ));
    }
    out::complain(text);
}
