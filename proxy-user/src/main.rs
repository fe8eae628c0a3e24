//! `sidestep`: parse, call the library, turn the error's class into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    proxy_user::cli::main(std::env::args_os())
}
