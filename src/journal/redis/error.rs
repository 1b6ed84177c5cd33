//! Errors of Redis calls, with their remedies. They never quote Redis, whose errors repeat a call's arguments.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// A Redis call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RedisCallError {
    #[error("Redis at {hosts} did not answer within {timeout:?}: check that it runs, its load and the network")]
    Timeout { hosts: String, timeout: Duration },
    /// Redis cannot be reached, or it refused the call.
    #[error("Redis at {hosts} {problem}")]
    Failed { hosts: String, problem: String },
    /// A key holds something that this version does not write.
    #[error("Redis at {hosts} holds a record that this version cannot read: check for other users of the prefix")]
    UnreadableRecord { hosts: String },
}

impl RedisCallError {
    pub(super) fn new(error: &RedisError, hosts: String) -> Self {
        Self::Failed { hosts, problem: describe(error) }
    }
}

fn describe(error: &RedisError) -> String {
    let code = error.code().unwrap_or_default();
    let problem = match (error.kind(), code) {
        (ErrorKind::AuthenticationFailed, _) | (_, "WRONGPASS" | "NOAUTH") => {
            "refuses the login: check user and password in journal.redis_url"
        }
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => {
            "forbids a command: the user needs +evalsha +eval +set +get +exists +del +hget +hmget +hset +pexpire +info \
             +@connection on the keys of the prefix"
        }
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => {
            "is a read-only replica: name the master in journal.redis_url, or use Sentinel"
        }
        (ErrorKind::Server(ServerErrorKind::BusyLoading), _) => "is loading its data: wait",
        (ErrorKind::Server(ServerErrorKind::MasterDown), _) => "is a replica without its master: check the replication",
        (ErrorKind::Server(ServerErrorKind::ClusterDown), _) => "has slots that no node serves: check the Cluster",
        (ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::CrossSlot), _) => {
            "is part of a Cluster: write redis+cluster:// in journal.redis_url"
        }
        (_, "OOM") => "has no memory left: raise its maxmemory, or lower journal.retention",
        (_, "MISCONF") => "cannot write to its disk and refuses all writes: check its disk and its log",
        (_, "NOREPLICAS") => "has too few replicas and refuses to write: check the replication",
        (_, "WRONGTYPE") => "has a value of another type at a journal key: check for other users of the prefix",
        (_, "BUSY") => "is busy with a script: check what else runs on it",
        (ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::EmptySentinelList, _) => {
            "does not name a master for the service: check the hosts and the service in journal.redis_url"
        }
        (ErrorKind::ClusterConnectionNotFound, _) => "has a node that cannot be reached: check the Cluster",
        (ErrorKind::Io, _) => {
            return format!("cannot be reached ({}): check that it runs and the network", io_cause(error));
        }
        (kind, "") => return format!("failed ({kind:?})"),
        (_, code) => return format!("refused the call ({code})"),
    };
    problem.to_owned()
}

/// The operating system's error.
fn io_cause(error: &RedisError) -> String {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.map_or_else(|| "the connection was closed".to_owned(), ToString::to_string)
}
