//! One boot under qemu, watched until the guest says it is done, hangs or dies.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    package::Image,
    transcript::{End, Transcript, Verdict},
};
use crate::step;

/// A test binary that says nothing for so long hangs; libtest itself speaks up after 60 s of a test.
const SILENCE: Duration = Duration::from_secs(240);
const MEMORY_MIB: &str = "3072";
const LAST_LINES: usize = 25;

/// How to boot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) kvm: bool,
    /// Pass on what the guest says.
    pub(crate) verbose: bool,
}

pub(crate) fn boot(
    image: &Image,
    initramfs: &Path,
    home: &Path,
    append: &str,
    options: Options,
) -> Result<Verdict> {
    let console = home.join("console.log");
    let mut child = Qemu(
        qemu(image, initramfs, &console, append, options.kvm)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("run qemu-system-x86_64")?,
    );
    let mut output = child.0.stdout.take().context("qemu's stdout")?;
    let (sender, chunks) = mpsc::channel();
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(len) = output.read(&mut chunk) {
            // At the end of the file, and when nobody listens any more.
            if len == 0 || sender.send(chunk[..len].to_vec()).is_err() {
                break;
            }
        }
    });
    let log = home.join("tests.log");
    let mut log = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let mut transcript = Transcript::default();
    let end = loop {
        match chunks.recv_timeout(SILENCE) {
            Ok(chunk) => {
                log.write_all(&chunk).context("write the log")?;
                if options.verbose {
                    std::io::stderr().write_all(&chunk).context("write to stderr")?;
                }
                transcript.push(&chunk);
                if let Some(end) = transcript.ended() {
                    break end;
                }
            }
            Err(RecvTimeoutError::Timeout) => break End::Hung,
            Err(RecvTimeoutError::Disconnected) => break End::Died,
        }
    };
    drop(child);
    let text = fs::read(&console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let last: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = last[last.len().saturating_sub(LAST_LINES)..].join("\n");
    Ok(transcript.verdict(end, &last))
}

fn qemu(image: &Image, initramfs: &Path, console: &Path, append: &str, kvm: bool) -> Command {
    let mut command = step::command("qemu-system-x86_64");
    command
        .args(["-machine", "q35", "-smp", "2", "-m", MEMORY_MIB])
        // `-cpu max` of qemu 7.2 double-faults Linux 6.12 and later under TCG.
        .args(if kvm { ["-accel", "kvm", "-cpu", "host"] } else { ["-accel", "tcg", "-cpu", "qemu64"] })
        .args(["-display", "none", "-monitor", "none", "-nodefaults", "-no-reboot"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio"])
        .arg("-kernel")
        .arg(&image.vmlinuz)
        .arg("-initrd")
        .arg(initramfs)
        .arg("-append")
        .arg(format!("console=ttyS0 loglevel=5 panic=-1 oops=panic rdinit=/init mitigations=off {append}"));
    command
}

/// Ends with this value, however the verb ends.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // Killing a guest that has powered off is an error that does not matter.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
