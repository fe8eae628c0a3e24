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
        envoy: of_envoy(&ask(&envoy::binary(workspace), &["--version"])?).to_owned(),
        sidestep: ask(sidestep.unwrap_or(&release), &["--version"])?,
    })
}

/// `…/envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`
fn of_envoy(said: &str) -> &str {
    said.split("version: ").nth(1).and_then(|rest| rest.split('/').nth(1)).unwrap_or(said)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_number_of_envoy() {
        let said = "/w/envoy  version: 5ba19d5d/1.40.0/Clean/RELEASE/BoringSSL";
        assert_eq!(super::of_envoy(said), "1.40.0");
    }
}
