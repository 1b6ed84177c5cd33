//! The way to the broker.

use lapin::Connection;

use crate::{amqp::Broker, config};

/// The broker's addresses, each of which may be the one that answers.
pub(super) struct Link {
    broker: Broker,
    addresses: usize,
    name: &'static str,
}

impl Link {
    /// `name` is for those who look at the broker's connections.
    pub(super) fn new(settings: &config::Broker, name: &'static str) -> Self {
        Self { broker: Broker::new(settings.uris.clone(), settings.tls.clone()), addresses: settings.uris.len(), name }
    }

    /// A new connection to the first address that answers; if none does, what is wrong with each.
    pub(super) async fn connect(&self) -> Result<Connection, String> {
        let mut problems = Vec::new();
        for _ in 0..self.addresses {
            match self.broker.connect(self.name).await {
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

    /// Nobody listens there any more.
    fn closed() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn every_address_is_tried_and_told() {
        let addresses = [closed(), closed()];
        let uris = addresses.map(|address| format!("amqp://{address}").parse().unwrap()).to_vec();
        let tls = lapin::tcp::OwnedTLSConfig::default();
        let settings = config::Broker { uris, tls, prefix: "edna-demo-test".to_owned(), declare: false };
        let told = Link::new(&settings, "test").connect().await.err().unwrap();
        assert!(addresses.iter().all(|address| told.contains(&address.to_string())), "{told}");
    }
}
