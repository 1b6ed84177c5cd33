//! `edna-courier topology verify` judges the values in force, with and without `broker.management_url`.

use std::collections::BTreeMap;

use lapin::ExchangeKind;
use serde_json::{Value, json};

use crate::{
    cli::{CliOutput, run},
    support::{TIMEOUT, eventually::eventually, queues::Queues},
};

const TIER: &str = "queue retry.5s";

/// Runs `topology <verb> --json` with the management API at this URL, if any.
async fn topology(verb: &str, queues: &Queues, management_url: Option<&str>) -> CliOutput {
    let mut settings = vec![("broker.url", queues.broker().url()), ("broker.prefix", queues.prefix())];
    settings.extend(management_url.map(|url| ("broker.management_url", url)));
    run(&["topology", verb, "--json"], &settings).await
}

/// Returns the exit code and the findings with a detail, by `<kind> <name without prefix>`.
async fn verify(queues: &Queues, management_url: Option<&str>) -> (Option<i32>, BTreeMap<String, String>) {
    let output = topology("verify", queues, management_url).await;
    let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", output.stderr));
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = report["findings"].as_array().expect("a list").iter().filter(|row| row["state"] != "there");
    let found = rows.map(|row| {
        let name = text(row, "name").replace(&format!("{}.", queues.prefix()), "");
        (format!("{} {name}", text(row, "kind")), format!("{}: {}", text(row, "state"), text(row, "detail")))
    });
    (output.code, found.collect())
}

/// Sends a request to the management API as an operator does; without a body, deletes the resource.
async fn manage(queues: &Queues, path: &str, body: Option<Value>) {
    let url = format!("{}/api/{path}", queues.broker().management_url());
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().expect("a client");
    let request = match body {
        Some(body) => client.put(url).header("content-type", "application/json").body(body.to_string()),
        None => client.delete(url),
    };
    let response = request.basic_auth("guest", Some("guest")).send().await.expect("the management API answers");
    assert!(response.status().is_success(), "{response:?}");
}

/// Sets or deletes the policy of this test.
async fn set_policy(queues: &Queues, pattern: &str, definition: Option<Value>) {
    let body = definition
        .map(|definition| json!({"pattern": pattern, "definition": definition, "priority": 10, "apply-to": "queues"}));
    manage(queues, &format!("policies/%2f/{}", queues.prefix()), body).await;
}

/// A complete topology, except that the tier of 5 s has no arguments.
async fn with_bare_tier(test: &str) -> Queues {
    let queues = Queues::new(test).await;
    queues.declare("retry.5s", ExchangeKind::Fanout, "").await;
    assert_eq!(topology("apply", &queues, None).await.code, Some(1), "the tier differs and is kept");
    queues
}

#[tokio::test]
async fn verify_missing_arguments_exits_1() {
    let queues = with_bare_tier("verify-bare").await;
    let (code, found) = verify(&queues, None).await;
    assert_eq!((code, found.len()), (Some(1), 1), "{found:?}");
    for argument in ["message-ttl is unset instead of 5000", "dead-letter-exchange is", "dead-letter-strategy is"] {
        assert!(found[TIER].starts_with("wrong_arguments: ") && found[TIER].contains(argument), "{found:?}");
    }
    let output = topology("verify", &queues, None).await;
    let problem = format!("wrong arguments: queue {}; ", queues.name("retry.5s"));
    assert!(output.stderr.contains(&problem), "{}", output.stderr);
    assert!(output.stderr.contains("set broker.management_url"), "{}", output.stderr);
}

