//! `cargo xtask <verb>`: everything the repository needs done, from a clean clone. One verb per file.

mod apt;
mod bench;
mod bench_mesh;
mod bpf_compiler;
mod bpf_linker;
mod bpf_toolchain;
mod build;
mod cluster;
mod demo;
mod dist;
mod earlier;
mod elf;
mod envoy;
mod helm;
mod lab;
mod lint;
mod machine;
mod room;
mod services;
mod setup;
mod step;
mod tally;
mod test;
mod test_tools;
mod vagrant;
mod version;
mod wheel;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Build, test and demo sidestep; each verb sets up what it needs")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what is missing: BPF compiler, bpf-linker, test tools, Envoy, Helm
    Setup,
    /// Build the release binaries, with the BPF object embedded
    Build,
    /// Pack the container image of sidestep, of the release build or of other binaries
    Image(dist::image::Args),
    /// Build what is given to others: an archive of static programs and pages, the image, their sums; takes long
    Dist(dist::Args),
    /// Check formatting, and run clippy for the host and for the BPF target
    Lint,
    /// Build, then run every test (root: the lab makes network namespaces and cgroups)
    Test(test::Args),
    /// Build, then run the lab's tests on the kernels of tests/kernels.toml, under qemu
    Lab(lab::Args),
    /// Build, then run the lo/eth0 experiment against real Envoy and real iptables
    Demo(demo::Args),
    /// A Kubernetes with Istio on this machine, to try sidestep in (root, Go)
    Cluster(cluster::Args),
    /// Build, then measure sidestep against iptables, with Envoy, nginx and wrk, or on a cluster (root)
    Bench(bench::Args),
    /// Build, then let a thousand pods come and go, of a runtime alone and on a cluster (root; Go; an hour)
    Soak(cluster::Soak),
    /// Validate the Vagrantfile, and try its bootstrap in a fresh Debian
    Vagrant(vagrant::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = Workspace::locate().and_then(|workspace| match cli.verb {
        Verb::Setup => setup::run(&workspace),
        Verb::Build => build::run(&workspace),
        Verb::Image(args) => dist::image::run(&workspace, &args),
        Verb::Dist(args) => dist::run(&workspace, &args),
        Verb::Lint => lint::run(&workspace),
        Verb::Test(args) => test::run(&workspace, &args),
        Verb::Lab(args) => lab::run(&workspace, &args),
        Verb::Demo(args) => demo::run(&workspace, &args),
        Verb::Cluster(args) => cluster::run(&workspace, &args),
        Verb::Bench(args) => bench::run(&workspace, &args),
        Verb::Soak(args) => cluster::soak(&workspace, &args),
        Verb::Vagrant(args) => vagrant::run(&workspace, &args),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            // EX_UNAVAILABLE: what needs Go is skipped where it is not.
            let skip = error.is::<cluster::Unavailable>();
            if skip { ExitCode::from(69) } else { ExitCode::FAILURE }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn contributing_shows_the_verbs_there_are() {
        let command = super::Cli::command();
        let verbs: BTreeSet<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        let block = include_str!("../../CONTRIBUTING.md").split("## Verbs").nth(1).unwrap();
        let block = block.split("```").nth(1).unwrap();
        let lines = block.lines().filter_map(|line| line.strip_prefix("cargo xtask "));
        let shown: BTreeSet<&str> = lines.filter_map(|rest| rest.split_whitespace().next()).collect();
        assert_eq!(shown, verbs);
    }
}
