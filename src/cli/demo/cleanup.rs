//! Deletes the exchanges and queues that the demo has declared, and no others.

use std::{future::Future, time::Duration};

use lapin::{
    Channel, Connection,
    options::{ExchangeDeleteOptions, QueueDeleteOptions},
};

use super::settings::PREFIX;
use crate::{
    amqp::{short_string, topology::TopologyNames},
    cli::broker_client::BrokerClient,
    domain::tier::Tiers,
};

/// For one deletion.
const DELETE_TIMEOUT: Duration = Duration::from_secs(5);
/// For all deletions with their retries; long enough for a broker to restart.
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Deletes all queues and exchanges with the prefix of a demo, with their messages. Missing ones are no error.
///
/// Opens new connections, because the broker may have blocked or closed the one that the demo published on.
pub(super) async fn remove(client: &BrokerClient, prefix: &str) -> Result<(), String> {
    let (names, mut problem) = (names(prefix)?, None);
    let removed = tokio::time::timeout(TIMEOUT, delete_with_retries(client, &names, &mut problem)).await;
    if removed == Ok(true) {
        return Ok(());
    }
    let problem = problem.unwrap_or_else(|| "the broker does not answer".to_owned());
    Err(format!(
        "cannot delete the demo's queues and exchanges: {problem}; delete the remaining ones, {prefix}.*, by hand"
    ))
}

fn names(prefix: &str) -> Result<Vec<String>, String> {
    if !prefix.starts_with(PREFIX) {
        return Err(format!("nothing is deleted: the prefix {prefix} does not start with {PREFIX}"));
    }
    Ok(TopologyNames::new(prefix).all(&Tiers::default()))
}

/// Returns `true` when everything is deleted, `false` when the broker refuses a deletion. Keeps the first problem.
async fn delete_with_retries(client: &BrokerClient, names: &[String], problem: &mut Option<String>) -> bool {
    loop {
        let (found, is_final) = match client.connect().await {
            Err(found) => (found, false),
            Ok(connection) => match delete_all(&connection, names).await {
                Ok(()) => return true,
                Err(found) => (found, connection.status().connected()),
            },
        };
        problem.get_or_insert(found);
        if is_final {
            return false;
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Continues after errors and returns the first.
async fn delete_all(connection: &Connection, names: &[String]) -> Result<(), String> {
    let mut result = Ok(());
    for name in names {
        let queue = on_new_channel(connection, async |channel| {
            channel.queue_delete(short_string(name), QueueDeleteOptions::default()).await.map(|_| ())
        });
        result = result.and(queue.await);
        let exchange = on_new_channel(connection, async |channel| {
            channel.exchange_delete(short_string(name), ExchangeDeleteOptions::default()).await
        });
        result = result.and(exchange.await);
    }
    result
}

/// A refused deletion closes its channel, so each has its own.
async fn on_new_channel<F>(connection: &Connection, call: impl FnOnce(Channel) -> F) -> Result<(), String>
where
    F: Future<Output = Result<(), lapin::Error>>,
{
    let deleted = async { call(connection.create_channel().await?).await };
    match tokio::time::timeout(DELETE_TIMEOUT, deleted).await {
        Ok(deleted) => deleted.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the broker did not answer within {} s", DELETE_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_demo_prefix_are_refused() {
        for prefix in ["prod", "edna", "edna-demo", "my-edna-demo-1", "EDNA-DEMO-1", ""] {
            assert!(names(prefix).is_err(), "{prefix}");
        }
        assert_eq!(names("edna-demo-1").unwrap().len(), 9);
    }
}
