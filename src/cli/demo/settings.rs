//! The demo's settings: where it runs is the user's choice, the rest its own.

use std::{collections::HashMap, net::SocketAddr};

use super::{TOKEN, failed};
use crate::{
    cli::Exit,
    config::{Config, Mistakes, Sources},
};

/// What the names of every demo start with: only they are removed.
pub(super) const PREFIX: &str = "edna-demo-";

/// Where nobody else says otherwise. A short drain: what the demo sends is over quickly, or not at all. No journal: it would
/// be left behind, and know the commands of the next demo.
const OWN: [(&str, &str); 4] =
    [("ADMIN__LISTEN", "127.0.0.1:0"), ("LOG__LEVEL", "error"), ("DELIVERY__DRAIN", "10s"), ("JOURNAL__KIND", "none")];

/// `[broker]`, `[admin]` and `[log]` are the user's. Not the prefix: it is new each time and shared with nobody, so that
/// everything can be removed at the end; it is set here, where no variable or file can overrule it.
pub(super) fn load(sources: &Sources, sandbox: SocketAddr) -> Result<Config, Exit> {
    merged(sources, sandbox).map_err(|mistakes| {
        failed(mistakes);
        Exit::Configuration
    })
}

fn merged(sources: &Sources, sandbox: SocketAddr) -> Result<Config, Mistakes> {
    let base_url = format!("http://{sandbox}");
    let api = [("API__BASE_URL", base_url.as_str()), ("API__TOKEN", TOKEN)];
    let own = OWN.into_iter().chain(api).map(|(key, value)| (format!("EDNA_COURIER__{key}"), value.to_owned()));
    let own = Sources { file: None, environment: own.collect::<HashMap<_, _>>(), ..Sources::default() };
    let mut config = Config::load(&own)?.in_surroundings_of(sources)?;
    config.broker.prefix = format!("{PREFIX}{:08x}", fastrand::u32(..));
    // The demo itself declares, and removes, and then the daemon must not declare again.
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

    fn with(variables: &[(&str, &str)], file: Option<&str>) -> Config {
        let path = std::env::temp_dir().join(format!("edna-demo-{}.toml", uuid::Uuid::new_v4()));
        let file = file.map(|text| fs::write(&path, text).map(|()| PathBuf::from(&path)).unwrap());
        let environment = variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let config = merged(
            &Sources { file: file.clone(), environment: environment.collect(), ..Sources::default() },
            sandbox(),
        );
        file.iter().for_each(|path| fs::remove_file(path).unwrap());
        config.unwrap()
    }

    fn is_the_demos_own(config: &Config) -> bool {
        let is_sandbox = config.api.base_url == format!("http://{}", sandbox());
        is_sandbox && config.broker.prefix.starts_with(PREFIX) && !config.broker.declare
    }

    #[test]
    fn nobody_overrules_prefix_declare_and_api() {
        let variables = [
            ("EDNA_COURIER__BROKER__PREFIX", "prod"),
            ("EDNA_COURIER__BROKER__DECLARE", "true"),
            ("EDNA_COURIER__API__BASE_URL", "https://prod"),
        ];
        assert!(is_the_demos_own(&with(&variables, None)));
        let file = "[broker]\nprefix = \"prod\"\ndeclare = true\n[api]\nbase_url = \"https://prod\"\nlogin = \"me\"\n";
        assert!(is_the_demos_own(&with(&[], Some(file))));
    }

    #[test]
    fn broker_admin_and_log_of_the_file_count_and_nothing_else_of_it() {
        let file = "[broker]\nurl = [\"amqp://one\", \"amqp://two\"]\n[admin]\nlisten = \"127.0.0.1:9\"\n\
                    [log]\nlevel = \"debug\"\nformat = \"json\"\n[limits]\nmax_in_flight = 1\n[journal]\nkind = \"no\"\n";
        let config = with(&[], Some(file));
        let hosts: Vec<_> = config.broker.uris.iter().map(|uri| uri.authority.host.as_str()).collect();
        assert_eq!((hosts.as_slice(), config.admin.listen.port()), (["one", "two"].as_slice(), 9));
        assert_eq!((config.log.level.as_str(), config.log.format), ("debug", LogFormat::Json));
        assert_eq!(config.limits.concurrency.most(), 64);
        assert_eq!(with(&[("EDNA_COURIER__LOG__LEVEL", "warn")], Some(file)).log.level, "warn");
    }

    #[test]
    fn without_settings_it_is_quiet_and_takes_a_free_port() {
        let config = with(&[], None);
        assert_eq!((config.log.level.as_str(), config.admin.listen.port()), ("error", 0));
    }
}
