//! Timeouts for calls to the client library, none of which is trusted to return by itself.

use std::{
    future::{Future, pending},
    time::Duration,
};

use tokio::time::Instant;

use super::error::SessionError;

/// For any single operation on an open connection.
pub(super) const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs one operation on an open connection within [`OPERATION_TIMEOUT`].
///
/// # Errors
/// The library's error, or [`SessionError::Timeout`].
pub(super) async fn with_timeout<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, SessionError> {
    within(OPERATION_TIMEOUT, operation, call).await
}

/// As [`with_timeout`], with another timeout.
pub(super) async fn within<T>(
    timeout: Duration,
    operation: &'static str,
    call: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, SessionError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(SessionError::Timeout { operation, timeout }),
    }
}

/// Sleeps until `deadline`; pends forever if there is none.
pub(super) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}
