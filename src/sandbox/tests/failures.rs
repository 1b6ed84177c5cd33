//! What scripts do to requests.

use std::time::{Duration, Instant};

use super::{
    super::{Action, Answer, DEFAULT_PATH, MAX_RULES, Rule},
    *,
};

fn statuses(records: &[Record]) -> Vec<Option<u16>> {
    records.iter().map(|record| record.status).collect()
}

#[tokio::test]
async fn a_rule_acts_so_often_and_is_gone() {
    let bench = bench(Options::default());
    let rules = json!([{ "times": 2, "action": { "status": 503, "retryAfter": 7, "body": "busy" } }]);
    assert_eq!(bench.script(rules).await, StatusCode::NO_CONTENT);
    let first = bench.send("x").await.unwrap();
    assert_eq!((first.status().as_u16(), first.headers()["retry-after"].to_str().unwrap()), (503, "7"));
    assert_eq!(first.text().await.unwrap(), "busy");
    assert_eq!((bench.status("x").await.as_u16(), bench.status("x").await.as_u16()), (503, 200));
}

#[tokio::test]
async fn rules_match_by_address_text_and_number() {
    let bench = bench(Options::default());
    let rules = [
        Rule::new(StatusCode::GONE).to_device("2").forever(),
        Rule::new(StatusCode::CONFLICT).with_text("odd").forever(),
        Rule::new(StatusCode::BAD_GATEWAY).nth(2),
    ];
    bench.sandbox.script(rules).unwrap();
    let to_two = bench.request(&message("2", "x")).send().await.unwrap();
    assert_eq!(to_two.status(), StatusCode::GONE);
    for (text, status) in [("x", 200), ("an odd one", 409), ("x", 502), ("x", 200)] {
        assert_eq!(bench.status(text).await, status);
    }
}

#[tokio::test]
async fn a_date_goes_out_as_it_is() {
    let bench = bench(Options::default());
    let date = "Wed, 21 Oct 2026 07:28:00 GMT";
    bench.script(json!([{ "action": { "status": 429, "retryAfter": date } }])).await;
    assert_eq!(bench.send("x").await.unwrap().headers()["retry-after"], date);
}

#[tokio::test]
async fn a_cut_message_counts_unless_it_was_cut_before() {
    let bench = bench(Options::default());
    bench.script(json!([{ "action": { "cut": true } }, { "action": { "cutBefore": true } }])).await;
    for _ in 0..2 {
        let error = bench.send("x").await.unwrap_err();
        assert!(error.is_request() && !error.is_timeout(), "{error:?}");
    }
    assert_eq!(bench.status("x").await, StatusCode::OK);
    let accepted: Vec<_> = bench.records().iter().map(|record| (record.accepted, record.status)).collect();
    assert_eq!(accepted, [(true, None), (false, None), (true, Some(200))]);
}

#[tokio::test]
async fn a_request_that_hangs_gets_no_answer_and_ends_with_the_sandbox() {
    let bench = bench(Options::default());
    bench.sandbox.script([Rule::new(Answer::Hang)]).unwrap();
    let request = bench.request(&message("1", "x")).timeout(Duration::from_millis(200));
    assert!(request.send().await.unwrap_err().is_timeout());
    assert_eq!(statuses(&bench.records()), [None]);

    bench.sandbox.script([Rule::new(Answer::Hang)]).unwrap();
    let hanging = tokio::spawn(bench.request(&message("1", "x")).send());
    let arrived = async {
        while bench.records().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), arrived).await.expect("the second request arrives");
    bench.sandbox.stop().await.unwrap();
    let error = hanging.await.unwrap().unwrap_err();
    assert!(error.is_request() && !error.is_timeout(), "{error:?}");
}

