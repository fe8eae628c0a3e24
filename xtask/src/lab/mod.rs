//! `cargo xtask lab`: the lab's tests on other kernels, each booted under qemu with an initramfs of what they need.

mod archive;
mod boot;
pub(crate) mod closure;
mod declared;
mod emulator;
mod foreign;
mod initramfs;
mod package;
mod report;
mod self_check;
mod test_binaries;
mod transcript;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::{
    apt, build, machine::Machine, setup, step, test_tools::packages_of_absent, workspace::Workspace,
};

use self::{
    declared::{Declared, Kernel},
    emulator::Emulator,
    report::Report,
    transcript::Verdict,
};

/// Programs the verb itself runs, and their Debian packages.
const TOOLS: [(&str, &str); 4] =
    [("depmod", "kmod"), ("dpkg-deb", "dpkg"), ("strip", "binutils"), ("ldd", "libc-bin")];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernels of tests/kernels.toml, e.g. `6.1,6.12`; default: all
    #[arg(long, value_delimiter = ',')]
    kernels: Vec<String>,
    /// The kernels and, unless --tests says otherwise, the tests that CI runs
    #[arg(long, conflicts_with = "kernels")]
    ci: bool,
    /// Test binaries whose name contains one of these, or one test: `dns` or `dns::udp`; default: all
    #[arg(long, value_delimiter = ',')]
    tests: Vec<String>,
    /// Also boot the first kernel twice more, to a panic and to a hang, and see that both are told; --ci does
    #[arg(long)]
    self_check: bool,
    /// Also print what the guests print
    #[arg(long)]
    verbose: bool,
    /// With hardware virtualization, ten times as fast. Not the default: a nested KVM may be there and not work
    #[arg(long)]
    kvm: bool,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let declared = Declared::read(&workspace.root.join("tests/kernels.toml"))?;
    let kernels = declared.choose(&args.kernels, args.ci)?;
    setup::run(workspace)?;
    apt::install(&packages_of_absent(&TOOLS))?;
    build::binaries(workspace)?;

    let dir = workspace.target_for("lab");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let tests = if args.ci && args.tests.is_empty() { declared.ci_tests() } else { &args.tests };
    let options = boot::Options { kvm: args.kvm, verbose: args.verbose, silence: boot::SILENCE };
    let mut report = Report::default();
    let mut labs = BTreeMap::new();
    for machine in kernels.iter().map(|kernel| kernel.machine).collect::<BTreeSet<_>>() {
        let lab = Lab::prepare(workspace, &declared, machine, &dir, tests, args.kvm)?;
        let of_machine: Vec<&Kernel> = kernels.iter().filter(|kernel| kernel.machine == machine).collect();
        for some in of_machine.chunks(at_once()) {
            let guests = some.iter().map(|kernel| Guest::prepare(kernel, &declared, &lab.base, &dir));
            let verdicts = together(guests.collect(), &lab.emulator, options);
            for (kernel, verdict) in some.iter().zip(verdicts) {
                report.add(&kernel.name, verdict);
            }
        }
        labs.insert(machine, lab);
    }
    println!("{report}");
    if tests.is_empty() {
        declared.left_out.iter().for_each(|(name, why)| println!("not in guests: {name}: {why}"));
    }
    ensure!(report.is_green(), "not every test passed on every kernel");
    if args.self_check || args.ci {
        let first = kernels.first().context("no kernel")?;
        let (kernel, lab) = (first.called("self-check"), &labs[&first.machine]);
        self_check::run(&lab.base, options, |base, options| {
            Guest::prepare(&kernel, &declared, base, &dir)?.boot(&lab.emulator, options)
        })?;
    }
    Ok(())
}

/// What guests of one kind of machine have in common.
struct Lab {
    base: initramfs::Base,
    emulator: Emulator,
}

impl Lab {
    fn prepare(
        workspace: &Workspace,
        declared: &Declared,
        machine: Machine,
        dir: &Path,
        filters: &[String],
        kvm: bool,
    ) -> Result<Self> {
        let is_own = machine == Machine::here();
        ensure!(
            is_own || !kvm,
            "--kvm: this machine's processor runs no guest for {}; leave it out",
            machine.of_images()
        );
        let (built, others) = if is_own {
            (workspace.release_directory(), None)
        } else {
            (foreign::programs(workspace, machine)?, Some(foreign::others(&declared.foreign, machine, dir)?))
        };
        let mut tests = test_binaries::binaries(workspace, machine, filters)?;
        if filters.is_empty() {
            test_binaries::leave_out(&mut tests, &declared.left_out)?;
        }
        let programs = initramfs::Programs { machine, built, tests, others };
        let base = initramfs::Base::build(workspace, dir, programs, filters)?;
        ensure!(!base.runs.is_empty(), "no test binary matches {}", filters.join(", "));
        // What another machine's guests do has no trouble with an older one.
        let emulator = if is_own && !kvm {
            Emulator::find(&declared.emulator, &dir.join("emulator"))?
        } else {
            Emulator::of_machine(machine)?
        };
        Ok(Self { base, emulator })
    }
}

/// Each guest has two processors.
fn at_once() -> usize {
    thread::available_parallelism().map_or(1, usize::from).div_ceil(2)
}

/// A kernel and the archive it starts with.
struct Guest<'a> {
    kernel: &'a Kernel,
    image: package::Image,
    home: PathBuf,
    archive: PathBuf,
}

impl<'a> Guest<'a> {
    /// One after the other: kernels may share a package.
    fn prepare(kernel: &'a Kernel, declared: &Declared, base: &initramfs::Base, dir: &Path) -> Result<Self> {
        let home = dir.join(&kernel.name);
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        let image = package::fetch(kernel, &dir.join(kernel.home()))?;
        let archive = home.join("initramfs");
        base.write(&image, kernel, &declared.skips_of(kernel), &archive)?;
        Ok(Self { kernel, image, home, archive })
    }

    /// Runs everything on it. An error: it could not even be booted.
    fn boot(&self, emulator: &Emulator, options: boot::Options) -> Result<Verdict> {
        let started = Instant::now();
        step::say("Booting", format!("{} ({})", self.kernel.name, self.image.release));
        let verdict = boot::boot(&self.image, &self.archive, &self.home, self.kernel, emulator, options)?;
        let seconds = started.elapsed().as_secs_f64();
        step::say("Finished", format!("{} in {seconds:.0} s", self.kernel.name));
        Ok(verdict)
    }
}

/// In the order of the guests.
fn together(guests: Vec<Result<Guest>>, emulator: &Emulator, options: boot::Options) -> Vec<Result<Verdict>> {
    thread::scope(|scope| {
        let running: Vec<_> =
            guests.into_iter().map(|guest| scope.spawn(move || guest?.boot(emulator, options))).collect();
        let end = |thread: thread::ScopedJoinHandle<'_, Result<Verdict>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("its thread panicked")))
        };
        running.into_iter().map(end).collect()
    })
}
