//! The program `rillpay-server`.

mod cli;
mod standalone;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
