//! `cargo xtask setup`: everything that is missing, in one apt transaction.

use anyhow::{Context as _, Result};

use crate::{
    apt,
    bpf_compiler::BpfCompiler,
    bpf_linker, envoy, helm, step,
    test_tools::{self, For},
    workspace::Workspace,
};

/// The BPF toolchain, the tests' tools, Envoy and Helm.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    with_tools(workspace, For::Tests)
}

/// The BPF toolchain, these tools, Envoy, and for the tests Helm.
pub(crate) fn with_tools(workspace: &Workspace, whose: For) -> Result<()> {
    let mut packages = test_tools::absent_packages(whose);
    packages.extend(envoy::absent_packages(workspace));
    let of_tests = matches!(whose, For::Tests);
    if of_tests {
        packages.extend(helm::absent_packages(workspace));
    }
    install(workspace, packages)?;
    match envoy::ensure(workspace) {
        Ok(()) => step::say("Ready", envoy::binary(workspace).display().to_string()),
        Err(error) => step::say("Warning", format!("no Envoy: {error:#}; `sidestep relay` takes its place")),
    }
    if of_tests {
        match helm::ensure(workspace) {
            Ok(binary) => step::say("Ready", binary.display().to_string()),
            Err(error) => step::say("Warning", format!("no Helm: {error:#}; the chart's tests are skipped")),
        }
    }
    Ok(())
}

/// What compiling the BPF programs needs, and nothing else.
pub(crate) fn bpf_toolchain(workspace: &Workspace) -> Result<BpfCompiler> {
    install(workspace, Vec::new())
}

fn install(workspace: &Workspace, mut packages: Vec<&'static str>) -> Result<BpfCompiler> {
    packages.extend(BpfCompiler::absent_packages());
    packages.extend(bpf_linker::absent_packages(workspace));
    let installed = apt::install(&packages);
    if BpfCompiler::find().is_none() {
        // Whoever cannot have Debian's packages reads here what else does.
        installed.context(BpfCompiler::advice())?;
    } else {
        installed?;
    }
    let compiler = BpfCompiler::require()?;
    let linker = bpf_linker::ensure(workspace)?;
    step::say("Ready", format!("{}, {linker}", compiler.describe()));
    Ok(compiler)
}
