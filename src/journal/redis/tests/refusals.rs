//! A Redis that answers and refuses: everybody is told why, without secrets, and when it is over.

use super::{Owner, Redis, parse, places::calls, prefix, quick};
use crate::{domain::journal::Record, journal::tests::contract::key, ports::Journal};

/// Makes it refuse by one command, and stop that by another.
async fn refuses(make: &[&str], words: &str, end: &[&str]) {
    let redis = Redis::start();
    let owner = Owner::start(&redis.url(), &prefix(), quick()).await;
    redis.cli(make);
    let error = owner.journal.start_attempt(&key("a")).await.expect_err("it refuses").to_string();
    assert!(error.contains(words), "{error}");
    owner.is_told(words).await;
    assert!(owner.journal.start_attempt(&key("a")).await.is_err(), "still");
    redis.cli(end);
    owner.is_told("available").await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn a_read_only_replica_is_told_of() {
    refuses(&["replicaof", "127.0.0.1", "1"], "read-only replica", &["replicaof", "no", "one"]).await;
}

#[tokio::test]
async fn a_full_memory_is_told_of() {
    refuses(&["config", "set", "maxmemory", "1"], "no memory left", &["config", "set", "maxmemory", "0"]).await;
}

#[tokio::test]
async fn missing_replicas_are_told_of() {
    let name = "min-replicas-to-write";
    refuses(&["config", "set", name, "1"], "too few replicas", &["config", "set", name, "0"]).await;
}

#[tokio::test]
async fn a_wrong_login_is_told_of_without_showing_it() {
    let redis = Redis::start_with(&["--requirepass", "right"]);
    let address = redis.address();
    for (login, words) in
        [("", "refuses the login"), (":s3cret@", "refuses the login"), ("me:s3cret@", "refuses the login")]
    {
        let owner = Owner::spawn(parse(&format!("redis://{login}{address}")).expect("a URL"), &prefix(), quick());
        owner.is_told(words).await;
        assert!(!owner.told().concat().contains("s3cret"), "{:?}", owner.told());
    }
    let owner = Owner::start(&format!("redis://:right@{address}"), &prefix(), quick()).await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn the_commands_that_are_named_are_enough() {
    let redis = Redis::start();
    let prefix = prefix();
    let rights = "+evalsha +eval +set +get +exists +del +hget +hmget +hset +pexpire +info +@connection";
    let keys = format!("~{prefix}:journal:*");
    let mut user = vec!["acl", "setuser", "courier", "on", ">pass", &keys];
    user.extend(rights.split(' '));
    assert_eq!(redis.cli(&user), "OK");
    let owner = Owner::start(&format!("redis://courier:pass@{}/1", redis.address()), &prefix, quick()).await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(owner.journal.finish_attempt(&key("a"), true).await, Ok(()));
    owner.journal.close().await;
    let owner = Owner::spawn(parse(&format!("redis://courier:pass@{}", redis.address())).expect("a URL"), "x", quick());
    owner.is_told("forbids a command").await;
}

#[tokio::test]
async fn it_is_available_again_only_when_what_failed_works() {
    let redis = Redis::start();
    let prefix = prefix();
    let others = ["owner:*", "server", "doubt"].map(|rest| format!("~{prefix}:journal:{rest}"));
    let mut user = vec!["acl", "setuser", "courier", "on", ">pass", "+@all"];
    user.extend(others.iter().map(String::as_str));
    assert_eq!(redis.cli(&user), "OK");
    let url = format!("redis://courier:pass@{}", redis.address());
    let owner = Owner::start(&url, &prefix, quick()).await;
    // The lease can be written, and records, which another node of a Cluster may have, cannot.
    assert!(owner.journal.start_attempt(&key("a")).await.is_err());
    let tried_before = calls(&redis, "auth");
    super::until("some tries", async || calls(&redis, "auth") > tried_before + 5).await;
    assert!(!owner.told().contains(&"available".to_owned()), "{:?}", owner.told());
    assert_eq!(redis.cli(&["acl", "setuser", "courier", "~*"]), "OK");
    owner.is_told("available").await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn a_cluster_that_is_taken_for_one_server_is_told_of() {
    let cluster = super::places::shared_cluster();
    let url = cluster.url().replace("redis+cluster", "redis");
    let (one, _) = url.split_once(',').expect("several");
    let owner = Owner::spawn(parse(one).expect("a URL"), &prefix(), quick());
    // Whichever of our keys lives elsewhere.
    super::until("a hint", async || {
        for number in 0..20 {
            let _ = owner.journal.start_attempt(&key(&number.to_string())).await;
        }
        owner.told().iter().any(|line| line.contains("redis+cluster"))
    })
    .await;
}

#[tokio::test]
async fn settings_that_weaken_it_are_told_once() {
    let redis = Redis::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let owner = Owner::start(&redis.url(), &prefix(), quick()).await;
    redis.cli(&["client", "kill", "type", "normal"]);
    let _ = owner.journal.start_attempt(&key("a")).await;
    owner.ready().await;
    for words in ["noeviction", "appendonly yes"] {
        let told = owner.told();
        assert_eq!(told.iter().filter(|line| line.contains(words)).count(), 1, "{told:?}");
    }
}
