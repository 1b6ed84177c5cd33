//! `edna-courier`: see the library for what it does, [`edna_courier::cli`] for how it is called.

use std::process::ExitCode;

fn main() -> ExitCode {
    edna_courier::cli::main()
}
