//! A kernel out of a Debian package, fetched through an apt root of its own: the machine's sources, lists and
//! packages stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::declared::Kernel;
use crate::step;

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Image {
    /// `uname -r`.
    pub(crate) release: String,
    pub(crate) vmlinuz: PathBuf,
    /// `lib/modules/<release>`, with the lists depmod makes.
    pub(crate) modules: PathBuf,
}

/// Downloads and unpacks, unless this version was before. When the archive cannot be reached, what is there serves.
pub(crate) fn fetch(kernel: &Kernel, home: &Path) -> Result<Image> {
    let unpacked = home.join("unpacked");
    let stamp = unpacked.join("package");
    let present = fs::read_to_string(&stamp).ok();
    match (newest(kernel, home), present) {
        (Ok(wanted), present) if present.as_deref() != Some(wanted.as_str()) => {
            unpack(&wanted, home, &unpacked)?;
            fs::write(&stamp, &wanted).with_context(|| format!("write {}", stamp.display()))?;
        }
        (Ok(_), _) => {}
        (Err(error), Some(present)) => {
            step::say("Warning", format!("{error:#}; taking {present}, fetched before"));
        }
        (Err(error), None) => return Err(error),
    }
    image(&unpacked)
}

/// `package=version` of the image the archive has now.
fn newest(kernel: &Kernel, home: &Path) -> Result<String> {
    let lists = home.join("apt");
    for part in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(lists.join(part)).with_context(|| format!("create {}", lists.display()))?;
    }
    let sources: String = kernel.archive.iter().map(|line| format!("deb [arch=amd64] {line}\n")).collect();
    fs::write(lists.join("sources.list"), sources).context("write sources.list")?;
    fs::write(lists.join("status"), "").context("write the list of installed packages")?;
    step::run(
        "Updating",
        format!("package lists of {}", kernel.archive.join(", ")),
        apt(home, "apt-get").arg("update").args(["-qq", "--error-on=any"]),
    )
    .with_context(|| format!("kernel {}: its suite cannot be reached", kernel.name))?;
    let mut package = kernel.package.clone();
    // A metapackage depends on the image; an image depends on no other image.
    for _ in 0..3 {
        let text = show(home, &package)?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let version = field("Version:").with_context(|| format!("{package} has no version"))?;
        let depends = field("Depends:").unwrap_or_default();
        let image = depends.split([',', '|']).map(str::trim).find(|word| word.starts_with("linux-image-"));
        match image.and_then(|word| word.split(' ').next()) {
            Some(next) => package = next.to_owned(),
            None => return Ok(format!("{package}={version}")),
        }
    }
    bail!("kernel {}: {} leads to no image package", kernel.name, kernel.package)
}

fn show(home: &Path, package: &str) -> Result<String> {
    let output = apt(home, "apt-cache")
        .args(["show", "--no-all-versions", package])
        .output()
        .context("run apt-cache")?;
    ensure!(output.status.success() && !output.stdout.is_empty(), "the archive has no package {package}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn apt(home: &Path, program: &str) -> Command {
    let root = home.join("apt");
    let mut command = step::command(program);
    for (option, file) in [
        ("Dir::Etc::SourceList", "sources.list"),
        ("Dir::Etc::SourceParts", "no-parts"),
        ("Dir::State", "."),
        ("Dir::State::Lists", "lists"),
        ("Dir::State::status", "status"),
        ("Dir::Cache", "."),
        ("Dir::Cache::Archives", "archives"),
    ] {
        command.arg("-o").arg(format!("{option}={}", root.join(file).display()));
    }
    command.args([
        "-o",
        "APT::Architecture=amd64",
        "-o",
        "APT::Architectures=amd64",
        "-o",
        "Acquire::Languages=none",
        "-o",
        "APT::Sandbox::User=root",
    ]);
    command
}

fn unpack(wanted: &str, home: &Path, into: &Path) -> Result<()> {
    let downloads = home.join("download");
    for dir in [&downloads, &into.to_owned()] {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
        }
    }
    fs::create_dir_all(&downloads).with_context(|| format!("create {}", downloads.display()))?;
    step::run(
        "Downloading",
        wanted,
        apt(home, "apt-get").args(["-q", "download", wanted]).current_dir(&downloads),
    )?;
    let deb = fs::read_dir(&downloads)?.next().context("apt-get downloaded nothing")??.path();
    step::run("Unpacking", wanted, step::command("dpkg-deb").arg("-x").arg(deb).arg(into))?;
    let image = image(into)?;
    step::run(
        "Indexing",
        format!("modules of {}", image.release),
        step::command("depmod").arg("-b").arg(into).arg(&image.release),
    )?;
    fs::remove_dir_all(&downloads).with_context(|| format!("remove {}", downloads.display()))
}

fn image(unpacked: &Path) -> Result<Image> {
    let boot = unpacked.join("boot");
    for entry in fs::read_dir(&boot).with_context(|| format!("list {}", boot.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(release) = name.strip_prefix("vmlinuz-") {
            // Newer suites ship /usr/lib, older ones /lib.
            let modules = ["lib/modules", "usr/lib/modules"].map(|dir| unpacked.join(dir).join(release));
            let modules = modules.into_iter().find(|dir| dir.is_dir());
            return Ok(Image {
                release: release.to_owned(),
                vmlinuz: boot.join(&name),
                modules: modules.with_context(|| format!("no modules of {release}"))?,
            });
        }
    }
    bail!("no vmlinuz in {}", boot.display())
}
