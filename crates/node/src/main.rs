//! The program `rillpay-node`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
