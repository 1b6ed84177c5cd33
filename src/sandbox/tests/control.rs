//! The control paths.

use std::io;

use super::*;

async fn listing(sandbox: &TestSandbox, query: &str) -> Value {
    json_of(sandbox.client.get(sandbox.url(&format!("/received{query}"))).send().await.unwrap()).await
}

#[tokio::test]
async fn received_lists_requests_by_filter() {
    let sandbox = start(Options::default());
    for (address, text) in [("1", "one"), ("2", "two"), ("1", "one"), ("1", "other [[status=422]]")] {
        sandbox.request(&message(address, text)).send().await.unwrap();
    }
    sandbox.request(&json!({})).send().await.unwrap();
    let all = listing(&sandbox, "").await;
    assert_eq!((&all["total"], &all["accepted"], &all["count"]), (&json!(5), &json!(3), &json!(5)));
    let third = json!({ "sequence": 3, "accepted": true, "status": 200, "attempt": 2, "text": "one",
        "channelType": "WHATSAPP", "deviceAddress": "1" });
    let fifth = json!({ "sequence": 5, "accepted": false, "status": 400, "attempt": null, "text": null,
        "channelType": null, "deviceAddress": null });
    assert_eq!((&all["requests"][2], &all["requests"][4]), (&third, &fifth));

    assert_eq!(listing(&sandbox, "?deviceAddress=1").await["count"], 3);
    assert_eq!(listing(&sandbox, "?deviceAddress=1&text=on").await["count"], 2);
    let last = listing(&sandbox, "?deviceAddress=1&limit=1").await;
    assert_eq!((&last["count"], &last["requests"][0]["sequence"]), (&json!(3), &json!(4)));
    assert_eq!(last["requests"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn delete_received_resets_attempts() {
    let sandbox = start(Options::default());
    sandbox.status("x").await;
    assert_eq!(sandbox.client.delete(sandbox.url("/received")).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(listing(&sandbox, "").await, json!({ "total": 0, "accepted": 0, "count": 0, "requests": [] }));
    sandbox.status("x").await;
    assert_eq!(sandbox.received()[0].attempt, Some(1));
}

#[tokio::test]
async fn ring_keeps_the_latest_and_counts_all() {
    let sandbox = start(Options { keep: 2, ..Options::default() });
    for text in ["a", "b", "c"] {
        sandbox.status(text).await;
    }
    let all = listing(&sandbox, "").await;
    assert_eq!((&all["total"], &all["count"], &all["requests"][0]["text"]), (&json!(3), &json!(2), &json!("b")));
}

#[tokio::test]
async fn script_error_names_the_path() {
    let sandbox = start(Options::default());
    let mistakes = [
        (json!({}), "."),
        (json!([{}]), "action"),
        (json!([{ "action": {} }]), "[0].action"),
        (json!([{ "action": { "hang": true, "cut": true } }]), "two responses"),
        (json!([{ "action": { "status": 700 } }]), "200 to 599"),
        (json!([{ "action": { "retryAfter": 1 } }]), "status"),
        (json!([{ "action": { "status": 503, "retryAfter": "a\nb" } }]), "header"),
        (json!([{ "action": { "delay": "2h" } }]), "one hour"),
        (json!([{ "action": { "statsu": 500 } }]), "statsu"),
        (json!([{ "share": 1.5, "action": { "hang": true } }]), "[0].share"),
        (json!([{ "times": 0, "action": { "hang": true } }]), "[0].times"),
        (json!([{ "match": { "nth": 0 }, "action": { "hang": true } }]), "[0].match.nth"),
    ];
    for (script, place) in mistakes {
        let response = sandbox.post("/script", &script).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{script}");
        let message = json_of(response).await["message"].as_str().unwrap().to_owned();
        assert!(message.contains(place), "{script}: {message}");
    }
    assert_eq!(sandbox.status("x").await, StatusCode::OK);
}

#[tokio::test]
async fn delete_script_removes_the_rules() {
    let sandbox = start(Options::default());
    sandbox.script(json!([{ "times": "forever", "action": { "status": 500 } }])).await;
    assert_eq!((sandbox.status("x").await.as_u16(), sandbox.status("x").await.as_u16()), (500, 500));
    assert_eq!(sandbox.client.delete(sandbox.url("/script")).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(sandbox.status("x").await, StatusCode::OK);
}

#[tokio::test]
async fn healthz_is_ok_until_the_stop() {
    let sandbox = start(Options::default());
    assert_eq!(sandbox.client.get(sandbox.url("/healthz")).send().await.unwrap().status(), StatusCode::OK);
    let url = sandbox.url("/healthz");
    sandbox.sandbox.stop().await.unwrap();
    assert!(sandbox.client.get(url).send().await.unwrap_err().is_connect());
}

#[tokio::test]
async fn start_error_names_the_remedy() {
    let sandbox = start(Options::default());
    let taken = Sandbox::start(sandbox.sandbox.addr(), Options::default()).err().unwrap();
    assert!(taken.kind() == io::ErrorKind::AddrInUse && taken.to_string().contains("free port"), "{taken}");
    for path in ["send", "/received"] {
        let options = Options { path: path.to_owned(), ..Options::default() };
        let error = Sandbox::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
    }
}

#[test]
fn debug_output_omits_texts_addresses_and_secrets() {
    let request = ReceivedRequest {
        sequence: 1,
        accepted: true,
        status: None,
        attempt: None,
        text: Some("secret".to_owned()),
        channel_type: None,
        device_address: Some("secret".to_owned()),
    };
    let filter =
        ReceivedFilter { device_address: Some("secret".to_owned()), text: Some("secret".to_owned()), limit: None };
    let rule = crate::sandbox::Rule::new(StatusCode::OK).to_device("secret").with_text("secret");
    let options =
        Options { token: Some("secret".into()), login: Some(("l".into(), "secret".into())), ..Options::default() };
    let shown = format!("{request:?} {filter:?} {rule:?} {options:?}");
    assert!(!shown.contains("secret"), "{shown}");
}
