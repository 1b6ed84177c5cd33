//! `edna-courier pause`, `resume` and `status`: requests to the admin server of a running daemon.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{Exit, exit::failed, output, runtime};
use crate::config::{AdminSettings, Sources};

/// Includes connecting. A working daemon answers within milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct ControlArgs {
    /// Address of the admin server [default: admin.listen].
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum ControlAction {
    Pause,
    Resume,
    Status,
}

impl ControlAction {
    const fn request(self) -> (Method, &'static str) {
        match self {
            Self::Pause => (Method::POST, "pause"),
            Self::Resume => (Method::POST, "resume"),
            Self::Status => (Method::GET, "status"),
        }
    }
}

pub(super) fn execute(action: ControlAction, args: &ControlArgs, sources: &Sources) -> Result<Exit, Exit> {
    let admin = AdminSettings::load(sources).map_err(|mistakes| Exit::Configuration.because(mistakes))?;
    let address = args.admin.unwrap_or(admin.listen);
    let (status, body) = runtime::block_on(async {
        request(action, address, admin.token.as_ref()).await.map_err(|error| {
            let remedy = "check that the daemon is running, and that admin.listen (or --admin) is its address";
            Exit::Unreachable.because(format!("no answer from {address}: {}; {remedy}", error.without_url()))
        })
    })?;
    if !status.is_success() {
        let (status, body) = (status.as_u16(), body.trim());
        return Err(failed(format!("the daemon on {address} refused the request with HTTP {status}: {body}")));
    }
    match action {
        ControlAction::Status if args.json => output::print(&body),
        ControlAction::Status => print_status(&serde_json::from_str(&body).unwrap_or_default()),
        ControlAction::Pause | ControlAction::Resume if args.json => output::print_json(&json!({"ok": true})),
        ControlAction::Pause | ControlAction::Resume => output::print(&body.trim()),
    }
    Ok(Exit::Success)
}

async fn request(
    action: ControlAction,
    address: SocketAddr,
    token: Option<&SecretString>,
) -> Result<(StatusCode, String), reqwest::Error> {
    // The admin server speaks no TLS: the system needs no CA certificates.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(TIMEOUT).build()?;
    let (method, path) = action.request();
    let mut request = client.request(method, format!("http://{address}/{path}"));
    if let Some(token) = token {
        request = request.bearer_auth(token.expose_secret());
    }
    let response = request.send().await?;
    Ok((response.status(), response.text().await?))
}

fn print_status(status: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let gate = &status["gate"];
    let reasons: Vec<_> = gate["reasons"].as_array().into_iter().flatten().map(text).collect();
    let gate_state = if reasons.is_empty() { "open".to_owned() } else { format!("closed by {}", reasons.join(", ")) };
    output::print(&format!("version       {}, up {} s", text(&status["version"]), status["uptime_seconds"]));
    output::print(&format!("gate          {gate_state}"));
    for (reason, problem) in gate["problems"].as_object().into_iter().flatten() {
        output::print(&format!("              {reason}: {}", text(problem)));
    }
    for role in ["consume", "publish"] {
        let since = status.pointer(&format!("/links/{role}/connected_since")).and_then(Value::as_str);
        let connection = since.map_or_else(|| "not connected".to_owned(), |since| format!("connected since {since}"));
        output::print(&format!("{role:<13} {connection}"));
    }
    if let Some(problem) = status["topology_problem"].as_str() {
        output::print(&format!("topology      {problem}"));
    }
    output::print(&format!(
        "consumer      {}",
        if status["consumer_active"] == true { "active" } else { "not active" }
    ));
    output::print(&format!("in hand       {} commands, {} of them in flight", status["in_hand"], status["in_flight"]));
    let last = &status["last_success"];
    output::print(&format!("last success  {}", if last.is_null() { "none yet".to_owned() } else { text(last) }));
}
