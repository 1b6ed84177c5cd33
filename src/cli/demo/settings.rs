//! The configuration of the demo: `[broker]`, `[admin]` and `[log]` come from the user, everything else is fixed.

use std::{collections::HashMap, net::SocketAddr};

use crate::config::{Config, Mistakes, Sources};

/// The start of every demo's `broker.prefix`. The demo removes only exchanges and queues with this prefix.
pub(super) const PREFIX: &str = "edna-demo-";
/// The token that the sandbox accepts.
pub(super) const TOKEN: &str = "demo-token";

/// Without a journal, which would stay behind and contain the ids of the next demo, and without a proxy of the environment,
/// which could not reach the sandbox.
const SETTINGS: [(&str, &str); 5] = [
    ("ADMIN__LISTEN", "127.0.0.1:0"),
    ("LOG__LEVEL", "error"),
    ("DELIVERY__DRAIN", "10s"),
    ("JOURNAL__KIND", "none"),
    ("API__PROXY", "none"),
];

/// Sets a new, random prefix, which no variable or file can override, so that the demo may remove everything with it.
pub(super) fn load(sources: &Sources, sandbox: SocketAddr) -> Result<Config, Mistakes> {
    let base_url = format!("http://{sandbox}");
    let api = [("API__BASE_URL", base_url.as_str()), ("API__TOKEN", TOKEN)];
    let fixed = SETTINGS.into_iter().chain(api).map(|(key, value)| (format!("EDNA_COURIER__{key}"), value.to_owned()));
    let fixed = Sources { file: None, environment: fixed.collect::<HashMap<_, _>>(), ..Sources::default() };
    let mut config = Config::load(&fixed)?.with_overrides(sources)?;
    config.broker.prefix = format!("{PREFIX}{:08x}", fastrand::u32(..));
    // The demo declares the topology itself. The daemon must not declare it again after the removal.
    config.broker.declare = false;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::telemetry::logging::LogFormat;

    fn sandbox() -> SocketAddr {
        ([127, 0, 0, 1], 8080).into()
    }

    fn load_with(variables: &[(&str, &str)], file: Option<&str>) -> Config {
        let path = std::env::temp_dir().join(format!("edna-demo-{}.toml", uuid::Uuid::new_v4()));
        let file = file.map(|text| fs::write(&path, text).map(|()| PathBuf::from(&path)).unwrap());
        let environment = variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let sources = Sources { file: file.clone(), environment: environment.collect(), ..Sources::default() };
        let config = load(&sources, sandbox());
        file.iter().for_each(|path| fs::remove_file(path).unwrap());
        config.unwrap()
    }

    fn has_fixed_settings(config: &Config) -> bool {
        let is_sandbox = config.api.base_url == format!("http://{}", sandbox());
        is_sandbox && config.broker.prefix.starts_with(PREFIX) && !config.broker.declare
    }

    #[test]
    fn prefix_declare_and_api_cannot_be_overridden() {
        let variables = [
            ("EDNA_COURIER__BROKER__PREFIX", "prod"),
            ("EDNA_COURIER__BROKER__DECLARE", "true"),
            ("EDNA_COURIER__API__BASE_URL", "https://prod"),
        ];
        assert!(has_fixed_settings(&load_with(&variables, None)));
        let file = "[broker]\nprefix = \"prod\"\ndeclare = true\n[api]\nbase_url = \"https://prod\"\nlogin = \"me\"\n";
        assert!(has_fixed_settings(&load_with(&[], Some(file))));
    }

    #[test]
    fn only_broker_admin_and_log_come_from_the_user() {
        let file = "[broker]\nurl = [\"amqp://one\", \"amqp://two\"]\n[admin]\nlisten = \"127.0.0.1:9\"\n\
                    [log]\nlevel = \"debug\"\nformat = \"json\"\n[limits]\nmax_in_flight = 1\n[journal]\nkind = \"no\"\n";
        let config = load_with(&[], Some(file));
        let hosts: Vec<_> = config.broker.uris.iter().map(|uri| uri.authority.host.as_str()).collect();
        assert_eq!((hosts.as_slice(), config.admin.listen.port()), (["one", "two"].as_slice(), 9));
        assert_eq!((config.log.level.as_str(), config.log.format), ("debug", LogFormat::Json));
        assert_eq!(config.limits.concurrency.max(), 64);
        assert_eq!(load_with(&[("EDNA_COURIER__LOG__LEVEL", "warn")], Some(file)).log.level, "warn");
    }

    #[test]
    fn without_sources_log_is_quiet_and_port_is_free() {
        let config = load_with(&[], None);
        assert_eq!((config.log.level.as_str(), config.admin.listen.port()), ("error", 0));
    }
}
