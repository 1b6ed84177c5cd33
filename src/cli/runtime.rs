//! The Tokio runtime of subcommands other than `run`.

use tokio::runtime::Builder;

use super::exit::{Exit, failed};

/// Runs `work` on a new multi-threaded runtime.
///
/// Does not wait for a name lookup that still blocks a thread.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Exit>>) -> Result<T, Exit> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(format!("cannot start threads: {error}; raise the limit of processes")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
