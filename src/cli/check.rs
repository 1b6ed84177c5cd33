//! `edna-courier check`

use clap::Args;
use serde_json::json;

use super::{Exit, output};
use crate::config::{Config, Sources};

/// What `check` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Tells it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(arguments: &Arguments, sources: &Sources) -> Exit {
    match Config::load(sources) {
        Ok(_) if arguments.json => output::json(&json!({"ok": true, "mistakes": []})),
        Ok(config) => {
            let hosts: Vec<_> = config.broker.uris.iter().map(|uri| uri.authority.host.as_str()).collect();
            let (hosts, api) = (hosts.join(", "), &config.api.base_url);
            output::line(&format!("the configuration is sound: commands from {hosts}, posted to {api}"));
        }
        Err(mistakes) => {
            if arguments.json {
                output::json(&json!({"ok": false, "mistakes": mistakes}));
            } else {
                output::problem(&mistakes);
            }
            return Exit::Configuration;
        }
    }
    Exit::Done
}
