//! The one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    clyra::cli::main()
}
