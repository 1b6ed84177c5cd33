//! The private Redis server.

use std::time::Duration;

use crate::support::{TIMEOUT, eventually::eventually, redis::Redis};

#[tokio::test]
async fn redis_keeps_data_after_kill_and_blocks_while_paused() {
    let mut redis = Redis::start();
    assert!(redis.url().starts_with("redis://127.0.0.1:"));
    assert_eq!(redis.cli(&["set", "a", "1"]), "OK");
    redis.stop();
    assert_eq!(redis.cli(&["get", "a"]), "");
    redis.start_again();
    assert_eq!(redis.cli(&["get", "a"]), "1");

    redis.pause();
    let url = redis.url();
    let answer = tokio::task::spawn_blocking(move || {
        let mut waiting = std::process::Command::new("redis-cli");
        waiting.args(["-u", &url, "get", "a"]).output().expect("redis-cli")
    });
    let early = tokio::time::timeout(Duration::from_millis(200), async {
        eventually!(TIMEOUT, answer.is_finished(), "a response")
    });
    assert!(early.await.is_err(), "a suspended server does not answer");
    redis.resume();
    assert_eq!(answer.await.expect("no panic").stdout, b"1\n");

    let dir = redis.dir().to_owned();
    assert!(dir.exists());
    drop(redis);
    assert!(!dir.exists(), "the directory is removed");
}
