//! `edna-courier sandbox`

use std::{net::SocketAddr, time::Duration};

use clap::Args;

use super::{Exit, exit, output, runtime, signals::StopSignals};
use crate::sandbox::{Options, Sandbox};

#[derive(Debug, Args)]
pub(super) struct SandboxArgs {
    /// Address to listen on; port 0 takes a free port.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Accepts this token and the tokens issued by logins, and no other [default: accepts any token].
    #[arg(long)]
    token: Option<String>,
    /// Delay before each answer, in milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    latency_ms: u64,
}

pub(super) fn execute(args: &SandboxArgs) -> Result<Exit, Exit> {
    runtime::block_on(serve(args))
}

async fn serve(args: &SandboxArgs) -> Result<Exit, Exit> {
    let mut signals = StopSignals::listen().map_err(failed)?;
    let latency = Duration::from_millis(args.latency_ms);
    let options = Options { token: args.token.clone().map(Into::into), latency, ..Options::default() };
    let sandbox = Sandbox::start(args.listen, options).map_err(failed)?;
    output::print(&format!("the sandbox listens on http://{}", sandbox.addr()));
    signals.recv().await;
    sandbox.stop().await.map_err(failed)?;
    Ok(Exit::Success)
}

fn failed(error: std::io::Error) -> Exit {
    exit::failed(format!("sandbox: {error}"))
}
