//! Short-lived connections to the broker.

use lapin::Connection;

use crate::{amqp::BrokerAddresses, config::BrokerSettings};

/// The nodes of the broker, of which any may answer.
pub(super) struct BrokerClient {
    broker: BrokerAddresses,
    nodes: usize,
    connection_name: &'static str,
}

impl BrokerClient {
    /// The broker's list of connections shows `connection_name`.
    pub(super) fn new(settings: &BrokerSettings, connection_name: &'static str) -> Self {
        let broker = BrokerAddresses::new(settings.uris.clone(), settings.tls.clone());
        Self { broker, nodes: settings.uris.len(), connection_name }
    }

    /// Connects to the first node that answers.
    ///
    /// # Errors
    /// If none does, the error of each.
    pub(super) async fn connect(&self) -> Result<Connection, String> {
        let mut problems = Vec::new();
        for node in 0..self.nodes {
            match self.broker.connect(node, self.connection_name).await {
                Ok(connection) => return Ok(connection),
                Err(problem) => problems.push(problem.to_string()),
            }
        }
        Err(problems.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    fn closed_port() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn connect_error_names_every_node() {
        let addresses = [closed_port(), closed_port()];
        let uris = addresses.map(|address| format!("amqp://{address}").parse().unwrap()).to_vec();
        let tls = lapin::tcp::OwnedTLSConfig::default();
        let prefix = "edna-demo-test".to_owned();
        let settings = BrokerSettings { uris, tls, prefix, declare: false, management_url: None };
        let error = BrokerClient::new(&settings, "test").connect().await.err().unwrap();
        assert!(addresses.iter().all(|address| error.contains(&address.to_string())), "{error}");
    }
}
