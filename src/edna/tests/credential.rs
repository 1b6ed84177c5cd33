//! The credential against an API that accepts one token at a time.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::time::{advance, pause, resume, timeout};

use super::*;
use crate::{
    domain::evidence::NotSent,
    edna::{OnRefresh, RefreshError},
};

/// An API whose valid token is `t<generation>`.
#[derive(Default)]
struct Api {
    generation: AtomicUsize,
    logins: AtomicUsize,
    posts: AtomicUsize,
    /// What a login gets instead of a token: status, `Retry-After`, body.
    login_fails: Mutex<Option<(u16, Option<&'static str>, &'static str)>>,
    /// Instead of `s3cret`.
    password: Mutex<Option<&'static str>>,
    /// The token of a login is in its header alone.
    in_header: AtomicBool,
}

impl Api {
    fn valid(&self) -> String {
        format!("t{}", self.generation.load(Ordering::SeqCst))
    }

    fn expire(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

async fn on_login(State(api): State<Arc<Api>>, Json(body): Json<Value>) -> Response {
    api.logins.fetch_add(1, Ordering::SeqCst);
    assert_eq!(body["login"], "user");
    if body["password"] != *api.password.lock().unwrap().unwrap_or("s3cret") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match *api.login_fails.lock().unwrap() {
        None if api.in_header.load(Ordering::SeqCst) => {
            ([("authorization", format!("Bearer Bearer {}", api.valid()))], Json(json!({"userId": 1}))).into_response()
        }
        None => Json(json!({"userId": 1, "login": null, "token": format!("Bearer {}", api.valid())})).into_response(),
        Some((status, retry_after, body)) => {
            let headers: HeaderMap =
                retry_after.map(|value| ("retry-after".parse().unwrap(), value.parse().unwrap())).into_iter().collect();
            (StatusCode::from_u16(status).unwrap(), headers, body).into_response()
        }
    }
}

async fn on_post(State(api): State<Arc<Api>>, headers: HeaderMap) -> StatusCode {
    api.posts.fetch_add(1, Ordering::SeqCst);
    let valid = headers["authorization"] == format!("Bearer {}", api.valid()).as_str();
    if valid { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
}

async fn api() -> (Arc<Api>, ApiSettings) {
    let api = Arc::new(Api::default());
    let routes = Router::new()
        .route("/api/auth/login", post(on_login))
        .route("/api/v1/messages/outgoing-to-device", post(on_post))
        .with_state(api.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = settings(format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (api, settings)
}

fn login() -> Credentials {
    Credentials::Login {
        path: "/api/auth/login".into(),
        login: "user".into(),
        password: "s3cret".into(),
        password_file: None,
    }
}

/// What was told of renewals.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Result<(), RefreshError>>>>);

impl Told {
    fn hook(&self) -> OnRefresh {
        let told = self.0.clone();
        Arc::new(move |result| told.lock().unwrap().push(result.map_err(Clone::clone)))
    }

    fn take(&self) -> Vec<Result<(), RefreshError>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Only the clock of time-outs stands still: between these two nothing waits for the network.
async fn skip(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

async fn fifty(client: &ApiClient) -> Vec<u16> {
    let all = futures_util::future::join_all((0..50).map(|_| send(client))).await;
    all.iter().map(|evidence| evidence.status().unwrap_or(0)).collect()
}

#[tokio::test]
async fn fifty_sends_with_an_expired_login_make_one_login() {
    let (api, settings) = api().await;
    let told = Told::default();
    let client = ApiClient::with_refresh(&settings, login(), told.hook()).unwrap();
    assert_eq!(fifty(&client).await, [200; 50]);
    assert_eq!(api.logins.load(Ordering::SeqCst), 1, "the first of them logs in for all");

    api.expire();
    skip(Duration::from_secs(10)).await;
    assert!(fifty(&client).await.contains(&401));
    assert_eq!(fifty(&client).await, [200; 50]);
    assert_eq!(api.logins.load(Ordering::SeqCst), 2, "and once more when it has expired");
    assert_eq!(told.take(), [Ok(()), Ok(())]);
}

#[tokio::test]
async fn no_second_login_within_ten_seconds_and_no_post_without_a_token() {
    let (api, settings) = api().await;
    let client = ApiClient::new(&settings, login()).unwrap();
    assert_eq!(send(&client).await, answer(200, b""));
    api.expire();
    assert_eq!(send(&client).await, answer(401, b""));
    assert_eq!(client.send(&Bytes::new()).await, (without_body(401), Duration::ZERO));
    assert_eq!((api.logins.load(Ordering::SeqCst), api.posts.load(Ordering::SeqCst)), (1, 2));
    skip(Duration::from_secs(10)).await;
    assert_eq!(send(&client).await, answer(200, b""));
    assert_eq!(api.logins.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_a_failed_login_says_of_the_attempt() {
    let put_off = |status| RefreshError::LoginPutOff { status };
    let refused = |status| RefreshError::LoginRefused { status };
    let wait = |status| Evidence::Answer(Answer { status, retry_after: Some(Duration::from_secs(9)), body: None });
    let not_sent = Evidence::NotSent(NotSent::Connect);
    let rows = [
        ((400, None, ""), refused(400), without_body(401)),
        ((401, None, ""), refused(401), without_body(401)),
        ((403, None, ""), refused(403), without_body(401)),
        ((404, None, ""), refused(404), without_body(401)),
        ((302, None, ""), refused(302), without_body(401)),
        ((200, None, "{}"), RefreshError::LoginWithoutToken, without_body(401)),
        ((200, None, "{\"token\":\" \"}"), RefreshError::LoginWithoutToken, without_body(401)),
        ((200, None, "<html>"), RefreshError::LoginWithoutToken, without_body(401)),
        ((429, Some("9"), ""), put_off(429), wait(429)),
        ((503, Some("9"), ""), put_off(503), wait(503)),
        ((503, None, ""), put_off(503), not_sent.clone()),
        ((408, None, ""), put_off(408), not_sent.clone()),
        ((500, None, ""), put_off(500), not_sent.clone()),
        ((502, None, ""), put_off(502), not_sent),
    ];
    for (fails, error, proves) in rows {
        let (api, settings) = api().await;
        *api.login_fails.lock().unwrap() = Some(fails);
        let told = Told::default();
        let client = ApiClient::with_refresh(&settings, login(), told.hook()).unwrap();
        assert_eq!(send(&client).await, proves, "{fails:?}");
        assert_eq!(send(&client).await, proves, "{fails:?}, and the same without a login until the pause is over");
        assert_eq!((api.logins.load(Ordering::SeqCst), api.posts.load(Ordering::SeqCst)), (1, 0));
        assert_eq!(told.take(), [Err(error)]);
    }
}

#[tokio::test]
async fn a_login_that_cannot_be_reached_or_hangs_is_not_sent() {
    let (refused, _held) = refusing();
    let (hangs, _) = scripted(Then::Hang(Vec::new())).await;
    let (breaks, _) = scripted(Then::Write(Vec::new())).await;
    let rows = [
        (refused, RefreshError::LoginNotSent(NotSent::Connect)),
        (hangs, RefreshError::LoginNoAnswer),
        (breaks, RefreshError::LoginNoAnswer),
    ];
    for (address, error) in rows {
        let told = Told::default();
        let settings = ApiSettings { timeout: Duration::from_millis(200), ..settings(format!("http://{address}")) };
        let client = ApiClient::with_refresh(&settings, login(), told.hook()).unwrap();
        assert_eq!(send(&client).await, Evidence::NotSent(NotSent::Connect));
        assert_eq!(told.take(), [Err(error)]);
    }
}

#[tokio::test]
async fn an_installation_may_say_unauthorized_with_another_status() {
    let (api, settings) = api().await;
    *api.login_fails.lock().unwrap() = Some((401, None, ""));
    let client = ApiClient::new(&ApiSettings { unauthorized_statuses: vec![419], ..settings }, login()).unwrap();
    assert_eq!(send(&client).await, without_body(419));
}

/// A token file of the test's own.
struct File(PathBuf);

impl File {
    fn new(content: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("edna-token-{}", uuid::Uuid::new_v4())));
        file.write(content);
        file
    }

    fn write(&self, content: &str) {
        std::fs::write(&self.0, content).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[tokio::test]
async fn a_changed_token_file_is_read_at_once_after_an_unauthorized_answer() {
    let (api, settings) = api().await;
    let (file, told) = (File::new("t0\n"), Told::default());
    let client = ApiClient::with_refresh(&settings, Credentials::TokenFile(file.0.clone()), told.hook()).unwrap();
    assert_eq!(send(&client).await, answer(200, b""));
    api.expire();
    assert_eq!(send(&client).await, answer(401, b""));
    file.write("Bearer t1\n");
    assert_eq!(send(&client).await, answer(200, b""));
    assert_eq!(told.take(), [Ok(())]);
}

#[tokio::test]
async fn the_token_of_a_login_is_in_its_body_or_else_in_its_header() {
    let (api, settings) = api().await;
    api.in_header.store(true, Ordering::SeqCst);
    let client = ApiClient::new(&settings, login()).unwrap();
    assert_eq!(send(&client).await, answer(200, b""));
}

#[tokio::test]
async fn a_changed_password_is_told_when_a_login_is_due_and_used_then() {
    let (api, settings) = api().await;
    let file = File::new("s3cret\n");
    let (path, login) = ("/api/auth/login".into(), "user".into());
    let password_file = Some(file.0.clone());
    let credentials = Credentials::Login { path, login, password: "s3cret".into(), password_file };
    let client = ApiClient::new(&settings, credentials).unwrap();
    *api.password.lock().unwrap() = Some("new");
    assert_eq!(send(&client).await, without_body(401));

    pause();
    let mut changed = Box::pin(client.credential_changed());
    assert!(timeout(Duration::from_secs(5), &mut changed).await.is_err(), "nothing has changed");
    file.write("new\n");
    assert!(timeout(Duration::from_secs(4), &mut changed).await.is_err(), "no second login within ten seconds");
    timeout(Duration::from_secs(2), changed).await.unwrap();
    resume();
    assert_eq!(send(&client).await, answer(200, b""));
    assert_eq!(api.logins.load(Ordering::SeqCst), 2);
    pause();
    assert!(timeout(Duration::from_secs(60), client.credential_changed()).await.is_err(), "it is in use");
}

#[tokio::test]
async fn a_password_file_that_is_broken_leaves_the_password_in_use() {
    let (api, settings) = api().await;
    let (file, told) = (File::new(" \n"), Told::default());
    let (path, login) = ("/api/auth/login".into(), "user".into());
    let password_file = Some(file.0.clone());
    let credentials = Credentials::Login { path, login, password: "s3cret".into(), password_file };
    let client = ApiClient::with_refresh(&settings, credentials, told.hook()).unwrap();
    assert_eq!(send(&client).await, answer(200, b""));
    assert_eq!(told.take(), [Err(RefreshError::PasswordEmpty { path: file.0.clone() }), Ok(())]);
    assert_eq!(api.logins.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_credential_without_a_file_never_changes() {
    for credentials in [token("t"), login()] {
        let client = ApiClient::new(&settings("http://h"), credentials).unwrap();
        assert!(timeout(Duration::from_secs(3_600), client.credential_changed()).await.is_err());
    }
}
