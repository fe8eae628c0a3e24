//! `sidestep-cni`: the process around [`plugin::run`].

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

use proxy_cni::{agent, plugin};

fn main() -> ExitCode {
    let outcome = plugin::run(&|name| env::var_os(name), &mut io::stdin().lock(), &agent::ask);
    // Who reads neither has nothing to tell it.
    let _ = io::stderr().write_all(outcome.stderr.as_bytes());
    let written = io::stdout().write_all(outcome.stdout.as_bytes()).and_then(|()| io::stdout().flush());
    if outcome.failed || written.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
