//! One connection for all calls: they are pipelined and answered in turn.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisResult, TlsMode,
    aio::MultiplexedConnection,
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use secrecy::ExposeSecret;

use super::url::{Kind, RedisUrl};

/// To a server, or to the servers of a Cluster; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    /// A server alone, or the one that Sentinel names.
    Server(MultiplexedConnection),
    /// Follows the slots.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Connects, and for Sentinel asks first which server is the master.
    pub(super) async fn open(url: &RedisUrl, deadline: Duration) -> RedisResult<Self> {
        // Whoever asks has a deadline; two of them would cost twice.
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(deadline)).set_response_timeout(None);
        match &url.kind {
            Kind::Single { db } => {
                let address = address(url, url.hosts.first());
                let info = address.into_connection_info()?.set_redis_settings(login(url).set_db(*db));
                Ok(Self::Server(Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await?))
            }
            Kind::Sentinel { service, db } => {
                let mut client = sentinels(url, service, *db)?.build()?;
                Ok(Self::Server(client.get_async_connection_with_config(&config).await?))
            }
            Kind::Cluster => {
                let nodes = url.hosts.iter().map(|host| {
                    let info: ConnectionInfo = address(url, Some(host)).into_connection_info()?;
                    RedisResult::Ok(info.set_redis_settings(login(url)))
                });
                let nodes = nodes.collect::<RedisResult<Vec<_>>>()?;
                let client = ClusterClientBuilder::new(nodes).connection_timeout(deadline).response_timeout(deadline);
                Ok(Self::Cluster(client.retries(3).build()?.get_async_connection().await?))
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

fn address(url: &RedisUrl, host: Option<&(String, u16)>) -> ConnectionAddr {
    let (host, port) = host.cloned().unwrap_or_default();
    match url.tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    }
}

fn login(url: &RedisUrl) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default();
    if let Some(user) = &url.user {
        login = login.set_username(user);
    }
    if let Some(password) = &url.password {
        login = login.set_password(password.expose_secret());
    }
    login
}

/// The login is for the servers; the Sentinels are asked without one.
fn sentinels(url: &RedisUrl, service: &str, db: i64) -> RedisResult<SentinelClientBuilder> {
    let hosts = url.hosts.iter().map(|host| address(url, Some(host)));
    let mut client = SentinelClientBuilder::new(hosts, service, SentinelServerType::Master)?.set_client_to_redis_db(db);
    if url.tls {
        client = client.set_client_to_redis_tls_mode(TlsMode::Secure).set_client_to_sentinel_tls_mode(TlsMode::Secure);
    }
    if let Some(user) = &url.user {
        client = client.set_client_to_redis_username(user);
    }
    if let Some(password) = &url.password {
        client = client.set_client_to_redis_password(password.expose_secret());
    }
    Ok(client)
}
