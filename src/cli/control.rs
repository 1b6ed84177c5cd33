//! `edna-courier pause`, `resume` and `status`: talk to a running daemon through its admin server.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{Exit, output, runtime};
use crate::config::{Admin, Sources};

/// The daemon answers at once or is in trouble.
const PATIENCE: Duration = Duration::from_secs(10);

/// What these commands take.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the daemon's admin server listens; else the setting admin.listen.
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
    /// Tells it as JSON.
    #[arg(long)]
    json: bool,
}

/// What the daemon is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Pause,
    Resume,
    Status,
}

impl Question {
    const fn request(self) -> (Method, &'static str) {
        match self {
            Self::Pause => (Method::POST, "pause"),
            Self::Resume => (Method::POST, "resume"),
            Self::Status => (Method::GET, "status"),
        }
    }
}

pub(super) fn execute(question: Question, arguments: &Arguments, sources: &Sources) -> Exit {
    ask(question, arguments, sources).unwrap_or_else(|exit| exit)
}

fn ask(question: Question, arguments: &Arguments, sources: &Sources) -> Result<Exit, Exit> {
    let admin = Admin::load(sources).map_err(|mistakes| {
        output::problem(&mistakes);
        Exit::Configuration
    })?;
    let address = arguments.admin.unwrap_or(admin.listen);
    let (status, body) = runtime()?.block_on(answer(question, address, admin.token.as_ref())).map_err(|error| {
        let remedy = "is it running, and is admin.listen (or --admin) its address?";
        output::problem(&format!("no daemon answers on {address}: {}; {remedy}", error.without_url()));
        Exit::Unreachable
    })?;
    if !status.is_success() {
        output::problem(&format!("the daemon on {address} refuses (HTTP {}): {}", status.as_u16(), body.trim()));
        return Err(Exit::Failed);
    }
    match question {
        Question::Status if arguments.json => output::line(&body),
        Question::Status => show(&serde_json::from_str(&body).unwrap_or_default()),
        Question::Pause | Question::Resume if arguments.json => output::json(&json!({"ok": true})),
        Question::Pause | Question::Resume => output::line(&body.trim()),
    }
    Ok(Exit::Done)
}

async fn answer(
    question: Question,
    address: SocketAddr,
    token: Option<&SecretString>,
) -> Result<(StatusCode, String), reqwest::Error> {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let (method, path) = question.request();
    let mut request = client.request(method, format!("http://{address}/{path}"));
    if let Some(token) = token {
        request = request.bearer_auth(token.expose_secret());
    }
    let response = request.send().await?;
    Ok((response.status(), response.text().await?))
}

/// A few lines for a person.
fn show(status: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let gate = &status["gate"];
    let reasons: Vec<_> = gate["reasons"].as_array().into_iter().flatten().map(text).collect();
    let gate_is = if reasons.is_empty() { "open".to_owned() } else { format!("closed by {}", reasons.join(", ")) };
    output::line(&format!("version       {}, up {} s", text(&status["version"]), status["uptime_seconds"]));
    output::line(&format!("gate          {gate_is}"));
    for (reason, problem) in gate["problems"].as_object().into_iter().flatten() {
        output::line(&format!("              {reason}: {}", text(problem)));
    }
    for role in ["consume", "publish"] {
        let since = status.pointer(&format!("/links/{role}/connected_since")).and_then(Value::as_str);
        let link = since.map_or_else(|| "not connected".to_owned(), |since| format!("connected since {since}"));
        output::line(&format!("{role:<13} {link}"));
    }
    if let Some(problem) = status["topology_problem"].as_str() {
        output::line(&format!("topology      {problem}"));
    }
    output::line(&format!("consumer      {}", if status["consumer_active"] == true { "active" } else { "not active" }));
    output::line(&format!("in hand       {}, {} of them in flight", status["in_hand"], status["in_flight"]));
    let last = &status["last_success"];
    output::line(&format!("last success  {}", if last.is_null() { "none yet".to_owned() } else { text(last) }));
}
