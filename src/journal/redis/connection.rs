//! The connection that all calls share: they are pipelined and answered in order.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, RedisResult,
    aio::MultiplexedConnection,
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};

use super::url::{Deployment, RedisUrl};

/// A connection to a server or a Cluster; clones share it.
#[derive(Clone)]
pub(super) enum RedisConnection {
    /// To a single server, or to the master that Sentinel names.
    Server(MultiplexedConnection),
    /// Follows the slots of a Cluster.
    Cluster(ClusterConnection),
}

impl RedisConnection {
    /// Connects; with Sentinel, requests the master's address first.
    pub(super) async fn open(url: &RedisUrl, timeout: Duration) -> RedisResult<Self> {
        // Every call has its own timeout; a second one in the client would only add timers.
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(None);
        match &url.deployment {
            Deployment::Single(server) => {
                let client = Client::open(ConnectionInfo::clone(server))?;
                Ok(Self::Server(client.get_multiplexed_async_connection_with_config(&config).await?))
            }
            Deployment::Cluster(nodes) => {
                let client = ClusterClientBuilder::new(nodes.clone());
                let client = client.connection_timeout(timeout).response_timeout(timeout).retries(3).build()?;
                Ok(Self::Cluster(client.get_async_connection().await?))
            }
            Deployment::Sentinel { service, sentinels, servers } => {
                let (sentinels, servers) = (sentinels.clone(), Some(SentinelNodeConnectionInfo::clone(servers)));
                let mut client = SentinelClient::build(sentinels, service, servers, SentinelServerType::Master)?;
                Ok(Self::Server(client.get_async_connection_with_config(&config).await?))
            }
        }
    }

    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Server(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}
