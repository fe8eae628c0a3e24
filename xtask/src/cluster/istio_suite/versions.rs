//! What a result is a result of.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{build::Built, report::Versions};
use crate::{cluster::binaries, envoy, step, workspace::Workspace};

pub(super) fn read(workspace: &Workspace, built: &Built, sidestep: Option<&Path>) -> Result<Versions> {
    let ask = |program: &Path, words: &[&str]| {
        step::ask(program, words).with_context(|| format!("run {} {}", program.display(), words.join(" ")))
    };
    let module = built.module.to_string_lossy();
    let release = workspace.release("sidestep");
    Ok(Versions {
        date: ask(Path::new("date"), &["-u", "+%-d %B %Y"])?,
        kernel: ask(Path::new("uname"), &["-r"])?,
        kubernetes: binaries::KUBERNETES.to_owned(),
        istio: module.rsplit_once('@').map_or(&*module, |(_, version)| version).to_owned(),
        envoy: ask(&envoy::binary(workspace), &["--version"])?,
        sidestep: ask(sidestep.unwrap_or(&release), &["--version"])?,
    })
}
