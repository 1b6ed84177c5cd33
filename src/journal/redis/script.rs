//! The state transitions, each a Lua script on exactly one key in a Redis Cluster. On other deployments the start of an
//! attempt also reads the store's mark.
//!
//! A script is called by its hash. A server that does not have it (after a restart, a failover or `SCRIPT FLUSH`) is
//! sent the source once.

use std::sync::LazyLock;

use redis::{ErrorKind, RedisResult, ServerErrorKind, cmd};

use super::connection::RedisConnection;

macro_rules! script {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        pub(super) static $name: LazyLock<LuaScript> =
            LazyLock::new(|| LuaScript::new(include_str!(concat!("lua/", $file, ".lua"))));
    };
}

script!(LOOKUP, "lookup");
script!(START_ATTEMPT, "start_attempt");
script!(
    /// Undoes a start whose reply was lost.
    WITHDRAW_START, "withdraw_start");
script!(FINISH_ATTEMPT, "finish_attempt");
script!(RECORD_UNPOSTED, "record_unposted");
script!(RECORD_OUTCOME, "record_outcome");
script!(RECORD_LETTER_STORED, "record_letter_stored");
script!(RECORD_PUBLISHED, "record_published");
script!(RECORD_DOUBT, "record_doubt");
script!(
    /// Writes a key with a time to live: a lease, or a probe.
    WRITE_LEASE, "write_lease");
script!(
    /// Returns the store's mark and the cause of its doubt. On two keys: not for a Cluster.
    CHECK_STORE, "check_store");

/// The reply of a script: byte strings, the first of which names the state.
pub(super) type ScriptReply = Vec<Vec<u8>>;

/// A script's source and hash.
pub(super) struct LuaScript {
    source: &'static str,
    hash: String,
}

impl LuaScript {
    fn new(source: &'static str) -> Self {
        Self { source, hash: redis::Script::new(source).get_hash().to_owned() }
    }

    /// Runs the script on these keys; in a Cluster, on one.
    pub(super) async fn run(
        &self,
        connection: &mut RedisConnection,
        keys: &[&str],
        args: &[&[u8]],
    ) -> RedisResult<ScriptReply> {
        match self.call(connection, ("EVALSHA", &self.hash), keys, args).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.call(connection, ("EVAL", self.source), keys, args).await
            }
            result => result,
        }
    }

    async fn call(
        &self,
        connection: &mut RedisConnection,
        (command, script): (&str, &str),
        keys: &[&str],
        args: &[&[u8]],
    ) -> RedisResult<ScriptReply> {
        let mut command = cmd(command);
        command.arg(script).arg(keys.len()).arg(keys);
        for arg in args {
            command.arg(arg);
        }
        connection.query(&command).await
    }
}
