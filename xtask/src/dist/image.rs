//! `cargo xtask image`: sidestep's container image, of programs that are there. No container engine is asked for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;

use super::{
    oci::{self, PROGRAMS},
    source::Source,
    tree::Tree,
};
use crate::{build, elf, lab::closure, step, workspace::Workspace};

/// What is in it, the program that is started first.
pub(crate) const BINARIES: [&str; 2] = ["sidestep", "sidestep-cni"];
/// A registry's name that no registry has: nobody pulls it from elsewhere.
pub(crate) const NAME: &str = concat!("localhost/sidestep:", env!("CARGO_PKG_VERSION"));

#[derive(clap::Args)]
#[command(after_help = "Example:\n  cargo xtask image --name registry.example.com/mesh/sidestep:0.1.0\n  \
    ctr -n k8s.io images import target/image/sidestep.oci.tar")]
pub(crate) struct Args {
    /// Where `sidestep` and `sidestep-cni` are [default: the release build, without its symbols]
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// What the image is called, with registry and tag
    #[arg(long, value_name = "NAME", default_value = NAME)]
    name: String,
    /// Where the archive goes [default: target/image/sidestep.oci.tar]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let from = match &args.from {
        Some(from) => from.clone(),
        None => {
            build::run(workspace)?;
            stripped(workspace)?
        }
    };
    let output = args.output.clone().unwrap_or_else(|| archive(workspace));
    write(workspace, &from, &args.name, &output)?;
    println!("{}", output.display());
    Ok(())
}

/// Where the tests look for it.
pub(crate) fn archive(workspace: &Workspace) -> PathBuf {
    workspace.target_for("image").join("sidestep.oci.tar")
}

/// The image of the release build, which is there.
pub(crate) fn prepare(workspace: &Workspace) -> Result<()> {
    let from = stripped(workspace)?;
    write(workspace, &from, NAME, &archive(workspace))
}

/// Copies of the release build without symbols, which are four fifths of it.
fn stripped(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target_for("image");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    for name in BINARIES {
        let from = workspace.release(name);
        let mut strip = step::command("strip");
        strip.arg("-o").arg(directory.join(name)).arg(&from);
        step::run("Stripping", from.display().to_string(), &mut strip)
            .context("strip is in binutils, as the linker is")?;
    }
    Ok(directory)
}

/// Writes the image of the programs in a directory.
pub(crate) fn write(workspace: &Workspace, from: &Path, name: &str, output: &Path) -> Result<()> {
    let source = Source::of(workspace)?;
    step::say("Packing", format!("{name} of {}", from.display()));
    let content = pack(from, name, &source, Compression::fast())?;
    if let Some(directory) = output.parent() {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    // Whoever reads the one that is there reads it to its end.
    let partial = output.with_extension("partial");
    fs::write(&partial, content).with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, output).with_context(|| format!("write {}", output.display()))
}

/// The archive of an image of these programs and of the libraries that they are linked with.
pub(crate) fn pack(from: &Path, name: &str, source: &Source, compression: Compression) -> Result<Vec<u8>> {
    let mut layer = Tree::default();
    let mut architectures = Vec::new();
    for binary in BINARIES {
        let path = from.join(binary);
        let head = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let look = || format!("look into {}", path.display());
        architectures.push(elf::architecture(&head).with_context(look)?);
        if elf::has_interpreter(&head).with_context(look)? {
            for library in closure::libraries(&path)? {
                layer.program(&library.display().to_string()[1..], &library)?;
            }
        }
        layer.program(&format!("{PROGRAMS}/{binary}"), &path)?;
    }
    let architecture = architectures[0];
    ensure!(
        architectures.iter().all(|other| *other == architecture),
        "{}: {} are for {}; an image is for one architecture",
        from.display(),
        BINARIES.join(" and "),
        architectures.join(" and ")
    );
    oci::layout(&oci::Image { name, architecture, source, compression }, &layer)
}
