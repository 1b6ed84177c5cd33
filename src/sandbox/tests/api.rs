//! The documented send method and login.

use super::*;

#[tokio::test]
async fn accepted_message_gets_the_documented_response() {
    let sandbox = start(Options::default());
    let response = sandbox.send("hello").await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    let answer = json_of(response).await;
    let fields: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["agentId", "clientExternalId", "clientId", "id", "threadId"]);
    assert_eq!((&answer["id"], &answer["clientExternalId"]), (&json!(1), &Value::Null));
    assert_eq!(json_of(sandbox.send("hello").await.unwrap()).await["id"], 2);
}

#[tokio::test]
async fn external_id_is_the_client_id_of_the_request() {
    let sandbox = start(Options::default());
    let body = json!({ "text": "m", "applicationDescriptor":
        { "channelType": "MOBILE", "clientId": "012", "deviceAddress": "w", "appMarker": "a" } });
    let response = sandbox.request(&body).send().await.unwrap();
    assert_eq!(json_of(response).await["clientExternalId"], "012");
}

#[tokio::test]
async fn client_id_is_stable_per_device() {
    let sandbox = start(Options::default());
    let mut numbers = Vec::new();
    for address in ["1", "2", "1"] {
        let response = sandbox.request(&message(address, "x")).send().await.unwrap();
        numbers.push(json_of(response).await["clientId"].as_u64().unwrap());
    }
    assert!(numbers[0] == numbers[2] && numbers[0] != numbers[1], "{numbers:?}");
}

#[tokio::test]
async fn malformed_body_error_names_the_path_without_values() {
    let sandbox = start(Options::default());
    let descriptor = json!({ "channelType": "C", "deviceAddress": "secret" });
    let bodies = [
        (json!([]), "."),
        (json!({ "text": "secret" }), "."),
        (json!({ "text": null, "applicationDescriptor": descriptor }), "text"),
        (json!({ "text": 1, "applicationDescriptor": descriptor }), "text"),
        (json!({ "text": "", "applicationDescriptor": descriptor }), "text"),
        (json!({ "applicationDescriptor": descriptor }), "text"),
        (json!({ "text": "secret", "extra": 1, "applicationDescriptor": descriptor }), "extra"),
        (
            json!({ "text": "secret", "applicationDescriptor": descriptor, "clientApplicationDescriptor": descriptor }),
            ".",
        ),
        (
            json!({ "text": "secret", "applicationDescriptor": { "channelType": "C", "deviceAddress": "" } }),
            "deviceAddress",
        ),
        (
            json!({ "text": "secret", "applicationDescriptor": { "channelType": "", "deviceAddress": "secret" } }),
            "channelType",
        ),
        (
            json!({ "text": "secret", "applicationDescriptor": { "channelType": "C", "deviceAddress": "secret", "clientId": null } }),
            "clientId",
        ),
        (json!({ "attachments": [{ "url": "" }], "applicationDescriptor": descriptor }), "url"),
        (
            json!({ "attachments": [{ "url": "secret", "size": -1 }], "applicationDescriptor": descriptor }),
            "attachments[0].size",
        ),
    ];
    for (body, place) in bodies {
        let response = sandbox.request(&body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        let answer = response.text().await.unwrap();
        assert!(answer.contains(place) && !answer.contains("secret"), "{body}: {answer}");
    }
}

#[tokio::test]
async fn message_with_attachments_only_is_accepted() {
    let sandbox = start(Options::default());
    let body = json!({ "attachments": [{ "url": "https://a/b.jpg", "name": "b.jpg", "type": "image/jpeg", "size": 1 }],
        "clientApplicationDescriptor": { "channelType": "C", "deviceAddress": "1" } });
    assert_eq!(sandbox.request(&body).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn token_requires_exactly_one_prefix() {
    let sandbox = start(Options { token: Some("t".into()), ..Options::default() });
    for (header, status) in [
        ("Bearer t", 200),
        ("Bearer Bearer t", 401),
        ("t", 401),
        ("Bearer other", 401),
        ("Bearer ", 401),
        ("bearer t", 401),
    ] {
        let request =
            sandbox.post(crate::sandbox::DEFAULT_PATH, &message("1", "x")).header("content-type", "application/json");
        let response = request.header("authorization", header).send().await.unwrap();
        assert_eq!(response.status(), status, "{header}");
    }
    let without = sandbox.post(crate::sandbox::DEFAULT_PATH, &message("1", "x")).send().await.unwrap();
    assert_eq!(without.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn content_type_size_path_and_method_are_checked() {
    let sandbox = start(Options { path: "/send".to_owned(), ..Options::default() });
    let post = |path: &str, kind: &str, body: String| {
        let request = sandbox.client.post(sandbox.url(path)).header("authorization", "Bearer t");
        request.header("content-type", kind).body(body).send()
    };
    let good = message("1", "x").to_string();
    assert_eq!(post("/send", "application/json; charset=utf-8", good.clone()).await.unwrap().status(), 200);
    assert_eq!(post("/send", "text/plain", good.clone()).await.unwrap().status(), 415);
    assert_eq!(post("/send", "application/json", "x".repeat((512 << 10) + 1)).await.unwrap().status(), 413);
    assert_eq!(post(crate::sandbox::DEFAULT_PATH, "application/json", good).await.unwrap().status(), 404);
    assert_eq!(sandbox.client.get(sandbox.url("/send")).send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn login_issues_a_token_that_is_accepted() {
    let login = Some(("me".to_owned(), "pass".into()));
    let sandbox = start(Options { token: Some("first".into()), login, ..Options::default() });
    let log_in = |body: Value| sandbox.post("/api/auth/login", &body).send();
    assert_eq!(log_in(json!({ "login": "me", "password": "wrong" })).await.unwrap().status(), 401);
    assert_eq!(log_in(json!({ "login": "me" })).await.unwrap().status(), 400);

    let response = log_in(json!({ "login": "me", "password": "pass", "locale": "en" })).await.unwrap();
    let header = response.headers()["authorization"].to_str().unwrap().to_owned();
    let answer = json_of(response).await;
    let token = answer["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("Bearer ") && header == format!("Bearer {token}"), "{header}");
    assert_eq!(answer, json!({ "userId": 1, "login": null, "role": "INTEGRATOR", "token": token }));

    let request =
        sandbox.post(crate::sandbox::DEFAULT_PATH, &message("1", "x")).header("content-type", "application/json");
    assert_eq!(request.header("authorization", token).send().await.unwrap().status(), 200);
}
