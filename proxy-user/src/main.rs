//! `sidestep`: parse, call the library, turn the error's class into an exit code.

use std::process::ExitCode;

use proxy_user::{cli, exit::Class};

fn main() -> ExitCode {
    match cli::main(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sidestep: {error:#}");
            ExitCode::from(Class::of(&error).code())
        }
    }
}
