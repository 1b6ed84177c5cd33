//! The credential, against an API that accepts one token at a time.

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
    domain::evidence::{NoToken, NotSent},
    edna::{OnRefresh, RefreshError},
};

/// An API whose valid token is `t<generation>`.
#[derive(Default)]
struct Api {
    generation: AtomicUsize,
    logins: AtomicUsize,
    posts: AtomicUsize,
    /// The response to a login instead of a token: status, `Retry-After`, body.
    login_failure: Mutex<Option<(u16, Option<&'static str>, &'static str)>>,
    /// The valid password instead of `s3cret`.
    password: Mutex<Option<&'static str>>,
    /// Whether a login returns its token only in the header.
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
    match *api.login_failure.lock().unwrap() {
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

fn no_token(problem: &str, retry_after: Option<Duration>) -> Evidence {
    Evidence::NoToken(NoToken { problem: problem.into(), retry_after })
}

/// The renewals that were reported.
#[derive(Clone, Default)]
struct Renewals(Arc<Mutex<Vec<Result<(), RefreshError>>>>);

impl Renewals {
    fn hook(&self) -> OnRefresh {
        let renewals = self.0.clone();
        Arc::new(move |result| renewals.lock().unwrap().push(result.map_err(Clone::clone)))
    }

    fn take(&self) -> Vec<Result<(), RefreshError>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Advances the clock. Nothing waits for the network meanwhile.
async fn skip(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

async fn send_fifty(client: &ApiClient) -> Vec<u16> {
    let all = futures_util::future::join_all((0..50).map(|_| send(client))).await;
    all.iter().map(|evidence| evidence.status().unwrap_or(0)).collect()
}

#[tokio::test]
async fn concurrent_attempts_with_an_expired_token_log_in_once() {
    let (api, settings) = api().await;
    let renewals = Renewals::default();
    let client = ApiClient::with_refresh(&settings, login(), renewals.hook()).unwrap();
    assert_eq!(send_fifty(&client).await, [200; 50]);
    assert_eq!(api.logins.load(Ordering::SeqCst), 1, "one login for all");

    api.expire();
    skip(Duration::from_secs(10)).await;
    assert!(send_fifty(&client).await.contains(&401));
    assert_eq!(send_fifty(&client).await, [200; 50]);
    assert_eq!(api.logins.load(Ordering::SeqCst), 2, "one more after the token expired");
    assert_eq!(renewals.take(), [Ok(()), Ok(())]);
}

#[tokio::test]
async fn no_second_login_and_no_post_within_ten_seconds() {
    let (api, settings) = api().await;
    let client = ApiClient::new(&settings, login()).unwrap();
    assert_eq!(send(&client).await, answer(200, b""));
    api.expire();
    assert_eq!(send(&client).await, answer(401, b""));
    let rejected = "the API rejected the token of the last login; check the rights of api.login";
    assert_eq!(client.send(&Bytes::new()).await, (no_token(rejected, None), Duration::ZERO));
    assert_eq!((api.logins.load(Ordering::SeqCst), api.posts.load(Ordering::SeqCst)), (1, 2));
    skip(Duration::from_secs(10)).await;
    assert_eq!(send(&client).await, answer(200, b""));
    assert_eq!(api.logins.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn failed_login_is_no_token_for_any_status() {
    let put_off = |status| RefreshError::LoginPutOff { status };
    let refused = |status| RefreshError::LoginRefused { status };
    let rows = [
        ((400, None, ""), refused(400)),
        ((401, None, ""), refused(401)),
        ((403, None, ""), refused(403)),
        ((404, None, ""), refused(404)),
        ((302, None, ""), refused(302)),
        ((200, None, "{}"), RefreshError::LoginWithoutToken),
        ((200, None, "{\"token\":\" \"}"), RefreshError::LoginWithoutToken),
        ((200, None, "<html>"), RefreshError::LoginWithoutToken),
        ((429, Some("9"), ""), put_off(429)),
        ((503, Some("9"), ""), put_off(503)),
        ((503, None, ""), put_off(503)),
        ((408, None, ""), put_off(408)),
        ((500, None, ""), put_off(500)),
        ((502, None, ""), put_off(502)),
    ];
    for (failure, error) in rows {
        let (api, settings) = api().await;
        *api.login_failure.lock().unwrap() = Some(failure);
        let renewals = Renewals::default();
        let client = ApiClient::with_refresh(&settings, login(), renewals.hook()).unwrap();
        let evidence = no_token(&error.to_string(), failure.1.map(|_| Duration::from_secs(9)));
        assert_eq!(send(&client).await, evidence, "{failure:?}");
        assert_eq!(send(&client).await, evidence, "{failure:?}, without another login");
        assert_eq!((api.logins.load(Ordering::SeqCst), api.posts.load(Ordering::SeqCst)), (1, 0));
        assert_eq!(renewals.take(), [Err(error)]);
    }
}

#[tokio::test]
async fn login_without_response_is_no_token() {
    let (refused, _held) = refusing();
    let (hangs, _) = scripted(Reply::Hang(Vec::new())).await;
    let (breaks, _) = scripted(Reply::Write(Vec::new())).await;
    let rows = [
        (refused, RefreshError::LoginNotSent(NotSent::Connect)),
        (hangs, RefreshError::LoginNoAnswer),
        (breaks, RefreshError::LoginNoAnswer),
    ];
    for (address, error) in rows {
        let renewals = Renewals::default();
        let settings = ApiSettings { timeout: Duration::from_millis(200), ..settings(format!("http://{address}")) };
        let client = ApiClient::with_refresh(&settings, login(), renewals.hook()).unwrap();
        assert_eq!(send(&client).await, no_token(&error.to_string(), None));
        assert_eq!(renewals.take(), [Err(error)]);
    }
}

/// A temporary file.
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
async fn token_file_is_read_at_once_after_an_unauthorized_answer() {
    let (api, settings) = api().await;
    let (file, renewals) = (File::new("t0\n"), Renewals::default());
    let client = ApiClient::with_refresh(&settings, Credentials::TokenFile(file.0.clone()), renewals.hook()).unwrap();
    assert_eq!(send(&client).await, answer(200, b""));
    api.expire();
    assert_eq!(send(&client).await, answer(401, b""));
    file.write("Bearer t1\n");
    assert_eq!(send(&client).await, answer(200, b""));
    assert_eq!(renewals.take(), [Ok(())]);
}

#[tokio::test]
async fn login_token_is_read_from_the_header_without_a_body() {
    let (api, settings) = api().await;
    api.in_header.store(true, Ordering::SeqCst);
    let client = ApiClient::new(&settings, login()).unwrap();
    assert_eq!(send(&client).await, answer(200, b""));
}

#[tokio::test]
async fn login_token_after_a_byte_order_mark_is_read() {
    let (api, settings) = api().await;
    *api.login_failure.lock().unwrap() = Some((200, None, "\u{feff}{\"token\":\"t0\"}"));
    let client = ApiClient::new(&settings, login()).unwrap();
    assert_eq!(send(&client).await, answer(200, b""));
}

#[tokio::test]
async fn changed_password_is_reported_when_a_login_is_allowed() {
    let (api, settings) = api().await;
    let file = File::new("s3cret\n");
    let (path, login) = ("/api/auth/login".into(), "user".into());
    let password_file = Some(file.0.clone());
    let credentials = Credentials::Login { path, login, password: "s3cret".into(), password_file };
    let client = ApiClient::new(&settings, credentials).unwrap();
    *api.password.lock().unwrap() = Some("new");
    let refused = RefreshError::LoginRefused { status: 401 }.to_string();
    assert_eq!(send(&client).await, no_token(&refused, None));

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
    assert!(timeout(Duration::from_secs(60), client.credential_changed()).await.is_err(), "the new password is in use");
}

#[tokio::test]
async fn empty_password_file_leaves_the_password_in_use() {
    let (api, settings) = api().await;
    let (file, renewals) = (File::new(" \n"), Renewals::default());
    let (path, login) = ("/api/auth/login".into(), "user".into());
    let password_file = Some(file.0.clone());
    let credentials = Credentials::Login { path, login, password: "s3cret".into(), password_file };
    let client = ApiClient::with_refresh(&settings, credentials, renewals.hook()).unwrap();
    assert_eq!(send(&client).await, answer(200, b""));
    assert_eq!(renewals.take(), [Err(RefreshError::PasswordEmpty { path: file.0.clone() }), Ok(())]);
    assert_eq!(api.logins.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn credential_without_a_file_never_changes() {
    for credentials in [token("t"), login()] {
        let client = ApiClient::new(&settings("http://h"), credentials).unwrap();
        assert!(timeout(Duration::from_secs(3_600), client.credential_changed()).await.is_err());
    }
}
