//! Removes what the demo has declared, as far as that is possible at all, and nothing else.

use std::{future::Future, time::Duration};

use lapin::{
    Channel, Connection,
    options::{ExchangeDeleteOptions, QueueDeleteOptions},
};

use super::{settings::PREFIX, traffic::short};
use crate::{amqp::topology::Names, cli::link::Link, domain::tier::Tiers};

/// For one name.
const STEP: Duration = Duration::from_secs(5);
/// For everything: long enough for a broker that starts again.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Deletes all queues and exchanges of a demo's prefix, messages included; what is not there is no error. The connection
/// is a new one: the broker may block, or have ended, the one that the demo published on.
pub(super) async fn remove(link: &Link, prefix: &str) -> Result<(), String> {
    let (names, mut problem) = (names(prefix)?, None);
    let in_time = tokio::time::timeout(PATIENCE, go_on(link, &names, &mut problem)).await;
    if in_time == Ok(true) {
        return Ok(());
    }
    let problem = problem.unwrap_or_else(|| "the broker does not answer".to_owned());
    Err(format!(
        "cannot remove everything: {problem}; delete the queues and exchanges {prefix}.* that are left by hand"
    ))
}

/// Of a demo and of nobody else.
fn names(prefix: &str) -> Result<Vec<String>, String> {
    if !prefix.starts_with(PREFIX) {
        return Err(format!("nothing is removed: {prefix} does not start with {PREFIX}, so it is not the demo's"));
    }
    Ok(Names::new(prefix).all(&Tiers::default()))
}

/// Until all is gone, or the broker refuses something for good; keeps the first problem. Whether all is gone.
async fn go_on(link: &Link, names: &[String], problem: &mut Option<String>) -> bool {
    loop {
        let (found, is_final) = match link.connect().await {
            Err(found) => (found, false),
            Ok(connection) => match delete(&connection, names).await {
                Ok(()) => return true,
                Err(found) => (found, connection.status().connected()),
            },
        };
        problem.get_or_insert(found);
        if is_final {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Goes on past errors and returns the first.
async fn delete(connection: &Connection, names: &[String]) -> Result<(), String> {
    let mut result = Ok(());
    for name in names {
        let queue = step(connection, async |channel| {
            channel.queue_delete(short(name), QueueDeleteOptions::default()).await.map(|_| ())
        });
        result = result.and(queue.await);
        let exchange = step(connection, async |channel| {
            channel.exchange_delete(short(name), ExchangeDeleteOptions::default()).await
        });
        result = result.and(exchange.await);
    }
    result
}

/// On a channel of its own: a refusal closes it.
async fn step<F>(connection: &Connection, call: impl FnOnce(Channel) -> F) -> Result<(), String>
where
    F: Future<Output = Result<(), lapin::Error>>,
{
    let done = async { call(connection.create_channel().await?).await };
    match tokio::time::timeout(STEP, done).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the broker did not answer within {} s", STEP.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_demos_is_removed() {
        for prefix in ["prod", "edna", "edna-demo", "my-edna-demo-1", "EDNA-DEMO-1", ""] {
            assert!(names(prefix).is_err(), "{prefix}");
        }
        assert_eq!(names("edna-demo-1").unwrap().len(), 9);
    }
}
