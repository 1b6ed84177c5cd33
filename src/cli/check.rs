//! `edna-courier check`

use clap::Args;
use serde_json::json;

use super::{Exit, output};
use crate::config::{Config, Sources};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &CheckArgs, sources: &Sources) -> Result<Exit, Exit> {
    match Config::load(sources) {
        Ok(_) if args.json => output::print_json(&json!({"ok": true, "mistakes": []})),
        Ok(config) => {
            let hosts: Vec<_> = config.broker.uris.iter().map(|uri| uri.authority.host.as_str()).collect();
            let (hosts, api) = (hosts.join(", "), &config.api.base_url);
            output::print(&format!("the configuration is valid: RabbitMQ at {hosts}, API at {api}"));
        }
        Err(mistakes) if args.json => {
            output::print_json(&json!({"ok": false, "mistakes": mistakes}));
            return Err(Exit::Configuration);
        }
        Err(mistakes) => return Err(Exit::Configuration.because(mistakes)),
    }
    Ok(Exit::Success)
}
