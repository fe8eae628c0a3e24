//! `cargo xtask vagrant`: that the Vagrantfile is one, and that its bootstrap installs what it has to on a fresh system.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{apt, step, workspace::Workspace};

const DIRECTORY: &str = "deploy/vagrant";
const MIRROR: &str = "http://deb.debian.org";
const AUTHORITIES: &str = "/usr/local/share/ca-certificates";

/// Packages that bring a service were installed for their programs.
const NOTHING_AT_BOOT: &str = "! ls \"$1/etc/systemd/system/multi-user.target.wants\" \"$1/etc/rc3.d\" 2>&1 \
    | grep -E '^(S..)?(nginx|haproxy|redis-server|prometheus|postgresql|apache2)'";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also run the bootstrap's install step in a fresh Debian of this suite (bullseye, bookworm, trixie); repeatable,
    /// root, some minutes each
    #[arg(long, value_name = "SUITE")]
    install: Vec<String>,
}

/// # Errors
/// What vagrant or the bootstrap says is wrong.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if step::find("vagrant").is_none() {
        apt::install(&["vagrant"])?;
    }
    validate(workspace)?;
    if !args.install.is_empty() {
        ensure!(
            apt::is_root(),
            "--install makes a Debian in a directory and changes into it: run it as root"
        );
        if step::find("mmdebstrap").is_none() {
            apt::install(&["mmdebstrap"])?;
        }
    }
    for suite in &args.install {
        install(workspace, suite)?;
    }
    Ok(())
}

fn validate(workspace: &Workspace) -> Result<()> {
    // Vagrant keeps state where it is called and at home: both are somebody else's.
    let state = workspace.target_for("vagrant");
    fs::create_dir_all(&state).with_context(|| format!("create {}", state.display()))?;
    let mut validate = step::command("vagrant");
    validate
        .args(["validate", "--ignore-provider"])
        .current_dir(workspace.root.join(DIRECTORY))
        .env("VAGRANT_HOME", state.join("home"))
        .env("VAGRANT_DOTFILE_PATH", state.join("dotfile"))
        .env("VAGRANT_CHECKPOINT_DISABLE", "1");
    step::run("Validating", format!("{DIRECTORY}/Vagrantfile"), &mut validate)
}

/// What a provisioner does in a virtual machine, in a directory: the same packages, the same compilers, another kernel.
fn install(workspace: &Workspace, suite: &str) -> Result<()> {
    ensure!(
        suite.chars().all(|letter| letter.is_ascii_lowercase()),
        "--install {suite}: no Debian suite; give bullseye, bookworm or trixie"
    );
    let source = archive(workspace)?;
    // Not the clone's toolchain, which is of this system.
    let bootstrap = format!(
        "--customize-hook=chroot \"$1\" env -u CARGO -u CARGO_HOME -u RUSTUP_TOOLCHAIN HOME=/root \
         /sidestep/{DIRECTORY}/bootstrap.sh install"
    );
    let mut mmdebstrap = step::command("mmdebstrap");
    mmdebstrap
        // Nothing is kept: the directory goes when the last hook has run.
        .args(["--mode=root", "--variant=apt", "--format=null", "--quiet"])
        .arg("--customize-hook=mkdir \"$1/sidestep\"")
        .arg(format!("--customize-hook=tar-in {} /sidestep", source.display()))
        // The network is this machine's: who is trusted here is trusted there.
        .arg(format!(
            "--customize-hook=mkdir -p {AUTHORITIES} \"$1{AUTHORITIES}\" && cp -r {AUTHORITIES}/. \"$1{AUTHORITIES}/\""
        ))
        // A second time there is nothing to do: a provisioner may be run again.
        .args([&bootstrap, &bootstrap])
        .arg(format!("--customize-hook={NOTHING_AT_BOOT}"))
        .args([suite, "-"])
        .arg(format!("deb {MIRROR}/debian {suite} main"))
        .arg(format!("deb {MIRROR}/debian-security {suite}-security main"));
    let outcome = step::run("Installing", format!("in a fresh Debian {suite}"), &mut mmdebstrap);
    let _ = fs::remove_file(source);
    outcome
}

/// The clone as it is, without what git ignores.
fn archive(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target_for("vagrant");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let archive = directory.join("source.tar");
    // mmdebstrap's hooks are lines for a shell.
    ensure!(is_plain(&archive), "{}: clone to a path without spaces and quotes", archive.display());
    let mut list = step::command("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&workspace.root)
        .stdout(Stdio::piped())
        .spawn()
        .context("run git ls-files")?;
    let files = list.stdout.take().context("stdout of git ls-files")?;
    let packed = Command::new("tar")
        .args(["--null", "--files-from=-", "--create", "--file"])
        .arg(&archive)
        .current_dir(&workspace.root)
        .stdin(files)
        .status()
        .context("run tar")?;
    if !list.wait().context("wait for git")?.success() || !packed.success() {
        bail!("could not pack {}: it has to be a git clone", workspace.root.display());
    }
    Ok(archive)
}

fn is_plain(path: &Path) -> bool {
    path.to_str().is_some_and(|text| {
        text.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter))
    })
}
