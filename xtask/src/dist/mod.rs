//! `cargo xtask dist`: what is given to others, in `target/dist`: an archive of programs and pages, the container image,
//! what is in them, and their sums. The same commit makes the same bytes.

mod check;
pub(crate) mod image;
mod oci;
mod pages;
mod programs;
mod sbom;
mod source;
mod tree;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;

use self::{source::Source, tree::Tree};
use crate::{build, machine::Machine, setup, step, workspace::Workspace};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const SUMS: &str = "SHA256SUMS";

#[derive(clap::Args)]
#[command(after_help = "Example:\n  cargo xtask dist\n  \
    skopeo copy oci-archive:target/dist/sidestep-0.1.0-linux-amd64.oci.tar docker://registry.example.com/mesh/sidestep:0.1.0")]
pub(crate) struct Args {
    /// What the programs are for, `amd64,arm64` for both [default: this machine]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ARCH")]
    arch: Vec<Machine>,
    /// Build the commit once more, in another directory, and compare
    #[arg(long)]
    check: bool,
}

/// Files by their names.
type Files = BTreeMap<String, Vec<u8>>;

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::bpf_toolchain(workspace)?;
    let source = Source::of(workspace)?;
    ensure!(
        !(args.check && source.is_changed),
        "--check builds the commit once more, and files of this clone are not as in it: commit them first"
    );
    let machines = if args.arch.is_empty() { vec![Machine::here()] } else { args.arch.clone() };
    let is_foreign = machines.iter().any(|machine| *machine != Machine::here());
    if is_foreign {
        // It writes the pages of those that cannot run here.
        build::run(workspace)?;
    }
    let built =
        Built { source, machines, speaker: is_foreign.then(|| workspace.release(image::BINARIES[0])) };
    let directory = workspace.target_for("dist");
    // Apart from cargo's other artifacts: its directory of this profile would be this one.
    let files = made(&workspace.with_target(directory.join("build")), &built)?;
    if args.check {
        check::again(workspace, &directory.join("check"), &built, &files)?;
    }
    for (name, content) in &files {
        let path = directory.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        println!("{} ({:.1} MB)", path.display(), content.len() as f64 / 1e6);
    }
    Ok(())
}

/// What is built.
struct Built {
    source: Source,
    machines: Vec<Machine>,
    /// The release build of this machine, where programs are for another one.
    speaker: Option<PathBuf>,
}

/// Builds everything.
fn made(workspace: &Workspace, built: &Built) -> Result<Files> {
    let mut files = Files::new();
    for machine in &built.machines {
        of_machine(workspace, *machine, built, &mut files)?;
    }
    let sums: String =
        files.iter().map(|(name, content)| format!("{}  {name}\n", tree::sum(content))).collect();
    files.insert(SUMS.to_owned(), sums.into_bytes());
    Ok(files)
}

fn of_machine(workspace: &Workspace, machine: Machine, built: &Built, files: &mut Files) -> Result<()> {
    let source = &built.source;
    let programs = programs::build(workspace, machine, source)?;
    let top = format!("sidestep-{VERSION}-linux-{}", machine.of_images());
    let bom = sbom::document(workspace, machine, source)?;
    step::say("Packing", &top);
    files.insert(format!("{top}.cdx.json"), bom.into_bytes());
    let own = programs.join(image::BINARIES[0]);
    let speaker = built.speaker.as_deref().filter(|_| machine != Machine::here()).unwrap_or(&own);
    files.insert(format!("{top}.tar.gz"), archive(workspace, &top, &programs, speaker, source)?);
    let image = image::pack(&programs, image::NAME, source, Compression::best())?;
    files.insert(format!("{top}.oci.tar"), image);
    Ok(())
}

fn archive(
    workspace: &Workspace,
    top: &str,
    programs: &Path,
    speaker: &Path,
    source: &Source,
) -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    for binary in image::BINARIES {
        tree.program(&format!("{top}/{binary}"), &programs.join(binary))?;
    }
    tree.document(&format!("{top}/Containerfile"), &containerfile(workspace))?;
    pages::add(&mut tree, top, speaker, workspace)?;
    tree::gzip(&tree.tar(source.time)?, Compression::best())
}

fn containerfile(workspace: &Workspace) -> PathBuf {
    workspace.root.join("deploy/Containerfile")
}
