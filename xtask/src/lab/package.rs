//! A kernel out of a Debian package, fetched through an apt root of its own: the machine's sources, lists and
//! packages stay as they are.

use std::{
    fs,
    os::unix::fs::symlink,
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

/// `package=version` of what makes up the image the archive has now, separated by blanks.
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
        let depends = field(&text, "Depends:").unwrap_or_default();
        match named(depends, "linux-image-").next() {
            Some(next) => package = next.to_owned(),
            None => {
                let version =
                    field(&text, "Version:").with_context(|| format!("{package} has no version"))?;
                // From 7.x on the image is empty, and the kernel in packages of its own.
                let parts = ["linux-base-", "linux-binary-", "linux-modules-"];
                let parts = parts.into_iter().flat_map(|prefix| named(depends, prefix));
                let all: Vec<String> = std::iter::once(package.as_str())
                    .chain(parts)
                    .map(|package| format!("{package}={version}"))
                    .collect();
                return Ok(all.join(" "));
            }
        }
    }
    bail!("kernel {}: {} leads to no image package", kernel.name, kernel.package)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Packages of a `Depends:` line whose names begin so, and that carry a release.
fn named<'a>(depends: &'a str, prefix: &'static str) -> impl Iterator<Item = &'a str> {
    depends
        .split([',', '|'])
        .filter_map(|word| word.trim().split(' ').next())
        .filter(move |name| name.strip_prefix(prefix).is_some_and(|rest| rest.contains('.')))
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
        apt(home, "apt-get").args(["-q", "download"]).args(wanted.split(' ')).current_dir(&downloads),
    )?;
    for deb in fs::read_dir(&downloads).with_context(|| format!("list {}", downloads.display()))? {
        let deb = deb?.path();
        step::run(
            "Unpacking",
            deb.display().to_string(),
            step::command("dpkg-deb").arg("-x").arg(deb).arg(into),
        )?;
    }
    if !into.join("lib").exists() {
        // depmod looks there; newer packages have everything in /usr.
        symlink("usr/lib", into.join("lib")).context("link lib to usr/lib")?;
    }
    let image = image(into)?;
    step::run(
        "Indexing",
        format!("modules of {}", image.release),
        step::command("depmod").arg("-b").arg(into).arg(&image.release),
    )?;
    fs::remove_dir_all(&downloads).with_context(|| format!("remove {}", downloads.display()))
}

fn image(unpacked: &Path) -> Result<Image> {
    let all = unpacked.join("lib/modules");
    let release = fs::read_dir(&all)
        .with_context(|| format!("list {}", all.display()))?
        .next()
        .with_context(|| format!("{} is empty", all.display()))??
        .file_name()
        .to_string_lossy()
        .into_owned();
    let modules = all.join(&release);
    let places = [unpacked.join("boot").join(format!("vmlinuz-{release}")), modules.join("vmlinuz")];
    let vmlinuz = places.into_iter().find(|file| file.is_file());
    let vmlinuz = vmlinuz.with_context(|| format!("{} holds no vmlinuz of {release}", unpacked.display()))?;
    Ok(Image { release, vmlinuz, modules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_that_carry_a_release_are_found() {
        let meta = "linux-base-amd64 (= 7.2.13-1), linux-image-7.2.13+deb14-amd64 (= 7.2.13-1)";
        assert_eq!(named(meta, "linux-image-").collect::<Vec<_>>(), ["linux-image-7.2.13+deb14-amd64"]);
        assert_eq!(named(meta, "linux-base-").count(), 0);
        let image = "kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120) | linux-initramfs-tool, linux-binary-7.2.13 (= 1)";
        assert_eq!(named(image, "linux-base-").count(), 0);
        assert_eq!(named(image, "linux-binary-").collect::<Vec<_>>(), ["linux-binary-7.2.13"]);
    }
}
