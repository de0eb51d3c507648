//! `clyra`, under another name.

use std::process::ExitCode;

fn main() -> ExitCode {
    clyra::cli::main()
}
