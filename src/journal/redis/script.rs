//! The transitions, each one script on exactly one key, so that Redis Cluster can carry them out, too.
//!
//! Scripts are called by their hash. A server that does not know one (it was restarted, has failed over, or somebody flushed
//! its scripts) gets the text once.

use std::sync::LazyLock;

use redis::{ErrorKind, RedisResult, ServerErrorKind, cmd};

use super::connection::Connection;

macro_rules! script {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!(concat!("lua/", $file, ".lua"))));
    };
}

script!(START, "start");
script!(
    /// Undoes a start whose answer was lost.
    WITHDRAW, "withdraw");
script!(RELEASE, "release");
script!(END, "end");
script!(LETTER_STORED, "letter_stored");
script!(LOOK, "look");
script!(
    /// Renews a lease.
    HOLD, "hold");

/// What a script answers: byte strings, the first of which says what the others are.
pub(super) type Reply = Vec<Vec<u8>>;

/// A script and its hash.
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// Carries it out on one key.
    pub(super) async fn run(&self, connection: &mut Connection, key: &str, args: &[&[u8]]) -> RedisResult<Reply> {
        match self.call(connection, "EVALSHA", &self.hash, key, args).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.call(connection, "EVAL", self.text, key, args).await
            }
            result => result,
        }
    }

    async fn call(
        &self,
        connection: &mut Connection,
        how: &str,
        what: &str,
        key: &str,
        args: &[&[u8]],
    ) -> RedisResult<Reply> {
        let mut command = cmd(how);
        command.arg(what).arg(1).arg(key);
        for arg in args {
            command.arg(arg);
        }
        connection.query(&command).await
    }
}
