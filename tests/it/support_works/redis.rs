//! The private Redis does what the tests ask of it.

use std::time::Duration;

use crate::support::{SOON, eventually::eventually, redis::Redis};

#[tokio::test]
async fn it_keeps_its_data_through_a_kill_and_waits_while_it_is_paused() {
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
        eventually!(SOON, answer.is_finished(), "an answer")
    });
    assert!(early.await.is_err(), "a paused server does not answer");
    redis.resume();
    assert_eq!(answer.await.expect("no panic").stdout, b"1\n");

    let dir = redis.dir().to_owned();
    assert!(dir.exists());
    drop(redis);
    assert!(!dir.exists(), "it leaves nothing behind");
}
