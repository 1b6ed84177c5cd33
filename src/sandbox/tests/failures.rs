//! Scripted failures.

use std::time::{Duration, Instant};

use super::{
    super::{Action, DEFAULT_PATH, MAX_RULES, Rule, ScriptedResponse},
    *,
};

fn statuses(requests: &[ReceivedRequest]) -> Vec<Option<u16>> {
    requests.iter().map(|request| request.status).collect()
}

#[tokio::test]
async fn rule_acts_the_given_number_of_times() {
    let sandbox = start(Options::default());
    let rules = json!([{ "times": 2, "action": { "status": 503, "retryAfter": 7, "body": "busy" } }]);
    assert_eq!(sandbox.script(rules).await, StatusCode::NO_CONTENT);
    let first = sandbox.send("x").await.unwrap();
    assert_eq!((first.status().as_u16(), first.headers()["retry-after"].to_str().unwrap()), (503, "7"));
    assert_eq!(first.text().await.unwrap(), "busy");
    assert_eq!((sandbox.status("x").await.as_u16(), sandbox.status("x").await.as_u16()), (503, 200));
}

#[tokio::test]
async fn rule_matches_by_address_text_and_nth() {
    let sandbox = start(Options::default());
    let rules = [
        Rule::new(StatusCode::GONE).to_device("2").forever(),
        Rule::new(StatusCode::CONFLICT).with_text("odd").forever(),
        Rule::new(StatusCode::BAD_GATEWAY).nth(2),
    ];
    sandbox.sandbox.script(rules).unwrap();
    let to_two = sandbox.request(&message("2", "x")).send().await.unwrap();
    assert_eq!(to_two.status(), StatusCode::GONE);
    for (text, status) in [("x", 200), ("an odd one", 409), ("x", 502), ("x", 200)] {
        assert_eq!(sandbox.status(text).await, status);
    }
}

#[tokio::test]
async fn retry_after_text_is_sent_as_is() {
    let sandbox = start(Options::default());
    let date = "Wed, 21 Oct 2026 07:28:00 GMT";
    sandbox.script(json!([{ "action": { "status": 429, "retryAfter": date } }])).await;
    assert_eq!(sandbox.send("x").await.unwrap().headers()["retry-after"], date);
}

#[tokio::test]
async fn cut_accepts_the_message_and_cut_before_does_not() {
    let sandbox = start(Options::default());
    sandbox.script(json!([{ "action": { "cut": true } }, { "action": { "cutBefore": true } }])).await;
    for _ in 0..2 {
        let error = sandbox.send("x").await.unwrap_err();
        assert!(error.is_request() && !error.is_timeout(), "{error:?}");
    }
    assert_eq!(sandbox.status("x").await, StatusCode::OK);
    let accepted: Vec<_> = sandbox.received().iter().map(|request| (request.accepted, request.status)).collect();
    assert_eq!(accepted, [(true, None), (false, None), (true, Some(200))]);
}

#[tokio::test]
async fn hanging_request_ends_when_the_sandbox_stops() {
    let sandbox = start(Options::default());
    sandbox.sandbox.script([Rule::new(ScriptedResponse::Hang)]).unwrap();
    let request = sandbox.request(&message("1", "x")).timeout(Duration::from_millis(200));
    assert!(request.send().await.unwrap_err().is_timeout());
    assert_eq!(statuses(&sandbox.received()), [None]);

    sandbox.sandbox.script([Rule::new(ScriptedResponse::Hang)]).unwrap();
    let hanging = tokio::spawn(sandbox.request(&message("1", "x")).send());
    let arrived = async {
        while sandbox.received().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), arrived).await.expect("the second request arrives");
    sandbox.sandbox.stop().await.unwrap();
    let error = hanging.await.unwrap().unwrap_err();
    assert!(error.is_request() && !error.is_timeout(), "{error:?}");
}

