//! `edna-courier sandbox`

use std::{net::SocketAddr, time::Duration};

use clap::Args;

use super::{Exit, output, run::Stop, runtime};
use crate::sandbox::{Options, Sandbox};

/// What `sandbox` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The one token that it accepts, besides those that it issues at a login; without it, any.
    #[arg(long)]
    token: Option<String>,
    /// How long it thinks before it answers, in milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    latency_ms: u64,
}

pub(super) fn execute(arguments: &Arguments) -> Exit {
    runtime().and_then(|runtime| runtime.block_on(serve(arguments))).unwrap_or_else(|exit| exit)
}

async fn serve(arguments: &Arguments) -> Result<Exit, Exit> {
    let mut stop = Stop::listen().map_err(failed)?;
    let latency = Duration::from_millis(arguments.latency_ms);
    let options = Options { token: arguments.token.clone().map(Into::into), latency, ..Options::default() };
    let sandbox = Sandbox::start(arguments.listen, options).map_err(failed)?;
    output::line(&format!("the sandbox listens on http://{}", sandbox.addr()));
    stop.asked().await;
    sandbox.stop().await.map_err(failed)?;
    Ok(Exit::Done)
}

fn failed(problem: std::io::Error) -> Exit {
    output::problem(&format!("the sandbox: {problem}"));
    Exit::Failed
}
