//! What is wrong with Redis, and what to do about it. Never what Redis itself says: it repeats what it was sent.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// No answer in time.
    #[error("Redis at {at} did not answer within {after:?}: check that it runs, its load and the network")]
    Slow { at: String, after: Duration },
    /// It cannot be reached, or it refused.
    #[error("Redis at {at} {what}")]
    Redis { at: String, what: String },
    /// A record that we did not write.
    #[error("Redis at {at} holds a record that this version cannot read: look for other users of the prefix")]
    Unreadable { at: String },
}

impl Problem {
    pub(super) fn of(error: &RedisError, at: String) -> Self {
        Self::Redis { at, what: what(error) }
    }
}

fn what(error: &RedisError) -> String {
    let code = error.code().unwrap_or_default();
    let told = match (error.kind(), code) {
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
        (_, "MISCONF") => "cannot write to its disk and refuses to write at all: check its disk and its log",
        (_, "NOREPLICAS") => "has too few replicas and refuses to write: check the replication",
        (_, "WRONGTYPE") => "has something else under our keys: look for other users of the prefix",
        (_, "BUSY") => "is busy with a script: check what else runs on it",
        (ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::EmptySentinelList, _) => {
            "does not name a master for the service: check the hosts and the service in journal.redis_url"
        }
        (ErrorKind::ClusterConnectionNotFound, _) => "has a node that cannot be reached: check the Cluster",
        (ErrorKind::Io, _) => return format!("cannot be reached ({}): check that it runs and the network", io(error)),
        (kind, "") => return format!("failed ({kind:?})"),
        (_, code) => return format!("refused the call ({code})"),
    };
    told.to_owned()
}

/// The system's words.
fn io(error: &RedisError) -> String {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.map_or_else(|| "the connection was closed".to_owned(), ToString::to_string)
}
