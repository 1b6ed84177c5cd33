//! What the sandbox tells and is told.

use std::io;

use super::*;

async fn listing(bench: &Bench, query: &str) -> Value {
    json_of(bench.client.get(bench.url(&format!("/received{query}"))).send().await.unwrap()).await
}

#[tokio::test]
async fn received_tells_what_arrived() {
    let bench = bench(Options::default());
    for (address, text) in [("1", "one"), ("2", "two"), ("1", "one"), ("1", "other [[status=422]]")] {
        bench.request(&message(address, text)).send().await.unwrap();
    }
    bench.request(&json!({})).send().await.unwrap();
    let all = listing(&bench, "").await;
    assert_eq!((&all["total"], &all["accepted"], &all["count"]), (&json!(5), &json!(3), &json!(5)));
    let third = json!({ "sequence": 3, "accepted": true, "status": 200, "attempt": 2, "text": "one",
        "channelType": "WHATSAPP", "deviceAddress": "1" });
    let fifth = json!({ "sequence": 5, "accepted": false, "status": 400, "attempt": null, "text": null,
        "channelType": null, "deviceAddress": null });
    assert_eq!((&all["requests"][2], &all["requests"][4]), (&third, &fifth));

    assert_eq!(listing(&bench, "?deviceAddress=1").await["count"], 3);
    assert_eq!(listing(&bench, "?deviceAddress=1&text=on").await["count"], 2);
    let last = listing(&bench, "?deviceAddress=1&limit=1").await;
    assert_eq!((&last["count"], &last["requests"][0]["sequence"]), (&json!(3), &json!(4)));
    assert_eq!(last["requests"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn delete_forgets_requests_and_attempts() {
    let bench = bench(Options::default());
    bench.status("x").await;
    assert_eq!(bench.client.delete(bench.url("/received")).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(listing(&bench, "").await, json!({ "total": 0, "accepted": 0, "count": 0, "requests": [] }));
    bench.status("x").await;
    assert_eq!(bench.records()[0].attempt, Some(1));
}

#[tokio::test]
async fn the_ring_keeps_the_last_and_counts_all() {
    let bench = bench(Options { keep: 2, ..Options::default() });
    for text in ["a", "b", "c"] {
        bench.status(text).await;
    }
    let told = listing(&bench, "").await;
    assert_eq!((&told["total"], &told["count"], &told["requests"][0]["text"]), (&json!(3), &json!(2), &json!("b")));
}

#[tokio::test]
async fn mistakes_in_a_script_are_named_by_place() {
    let bench = bench(Options::default());
    let mistakes = [
        (json!({}), "."),
        (json!([{}]), "action"),
        (json!([{ "action": {} }]), "[0].action"),
        (json!([{ "action": { "hang": true, "cut": true } }]), "two answers"),
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
        let response = bench.post("/script", &script).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{script}");
        let told = json_of(response).await["message"].as_str().unwrap().to_owned();
        assert!(told.contains(place), "{script}: {told}");
    }
    assert_eq!(bench.status("x").await, StatusCode::OK);
}

#[tokio::test]
async fn delete_forgets_the_script() {
    let bench = bench(Options::default());
    bench.script(json!([{ "times": "forever", "action": { "status": 500 } }])).await;
    assert_eq!((bench.status("x").await.as_u16(), bench.status("x").await.as_u16()), (500, 500));
    assert_eq!(bench.client.delete(bench.url("/script")).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(bench.status("x").await, StatusCode::OK);
}

#[tokio::test]
async fn it_is_healthy_until_it_stops() {
    let bench = bench(Options::default());
    assert_eq!(bench.client.get(bench.url("/healthz")).send().await.unwrap().status(), StatusCode::OK);
    let url = bench.url("/healthz");
    bench.sandbox.stop().await.unwrap();
    assert!(bench.client.get(url).send().await.unwrap_err().is_connect());
}

#[tokio::test]
async fn a_start_that_fails_names_the_remedy() {
    let bench = bench(Options::default());
    let taken = Sandbox::start(bench.sandbox.addr(), Options::default()).err().unwrap();
    assert!(taken.kind() == io::ErrorKind::AddrInUse && taken.to_string().contains("free port"), "{taken}");
    for path in ["send", "/received"] {
        let options = Options { path: path.to_owned(), ..Options::default() };
        let error = Sandbox::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
    }
}

#[test]
fn nothing_shows_texts_addresses_or_secrets() {
    let record = Record {
        sequence: 1,
        accepted: true,
        status: None,
        attempt: None,
        text: Some("secret".to_owned()),
        channel_type: None,
        device_address: Some("secret".to_owned()),
    };
    let filter = Filter { device_address: Some("secret".to_owned()), text: Some("secret".to_owned()), limit: None };
    let rule = crate::sandbox::Rule::new(StatusCode::OK).to_device("secret").with_text("secret");
    let options =
        Options { token: Some("secret".into()), login: Some(("l".into(), "secret".into())), ..Options::default() };
    let shown = format!("{record:?} {filter:?} {rule:?} {options:?}");
    assert!(!shown.contains("secret"), "{shown}");
}