#[tokio::test]
async fn an_answer_is_delayed_by_latency_and_by_rule() {
    let ms = Duration::from_millis;
    let bench = bench(Options { latency: ms(40), jitter: ms(1), ..Options::default() });
    bench.sandbox.script([Rule::new(Action::delay(ms(60)))]).unwrap();
    for least in [100, 40] {
        let start = Instant::now();
        assert_eq!(bench.status("x").await, StatusCode::OK);
        assert!(start.elapsed() >= ms(least), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn bodies_may_be_wrong_or_slow() {
    let bench = bench(Options::default());
    bench.script(json!([{ "action": { "wrongBody": true } }, { "action": { "slowBody": "80ms" } }])).await;
    let wrong = bench.send("x").await.unwrap();
    assert_eq!(wrong.status(), StatusCode::OK);
    assert!(serde_json::from_slice::<Value>(&wrong.bytes().await.unwrap()).is_err());

    let start = Instant::now();
    let slow = bench.send("x").await.unwrap();
    assert_eq!(json_of(slow).await["id"], 2);
    assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_token_is_refused_until_there_is_a_new_one() {
    let bench = bench(Options::default());
    bench.script(json!([{ "action": { "unauthorized": true } }])).await;
    assert_eq!(
        (bench.status("x").await, bench.status("x").await),
        (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED)
    );
    let login = bench.post("/api/auth/login", &json!({ "login": "l", "password": "p" })).send().await.unwrap();
    let new = json_of(login).await["token"].as_str().unwrap().to_owned();
    let post = |token: String| {
        let request = bench.post(crate::sandbox::DEFAULT_PATH, &message("1", "x"));
        request.header("content-type", "application/json").header("authorization", token).send()
    };
    assert_eq!(post(new.clone()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(bench.status("x").await, StatusCode::UNAUTHORIZED, "the old one");

    let set = bench.post("/token", &json!({ "token": "t" })).send().await.unwrap();
    assert_eq!((set.status(), bench.status("x").await), (StatusCode::NO_CONTENT, StatusCode::OK));
    assert_eq!(post(new).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_share_fails_the_same_messages_in_every_run() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let bench = bench(Options { seed, ..Options::default() });
        bench.script(json!([{ "share": 0.3, "action": { "status": 500 } }])).await;
        let mut failed = Vec::new();
        for number in 0..200 {
            if bench.status(&format!("text {number}")).await == 500 {
                failed.push(number);
            }
        }
        runs.push(failed);
    }
    assert!(runs[0] == runs[1] && runs[0] != runs[2]);
    assert!((30..=90).contains(&runs[0].len()), "{}", runs[0].len());
}

#[tokio::test]
async fn a_text_says_what_happens_to_it() {
    let bench = bench(Options::default());
    let text = "Hi [[status=503,retryAfter=2,times=1]] [[status=500,times=2]]";
    let first = bench.send(text).await.unwrap();
    assert_eq!((first.status().as_u16(), &first.headers()["retry-after"]), (503, &"2".parse().unwrap()));
    assert_eq!((bench.status(text).await.as_u16(), bench.status(text).await.as_u16()), (500, 200));
    assert!(bench.send("[[cut]]").await.is_err());
    assert_eq!(bench.status("[[delay=1ms]]").await, StatusCode::OK);
    assert_eq!(bench.status("[[status=forty]]").await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn refused_requests_use_up_no_rule() {
    let bench = bench(Options::default());
    bench.sandbox.script([Rule::new(StatusCode::BAD_GATEWAY)]).unwrap();
    assert_eq!(bench.request(&json!({})).send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(bench.status("x").await, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn refused_requests_use_up_no_marker() {
    let bench = bench(Options::default());
    let text = "[[status=502,times=1]]";
    let request = || bench.post(DEFAULT_PATH, &message("1", text));
    let without_token = request().header("content-type", "application/json").send().await.unwrap();
    let without_type = request().header("authorization", "Bearer t").send().await.unwrap();
    assert_eq!((without_token.status().as_u16(), without_type.status().as_u16()), (401, 415));
    assert_eq!((bench.status(text).await.as_u16(), bench.status(text).await.as_u16()), (502, 200));
    let attempts: Vec<_> = bench.records().iter().map(|record| record.attempt).collect();
    assert_eq!(attempts, [None, None, Some(1), Some(2)]);
}

#[tokio::test]
async fn a_rule_for_the_nth_request_acts_as_often_as_it_says() {
    let bench = bench(Options::default());
    let rules = json!([{ "match": { "text": "x", "nth": 3 }, "times": 2, "action": { "status": 503 } }]);
    bench.script(rules).await;
    let mut statuses = Vec::new();
    for text in ["x", "y", "x", "x", "x", "x"] {
        statuses.push(bench.status(text).await.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 503, 503, 200]);
}

#[tokio::test]
async fn too_many_rules_are_refused_together() {
    let bench = bench(Options::default());
    let rule = Rule::new(StatusCode::BAD_GATEWAY);
    bench.sandbox.script(vec![rule.clone(); MAX_RULES]).unwrap();
    assert!(bench.sandbox.script([rule]).is_err());
    assert_eq!(bench.script(json!([{ "action": { "hang": true } }])).await, StatusCode::CONFLICT);
    bench.sandbox.clear_script();
    assert_eq!(bench.status("x").await, StatusCode::OK);
}