#[tokio::test]
async fn response_is_delayed_by_latency_and_rule() {
    let ms = Duration::from_millis;
    let sandbox = start(Options { latency: ms(40), jitter: ms(1), ..Options::default() });
    sandbox.sandbox.script([Rule::new(Action::delay(ms(60)))]).unwrap();
    for least in [100, 40] {
        let start = Instant::now();
        assert_eq!(sandbox.status("x").await, StatusCode::OK);
        assert!(start.elapsed() >= ms(least), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn wrong_body_is_not_json_and_slow_body_is_slow() {
    let sandbox = start(Options::default());
    sandbox.script(json!([{ "action": { "wrongBody": true } }, { "action": { "slowBody": "80ms" } }])).await;
    let wrong = sandbox.send("x").await.unwrap();
    assert_eq!(wrong.status(), StatusCode::OK);
    assert!(serde_json::from_slice::<Value>(&wrong.bytes().await.unwrap()).is_err());

    let start = Instant::now();
    let slow = sandbox.send("x").await.unwrap();
    assert_eq!(json_of(slow).await["id"], 2);
    assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());
}

#[tokio::test]
async fn revoked_token_is_refused_until_a_new_one_is_set() {
    let sandbox = start(Options::default());
    sandbox.script(json!([{ "action": { "unauthorized": true } }])).await;
    assert_eq!(
        (sandbox.status("x").await, sandbox.status("x").await),
        (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED)
    );
    let login = sandbox.post("/api/auth/login", &json!({ "login": "l", "password": "p" })).send().await.unwrap();
    let new = json_of(login).await["token"].as_str().unwrap().to_owned();
    let post = |token: String| {
        let request = sandbox.post(crate::sandbox::DEFAULT_PATH, &message("1", "x"));
        request.header("content-type", "application/json").header("authorization", token).send()
    };
    assert_eq!(post(new.clone()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(sandbox.status("x").await, StatusCode::UNAUTHORIZED, "the revoked token");

    let set = sandbox.post("/token", &json!({ "token": "t" })).send().await.unwrap();
    assert_eq!((set.status(), sandbox.status("x").await), (StatusCode::NO_CONTENT, StatusCode::OK));
    assert_eq!(post(new).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn share_with_same_seed_fails_the_same_messages() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let sandbox = start(Options { seed, ..Options::default() });
        sandbox.script(json!([{ "share": 0.3, "action": { "status": 500 } }])).await;
        let mut failed = Vec::new();
        for number in 0..200 {
            if sandbox.status(&format!("text {number}")).await == 500 {
                failed.push(number);
            }
        }
        runs.push(failed);
    }
    assert!(runs[0] == runs[1] && runs[0] != runs[2]);
    assert!((30..=90).contains(&runs[0].len()), "{}", runs[0].len());
}

#[tokio::test]
async fn marker_in_the_text_sets_the_action() {
    let sandbox = start(Options::default());
    let text = "Hi [[status=503,retryAfter=2,times=1]] [[status=500,times=2]]";
    let first = sandbox.send(text).await.unwrap();
    assert_eq!((first.status().as_u16(), &first.headers()["retry-after"]), (503, &"2".parse().unwrap()));
    assert_eq!((sandbox.status(text).await.as_u16(), sandbox.status(text).await.as_u16()), (500, 200));
    assert!(sandbox.send("[[cut]]").await.is_err());
    assert_eq!(sandbox.status("[[delay=1ms]]").await, StatusCode::OK);
    assert_eq!(sandbox.status("[[status=forty]]").await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn refused_request_does_not_use_up_a_rule() {
    let sandbox = start(Options::default());
    sandbox.sandbox.script([Rule::new(StatusCode::BAD_GATEWAY)]).unwrap();
    assert_eq!(sandbox.request(&json!({})).send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(sandbox.status("x").await, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn refused_request_does_not_use_up_a_marker() {
    let sandbox = start(Options::default());
    let text = "[[status=502,times=1]]";
    let request = || sandbox.post(DEFAULT_PATH, &message("1", text));
    let without_token = request().header("content-type", "application/json").send().await.unwrap();
    let without_type = request().header("authorization", "Bearer t").send().await.unwrap();
    assert_eq!((without_token.status().as_u16(), without_type.status().as_u16()), (401, 415));
    assert_eq!((sandbox.status(text).await.as_u16(), sandbox.status(text).await.as_u16()), (502, 200));
    let attempts: Vec<_> = sandbox.received().iter().map(|request| request.attempt).collect();
    assert_eq!(attempts, [None, None, Some(1), Some(2)]);
}

#[tokio::test]
async fn rule_with_nth_acts_from_the_nth_request_on() {
    let sandbox = start(Options::default());
    let rules = json!([{ "match": { "text": "x", "nth": 3 }, "times": 2, "action": { "status": 503 } }]);
    sandbox.script(rules).await;
    let mut statuses = Vec::new();
    for text in ["x", "y", "x", "x", "x", "x"] {
        statuses.push(sandbox.status(text).await.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 503, 503, 200]);
}

#[tokio::test]
async fn rules_beyond_the_limit_are_all_refused() {
    let sandbox = start(Options::default());
    let rule = Rule::new(StatusCode::BAD_GATEWAY);
    sandbox.sandbox.script(vec![rule.clone(); MAX_RULES]).unwrap();
    assert!(sandbox.sandbox.script([rule]).is_err());
    assert_eq!(sandbox.script(json!([{ "action": { "hang": true } }])).await, StatusCode::CONFLICT);
    sandbox.sandbox.clear_script();
    assert_eq!(sandbox.status("x").await, StatusCode::OK);
}
