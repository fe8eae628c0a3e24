//! `sidestep completions` and `sidestep man`: made from the definition of the command line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use proxy_core::exit::{Class, Failure};

use crate::out;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep completions bash > /etc/bash_completion.d/sidestep\n  \
    sidestep completions zsh > /usr/local/share/zsh/site-functions/_sidestep")]
pub(crate) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep man attach | man -l -\n  \
    sidestep man --directory /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Verb to print the page of [default: the program itself]
    verb: Option<String>,

    /// Write all pages into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "verb")]
    directory: Option<PathBuf>,
}

pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "sidestep", &mut script);
    out::text(String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man(args: &ManArgs, mut command: Command) -> Result<ExitCode> {
    // Names of verbs become `sidestep-attach`.
    command.build();
    if let Some(directory) = &args.directory {
        write_all(directory, &command)?;
        return Ok(ExitCode::SUCCESS);
    }
    let page = match &args.verb {
        None => page(&command)?,
        Some(verb) => match command.find_subcommand(verb).filter(|verb| !verb.is_hide_set()) {
            Some(found) => page(found)?,
            None => {
                let message = format!("man {verb}: there is no such verb; `sidestep help` lists them");
                return Err(Failure::error(Class::Usage, message));
            }
        },
    };
    out::text(page)?;
    Ok(ExitCode::SUCCESS)
}

fn write_all(directory: &Path, command: &Command) -> Result<()> {
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    for command in std::iter::once(command).chain(verbs) {
        let path = directory.join(format!("{}.1", page_name(command)));
        fs::write(&path, page(command)?)
            .with_context(|| format!("write {}; name a directory that exists", path.display()))?;
        out::line(path.display())?;
    }
    Ok(())
}

fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

pub(super) fn page(command: &Command) -> Result<String> {
    let mut text = Vec::new();
    Man::new(command.clone()).render(&mut text).context("write the page")?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
