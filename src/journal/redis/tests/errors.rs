//! Redis refuses calls: the reason is reported without secrets, and so is the recovery.

use super::{
    deployments::{calls, shared_cluster},
    fixture::{TestOwner, fast_timings, prefix, redis_url, wait_until},
    server::Redis,
};
use crate::{
    domain::journal::Record,
    journal::tests::contract::{UNCERTAIN, key},
    ports::Journal,
};

/// Makes Redis refuse calls with one command and accept them again with another.
async fn check_refusal(refuse: &[&str], words: &str, accept: &[&str]) {
    let redis = Redis::start();
    let owner = TestOwner::start(&redis.url(), &prefix(), fast_timings()).await;
    redis.cli(refuse);
    let error = owner.journal.start_attempt(&key("a")).await.expect_err("refused").to_string();
    assert!(error.contains(words), "{error}");
    owner.wait_for_event(words).await;
    assert!(owner.journal.start_attempt(&key("a")).await.is_err(), "still refused");
    redis.cli(accept);
    owner.wait_for_event("available").await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn read_only_replica_is_reported() {
    check_refusal(&["replicaof", "127.0.0.1", "1"], "read-only replica", &["replicaof", "no", "one"]).await;
}

#[tokio::test]
async fn full_memory_is_reported() {
    check_refusal(&["config", "set", "maxmemory", "1"], "no memory left", &["config", "set", "maxmemory", "0"]).await;
}

#[tokio::test]
async fn missing_replicas_are_reported() {
    let name = "min-replicas-to-write";
    check_refusal(&["config", "set", name, "1"], "too few replicas", &["config", "set", name, "0"]).await;
}

#[tokio::test]
async fn wrong_login_is_reported_without_the_secret() {
    let redis = Redis::start_with(&["--requirepass", "right"]);
    let address = redis.address();
    for (login, words) in
        [("", "refuses the login"), (":s3cret@", "refuses the login"), ("me:s3cret@", "refuses the login")]
    {
        let owner = TestOwner::spawn(redis_url(&format!("redis://{login}{address}")), &prefix(), fast_timings());
        owner.wait_for_event(words).await;
        assert!(!owner.events().concat().contains("s3cret"), "{:?}", owner.events());
    }
    let owner = TestOwner::start(&format!("redis://:right@{address}"), &prefix(), fast_timings()).await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn documented_permissions_suffice() {
    let redis = Redis::start();
    let prefix = prefix();
    let rights = "+evalsha +eval +set +get +exists +del +hget +hmget +hset +pexpire +info +@connection";
    let keys = format!("~{prefix}:journal:*");
    let mut user = vec!["acl", "setuser", "courier", "on", ">pass", &keys];
    user.extend(rights.split(' '));
    assert_eq!(redis.cli(&user), "OK");
    let owner = TestOwner::start(&format!("redis://courier:pass@{}/1", redis.address()), &prefix, fast_timings()).await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
    assert_eq!(owner.journal.finish_attempt(&key("a"), UNCERTAIN).await, Ok(()));
    owner.journal.close().await;
    let owner = TestOwner::spawn(redis_url(&format!("redis://courier:pass@{}", redis.address())), "x", fast_timings());
    owner.wait_for_event("forbids a command").await;
}

#[tokio::test]
async fn recovery_waits_until_the_failed_key_is_writable() {
    let redis = Redis::start();
    let prefix = prefix();
    let others = ["owner:*", "server", "doubt"].map(|rest| format!("~{prefix}:journal:{rest}"));
    let mut user = vec!["acl", "setuser", "courier", "on", ">pass", "+@all"];
    user.extend(others.iter().map(String::as_str));
    assert_eq!(redis.cli(&user), "OK");
    let url = format!("redis://courier:pass@{}", redis.address());
    let owner = TestOwner::start(&url, &prefix, fast_timings()).await;
    // The lease can be written, but records cannot, as if another node of a Cluster had them.
    assert!(owner.journal.start_attempt(&key("a")).await.is_err());
    let tried_before = calls(&redis, "auth");
    wait_until("several reconnects", async || calls(&redis, "auth") > tried_before + 5).await;
    assert!(!owner.events().contains(&"available".to_owned()), "{:?}", owner.events());
    assert_eq!(redis.cli(&["acl", "setuser", "courier", "~*"]), "OK");
    owner.wait_for_event("available").await;
    assert_eq!(owner.journal.start_attempt(&key("a")).await, Ok(Record::Unknown));
}

#[tokio::test]
async fn cluster_with_single_server_url_is_reported() {
    let cluster = shared_cluster();
    let url = cluster.url().replace("redis+cluster", "redis");
    let (one, _) = url.split_once(',').expect("several nodes");
    let owner = TestOwner::spawn(redis_url(one), &prefix(), fast_timings());
    // Some of the keys are on another node.
    wait_until("the hint", async || {
        for number in 0..20 {
            let _ = owner.journal.start_attempt(&key(&number.to_string())).await;
        }
        owner.events().iter().any(|event| event.contains("redis+cluster"))
    })
    .await;
}

#[tokio::test]
async fn weak_server_settings_are_reported_once() {
    let redis = Redis::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let owner = TestOwner::start(&redis.url(), &prefix(), fast_timings()).await;
    redis.cli(&["client", "kill", "type", "normal"]);
    let _ = owner.journal.start_attempt(&key("a")).await;
    owner.wait_until_connected().await;
    for words in ["noeviction", "appendonly yes"] {
        let events = owner.events();
        assert_eq!(events.iter().filter(|event| event.contains(words)).count(), 1, "{events:?}");
    }
}
