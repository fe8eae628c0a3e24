//! `sidestep`: parse, call the library, turn the error's class into an exit code.

use std::process::ExitCode;

use proxy_core::exit::Class;
use proxy_user::cli;

fn main() -> ExitCode {
    match cli::main(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sidestep: {error:#}");
            ExitCode::from(Class::of(&error).code())
        }
    }
}
