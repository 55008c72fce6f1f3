//! The `keyferry` program: see the library's documentation for how it works.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyferry::cli::main()
}
