//! The cluster's programs and images, built once for what they are built of.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{debian, go::Go, images, record::fnv};
use crate::{envoy, step, workspace::Workspace};

pub(crate) const MODULE: &str = "tests/cluster";
/// Apart: it alone has C in it, which makes its namespaces before Go's threads are there.
const RUNC: &str = "tests/cluster/runc";
const RUNCS_TAGS: &str = "-tags=seccomp";
/// Names below target/cluster that no cluster can have.
pub(crate) const RESERVED: [&str; 1] = ["bin"];
/// What Kubernetes calls itself; Istio makes native sidecars from 1.33 on.
pub(crate) const KUBERNETES: &str = "v1.37.2";

/// Compile time is what this costs, so: no inlining (a third less), no debug information; std and the load client of the
/// benchmarks as usual.
pub(crate) const CHEAP: [&str; 2] = ["-gcflags=all=-dwarf=false -l", "-gcflags=std=-dwarf=false"];
pub(crate) const FLAGS: [&str; 3] = ["-trimpath", "-buildvcs=false", "-pgo=off"];
const TAGS: &str = "-tags=grpcnotrace";
/// Raised when an image is made in another way.
const RECIPE: u32 = 1;
const BETWEEN_LINES: Duration = Duration::from_secs(20);

/// Builds what is missing or out of date; the directory everything is in.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let go = Go::find()?;
    let root = workspace.target_for("cluster");
    let bin = root.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    let lock = root.join(".bin.lock");
    let lock = fs::File::create(&lock).with_context(|| format!("create {}", lock.display()))?;
    lock.lock().context("wait for another build")?;
    debian::install(workspace)?;
    envoy::ensure(workspace).context("the mesh needs Envoy")?;
    debian::unpack(&bin)?;

    let source = source(workspace, &go)?;
    once(&bin.join("binaries.stamp"), &source, || compile(workspace, &go, &bin))?;
    let size = |path: &Path| fs::metadata(path).map(|meta| meta.len()).unwrap_or_default();
    let iptables = step::find("xtables-nft-multi").unwrap_or_default();
    let images = format!("{source} {RECIPE} {} {}", size(&envoy::binary(workspace)), size(&iptables));
    once(&bin.join("images.stamp"), &images, || images::make(workspace, &go, &bin))?;
    Ok(bin)
}

/// Does `work` unless the stamp says that it was done for `what`.
pub(crate) fn once(stamp: &Path, what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    if fs::read_to_string(stamp).is_ok_and(|text| text == what) {
        return Ok(());
    }
    let _ = fs::remove_file(stamp);
    work()?;
    fs::write(stamp, what).with_context(|| format!("write {}", stamp.display()))
}

/// A number for everything the programs are made of: the module pins the rest by its sums.
fn source(workspace: &Workspace, go: &Go) -> Result<String> {
    let module = workspace.root.join(MODULE);
    let mut files = Vec::new();
    for module in [&module, &workspace.root.join(RUNC)] {
        files.extend([module.join("go.mod"), module.join("go.sum")]);
    }
    for program in fs::read_dir(module.join("cmd")).context("list tests/cluster/cmd")?.flatten() {
        files.extend(fs::read_dir(program.path())?.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut text =
        format!("{} {KUBERNETES} {CHEAP:?} {FLAGS:?} {TAGS} {RUNCS_TAGS}", go.version).into_bytes();
    for file in files {
        text.extend(file.as_os_str().as_encoded_bytes());
        text.extend(fs::read(&file).with_context(|| format!("read {}", file.display()))?);
    }
    Ok(format!("{:016x}", fnv(&text)))
}

fn compile(workspace: &Workspace, go: &Go, bin: &Path) -> Result<()> {
    let begun = Instant::now();
    let module = workspace.root.join(MODULE);
    // An interrupted compiler leaves its work there, and the next one removes it.
    let scratch = bin.join("tmp");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    }
    fs::create_dir_all(&scratch).with_context(|| format!("create {}", scratch.display()))?;
    let version = format!(
        "-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES} \
         -X k8s.io/client-go/pkg/version.gitVersion={KUBERNETES}"
    );
    let mut build = go.command("build");
    build
        .arg("-v")
        .args(FLAGS)
        .arg(TAGS)
        .args(CHEAP)
        .arg("-ldflags")
        .arg(version)
        .arg("-o")
        .arg(bin.join(""))
        .args(["./cmd/...", "tool"]);
    step::say("Compiling", "Kubernetes, etcd, containerd, runc, CoreDNS and Istio (once; some minutes)");
    follow(build.current_dir(&module).env("GOTMPDIR", &scratch), begun)?;
    // Measured in benchmarks, so compiled as anyone would.
    let mut app = go.command("build");
    app.arg("-v")
        .args(["-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"])
        .arg(bin.join("app"))
        .arg("./cmd/app");
    follow(app.current_dir(&module).env("GOTMPDIR", &scratch), begun)?;
    let mut runc = go.command("build");
    runc.env("CGO_ENABLED", "1").arg("-v").args(FLAGS).args(CHEAP);
    runc.args([RUNCS_TAGS, "-ldflags=-s -w", "-o"]).arg(bin.join("")).arg("tool");
    follow(runc.current_dir(workspace.root.join(RUNC)).env("GOTMPDIR", &scratch), begun)?;
    let kubectl = bin.join("kubectl");
    if !kubectl.exists() {
        symlink("cluster", &kubectl).with_context(|| format!("link {}", kubectl.display()))?;
    }
    step::say("Compiled", format!("the cluster's programs in {} s", begun.elapsed().as_secs()));
    Ok(())
}

/// Go names each package it compiles; one line now and then is enough.
fn follow(build: &mut Command, begun: Instant) -> Result<()> {
    let mut child =
        build.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("run go")?;
    let output = child.stderr.take().context("output of go")?;
    let (mut modules, mut packages, mut said, mut other) = (0, 0, Instant::now(), Vec::new());
    for line in BufReader::new(output).lines() {
        let line = line.context("read the output of go")?;
        if line.starts_with("go: downloading ") {
            modules += 1;
        } else if line.contains(' ') {
            other.push(line);
        } else {
            packages += 1;
        }
        if said.elapsed() > BETWEEN_LINES {
            let seconds = begun.elapsed().as_secs();
            step::say("", format!("{modules} modules fetched, {packages} packages compiled, {seconds} s"));
            said = Instant::now();
        }
    }
    let status = child.wait().context("wait for go")?;
    ensure!(status.success(), "go build failed ({status}):\n{}", other.join("\n"));
    Ok(())
}
