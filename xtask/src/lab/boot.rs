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
    declared::Kernel,
    emulator::Emulator,
    package::Image,
    report,
    transcript::{End, Transcript, Verdict},
};
use crate::{machine::Machine, step};

/// A test binary is ended after so long, and the next one has its turn.
pub(crate) const MOST_OF_A_RUN: Duration = Duration::from_secs(540);
/// A guest that says nothing for so long hangs.
pub(crate) const SILENCE: Duration = Duration::from_secs(MOST_OF_A_RUN.as_secs() + 60);
const MEMORY_MIB: &str = "3072";
const KVM: [&str; 4] = ["-accel", "kvm", "-cpu", "host"];
/// A thread for each processor: for x86 right from qemu 8.1 on (tests/kernels.toml).
const EMULATED: [&str; 3] = ["-accel", "tcg,thread=multi", "-cpu"];
const LAST_LINES: usize = 25;
const MOST_LINES: usize = 80;
const BEFORE_TROUBLE: usize = 3;
/// How the kernel begins to say that it is in trouble.
const TROUBLE: [&str; 7] = [
    "Kernel panic",
    "BUG:",
    "Oops",
    "general protection",
    "blocked for more than",
    "rcu: INFO",
    "Out of memory",
];

/// How to boot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) kvm: bool,
    /// Pass on what the guest says.
    pub(crate) verbose: bool,
    /// A guest that says nothing for so long hangs.
    pub(crate) silence: Duration,
}

pub(crate) fn boot(
    image: &Image,
    initramfs: &Path,
    home: &Path,
    kernel: &Kernel,
    emulator: &Emulator,
    options: Options,
) -> Result<Verdict> {
    let console = home.join("console.log");
    let hardware = hardware(kernel.machine);
    let mut child = Qemu(
        qemu(emulator, &hardware, options.kvm, &console)
            .arg("-kernel")
            .arg(&image.vmlinuz)
            .arg("-initrd")
            .arg(initramfs)
            .arg("-append")
            .arg(format!(
                "console={} lab.report={} loglevel=5 panic=-1 oops=panic rdinit=/init mitigations=off {}",
                hardware.console, hardware.report, kernel.append
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {}", emulator.program.display()))?,
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
        match chunks.recv_timeout(options.silence) {
            Ok(chunk) => {
                log.write_all(&chunk).context("write the log")?;
                if options.verbose {
                    std::io::stderr().write_all(&chunk).context("write to stderr")?;
                }
                transcript.push(&chunk);
                for (name, binary) in transcript.newly_ended() {
                    let how = if binary.is_green() { "Passed" } else { "Failed" };
                    step::say(how, format!("{}: {name}: {}", kernel.name, report::cell(binary)));
                }
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
    Ok(transcript.verdict(end, &last_lines(&text)))
}

/// From where the kernel says what is wrong, if it does, else the last lines.
fn last_lines(console: &str) -> String {
    let lines: Vec<&str> = console.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let tail = lines.len().saturating_sub(LAST_LINES);
    let trouble = lines.iter().position(|line| TROUBLE.iter().any(|word| line.contains(word)));
    let from = trouble.map_or(tail, |at| at.saturating_sub(BEFORE_TROUBLE));
    let to = lines.len().min(from + MOST_LINES);
    lines[from..to].join("\n")
}

/// What qemu emulates, and what the kernel calls its two serial lines.
struct Hardware {
    board: &'static str,
    processor: &'static str,
    console: &'static str,
    report: &'static str,
    /// The second line ends at this program's end of a pipe.
    second: &'static [&'static str],
}

fn hardware(machine: Machine) -> Hardware {
    match machine {
        Machine::X86_64 => Hardware {
            board: "q35",
            processor: "qemu64",
            console: "ttyS0",
            report: "ttyS1",
            second: &["-serial", "stdio"],
        },
        // The board has one serial line; the other one is a card's.
        Machine::Aarch64 => Hardware {
            board: "virt",
            processor: "cortex-a72",
            console: "ttyAMA0",
            report: "ttyS0",
            second: &["-chardev", "stdio,id=report,signal=off", "-device", "pci-serial,chardev=report"],
        },
    }
}

fn qemu(emulator: &Emulator, hardware: &Hardware, kvm: bool, console: &Path) -> Command {
    let mut command = step::command(&emulator.program);
    command.args(&emulator.args).args(["-machine", hardware.board, "-smp", "2", "-m", MEMORY_MIB]);
    if kvm {
        command.args(KVM);
    } else {
        command.args(EMULATED).arg(hardware.processor);
    }
    command
        .args(["-display", "none", "-monitor", "none", "-nodefaults", "-no-reboot"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(hardware.second);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a 6.1 guest said when it was told to panic, shortened.
    const PANIC: &str = "[    0.000000] Linux version 6.1.0-56-amd64\r\n[    8.102127] sysrq: Trigger a crash\r\n\
        [    8.103127] Kernel panic - not syncing: sysrq triggered crash\r\n\r\n[    8.104127] CPU: 1 PID: 92 Comm: sh\r\n";

    #[test]
    fn a_panic_is_shown_from_its_cause_on() {
        let trace: String =
            (0..200).map(|line| format!("[    8.472127]  frame_{line}+0x1/0x2\r\n")).collect();
        let boot: String = (0..300).map(|line| format!("[    1.{line:06}] booting\r\n")).collect();
        let shown = last_lines(&format!("{boot}{PANIC}{trace}"));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), MOST_LINES);
        assert!(lines[BEFORE_TROUBLE].contains("Kernel panic - not syncing"), "{shown}");
        assert!(lines[BEFORE_TROUBLE - 1].contains("sysrq"), "{shown}");
    }

    #[test]
    fn without_a_cause_the_last_lines_are_shown() {
        let console: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let shown = last_lines(&console);
        assert_eq!((shown.lines().next(), shown.lines().next_back()), (Some("line 75"), Some("line 99")));
    }
}
