//! The binary `edna-courier`; [`edna_courier::cli`] defines its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    edna_courier::cli::main()
}
