//! A kernel out of a Debian package.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    archive::{self, Archive},
    declared::Kernel,
};
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

/// The newest the archive has.
pub(crate) fn fetch(kernel: &Kernel, home: &Path) -> Result<Image> {
    let unpacked = Archive::new(home, &kernel.archive, kernel.machine)
        .fetch(|archive| parts(kernel, archive), index)
        .with_context(|| format!("kernel {}", kernel.name))?;
    image(&unpacked)
}

/// `package=version` of what makes up the image the archive has now.
fn parts(kernel: &Kernel, archive: &Archive) -> Result<Vec<String>> {
    let mut package = kernel.package.clone();
    // A metapackage depends on the image; an image depends on no other image.
    for _ in 0..3 {
        let text = archive.show(&package)?;
        let depends = archive::field(&text, "Depends:").unwrap_or_default();
        match named(depends, "linux-image-").next() {
            Some(next) => package = next.to_owned(),
            None => {
                let version =
                    archive::field(&text, "Version:").with_context(|| format!("{package} has no version"))?;
                // From 7.x on the image is empty, and the kernel in packages of its own.
                let parts = ["linux-base-", "linux-binary-", "linux-modules-"];
                let parts = parts.into_iter().flat_map(|prefix| named(depends, prefix));
                let all = std::iter::once(package.as_str()).chain(parts);
                return Ok(all.map(|package| format!("{package}={version}")).collect());
            }
        }
    }
    bail!("{} leads to no image package", kernel.package)
}

/// Packages of a `Depends:` line whose names begin so, and that carry a release.
fn named<'a>(depends: &'a str, prefix: &'static str) -> impl Iterator<Item = &'a str> {
    depends
        .split([',', '|'])
        .filter_map(|word| word.trim().split(' ').next())
        .filter(move |name| name.strip_prefix(prefix).is_some_and(|rest| rest.contains('.')))
}

/// What installing the package would do.
fn index(unpacked: &Path) -> Result<()> {
    if !unpacked.join("lib").exists() {
        // depmod looks there; newer packages have everything in /usr.
        symlink("usr/lib", unpacked.join("lib")).context("link lib to usr/lib")?;
    }
    let image = image(unpacked)?;
    step::run(
        "Indexing",
        format!("modules of {}", image.release),
        step::command("depmod").arg("-b").arg(unpacked).arg(&image.release),
    )
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