#[tokio::test]
async fn verify_policy_that_gives_arguments_passes() {
    let queues = with_bare_tier("verify-policy").await;
    let management = Some(queues.broker().management_url());
    assert_eq!(verify(&queues, management).await.0, Some(1), "no policy yet");
    let definition = json!({
        "message-ttl": 5_000, "dead-letter-exchange": queues.name("commands"),
        "dead-letter-strategy": "at-least-once", "overflow": "reject-publish",
    });
    set_policy(&queues, &format!("^{}.retry.5s$", queues.prefix()), Some(definition)).await;
    eventually!(TIMEOUT, verify(&queues, management).await, |(code, _)| *code == Some(0), "the policy in force");
    assert_eq!(verify(&queues, management).await.1, BTreeMap::new());
    assert_eq!(verify(&queues, None).await.0, Some(1), "AMQP shows no policies");
    set_policy(&queues, "", None).await;
}

#[tokio::test]
async fn verify_catch_all_policy_is_found_and_named() {
    let queues = Queues::new("verify-catch-all").await;
    let management = Some(queues.broker().management_url());
    assert_eq!(topology("apply", &queues, None).await.code, Some(0));
    assert_eq!(verify(&queues, management).await, (Some(0), BTreeMap::new()));
    let definition = json!({"message-ttl": 60_000, "max-length": 1_000});
    set_policy(&queues, &format!("^{}[.]", queues.prefix()), Some(definition)).await;
    let with_ttl = ["queue commands", "queue dead", "queue retry.1h"];
    let all_found = |(_, found): &(_, BTreeMap<String, String>)| {
        with_ttl.iter().chain([&TIER]).all(|queue| found.contains_key(*queue))
    };
    // The broker applies a policy to one queue after the other.
    let (code, found) = eventually!(TIMEOUT, verify(&queues, management).await, all_found, "the policy in force");
    assert_eq!(code, Some(1));
    let by_policy = format!("by policy {:?}", queues.prefix());
    for queue in with_ttl {
        assert!(found[queue].starts_with("wrong_arguments: "), "{found:?}");
        assert!(found[queue].contains("message-ttl is 60000 instead of "), "{found:?}");
        assert!(found[queue].contains(&by_policy), "{found:?}");
    }
    assert_eq!(found[TIER], format!("differs: max-length is 1000 instead of unset {by_policy}"), "its TTL is lower");
    set_policy(&queues, "", None).await;
}

#[tokio::test]
async fn verify_unusable_management_url_exits_clearly() {
    let queues = Queues::new("verify-management").await;
    assert_eq!(topology("apply", &queues, None).await.code, Some(0));
    let management = queues.broker().management_url();
    for (url, code, parts) in [
        (management.replace("//", "//guest:SECRET@"), 69, ["refuses the user (401)", "tag monitoring"]),
        ("http://guest:SECRET@127.0.0.1:1".to_owned(), 69, ["no answer from http://127.0.0.1:1", "check the URL"]),
        (queues.broker().url().replace("guest:guest", "guest:SECRET"), 78, ["broker.management_url", "http"]),
    ] {
        let output = topology("verify", &queues, Some(&url)).await;
        output.expect_failure(code, &parts);
        assert!(!output.stderr.contains("SECRET"), "{}", output.stderr);
    }
}

#[tokio::test]
async fn verify_needs_no_more_than_the_tag_monitoring() {
    let queues = Queues::new("verify-monitoring").await;
    assert_eq!(topology("apply", &queues, None).await.code, Some(0));
    let user = queues.prefix();
    manage(&queues, &format!("users/{user}"), Some(json!({"password": "p", "tags": "monitoring"}))).await;
    let nothing = json!({"configure": "^$", "write": "^$", "read": "^$"});
    manage(&queues, &format!("permissions/%2f/{user}"), Some(nothing)).await;
    let url = queues.broker().management_url().replace("//", &format!("//{user}:p@"));
    let (code, found) = verify(&queues, Some(&url)).await;
    let is_about_flag = |name: &String| name == "feature flag stream_queue";
    assert!(code == Some(0) && found.keys().all(is_about_flag), "{code:?} {found:?}");
    manage(&queues, &format!("users/{user}"), None).await;
}
