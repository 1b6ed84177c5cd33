//! Tests of the whole configuration, from sources to settings or mistakes.

mod arbitrary;
mod document;
mod invalid;
mod transport;

use std::{fs, path::PathBuf, time::Duration};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use secrecy::ExposeSecret;

use super::{Config, Mistakes, Sources, reference, sections};
use crate::{domain::command::OnUncertain, edna::Credentials};

const MINIMAL: [(&str, &str); 2] = [("API__BASE_URL", "http://localhost:8080"), ("API__TOKEN", "s3cret-token")];

/// A temporary directory, removed on drop.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("edna-config-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn sources(file: Option<&str>, variables: &[(&str, &str)]) -> Sources {
    let environment = variables.iter().map(|(key, value)| (format!("EDNA_COURIER__{key}"), (*value).to_owned()));
    Sources { file: file.map(PathBuf::from), environment: environment.collect(), ..Sources::default() }
}

fn load(variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
    Config::load(&sources(None, &[&MINIMAL, variables].concat()))
}

/// The mistakes as texts.
fn mistakes(result: Result<Config, Mistakes>) -> Vec<String> {
    result.unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn load_minimal_uses_defaults() {
    let config = load(&[]).unwrap();
    assert_eq!(config.broker.uris[0].authority.port, 5_672);
    assert_eq!((config.broker.uris[0].vhost.as_str(), config.broker.prefix.as_str()), ("/", "edna"));
    assert_eq!((config.delivery.max_attempts, config.delivery.on_uncertain), (8, OnUncertain::Resend));
    assert_eq!((config.limits.concurrency.max(), config.limits.prefetch()), (64, 96));
    let widest = load(&[("LIMITS__MAX_IN_FLIGHT", "10000")]).unwrap().limits;
    assert_eq!((widest.concurrency.max(), widest.prefetch()), (10_000, 15_000));
    assert_eq!(config.api.timeout, Duration::from_secs(30));
    assert_eq!(config.api.keep_alive, crate::edna::ApiSettings::default().pool_idle_timeout);
    assert_eq!(config.api.statuses, crate::domain::verdict::StatusLists::default());
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9464");
    assert!(matches!(config.api.credentials, Credentials::Token(token) if token.expose_secret() == "s3cret-token"));
}

#[test]
fn defaults_are_accepted_as_values() {
    let defaults = reference().iter().filter_map(|setting| Some((setting.path, setting.default?)));
    for (path, default) in defaults.filter(|(_, default)| !default.is_empty()) {
        let key = path.to_uppercase().replace('.', "__");
        if path != "api.login_path" {
            assert!(load(&[(&key, default)]).is_ok(), "{path} = {default}");
        }
    }
}

#[test]
fn environment_overrides_file_unless_empty() {
    let dir = TempDir::new();
    let file = dir.file(
        "a.toml",
        "[api]\nbase_url = \"http://file\"\ntoken = \"t\"\ntimeout = \"1m\"\nchannel_types = [\"A\", \"B\"]\n\
         [broker]\nurl = [\"amqp://one\", \"amqps://two/v\"]\n[delivery]\nmax_attempts = 3\n",
    );
    let variables =
        [("API__BASE_URL", "http://environment"), ("API__TIMEOUT", ""), ("API__UNCERTAIN_STATUSES", "500, 599")];
    let config = Config::load(&sources(Some(&file), &variables)).unwrap();
    assert_eq!(config.api.base_url, "http://environment");
    assert_eq!(config.api.timeout, Duration::from_secs(60));
    assert_eq!(config.api.channel_types, ["A", "B"]);
    assert_eq!(config.api.statuses.uncertain, [500, 599]);
    assert_eq!(config.broker.uris.iter().map(|uri| uri.authority.port).collect::<Vec<_>>(), [5_672, 5_671]);
    assert_eq!(config.delivery.max_attempts, 3);
}

#[test]
fn load_reports_all_mistakes_with_remedies() {
    let dir = TempDir::new();
    let file = dir.file("a.toml", "[api]\ntimout = \"5s\"\n[delivry]\ndrain = \"5s\"\n[limits]\nmax_in_flight = 0\n");
    let variables = [
        ("API__TIMEOUT", "5 lightyears"),
        ("API__UNCERTAIN_STATUSES", "500,503"),
        ("BROKER__URL", "http://x"),
        ("BROKER__PREFX", "a"),
        ("DELIVERY__ON_UNCERTAIN", "maybe"),
        ("DELIVERY__ORDER", "channel"),
        ("EVENTS__REPLIES", "yes"),
        ("ADMIN__LISTEN", "nine"),
        ("LOG__LEVEL", "loud"),
    ];
    let reported = mistakes(Config::load(&sources(Some(&file), &variables)));
    for expected in [
        &format!("api.timout ({file}): is not a setting; the nearest is api.timeout"),
        &format!("delivry.drain ({file}): is not a setting; the nearest is delivery.drain"),
        "broker.prefx (environment variable EDNA_COURIER__BROKER__PREFX): is not a setting; the nearest is broker.prefix",
        &format!("limits.max_in_flight = \"0\" ({file}): must be a whole number from 1 to 10000"),
        "api.timeout = \"5 lightyears\" (environment variable EDNA_COURIER__API__TIMEOUT): is not a duration; \
         write 500ms, 5s, 2m, 1h or 3d",
        "api.retry_statuses: lists 503, and so does api.uncertain_statuses; remove it from one of them",
        "delivery.on_uncertain = \"maybe\" (environment variable EDNA_COURIER__DELIVERY__ON_UNCERTAIN): \
         must be resend or park",
        "api.base_url: is required: the address of the API, as in https://name.edna.io",
        "api.token: is required: set api.token, api.token_file, or api.login and api.password",
    ] {
        assert!(reported.iter().any(|mistake| mistake == expected), "missing: {expected}\nin: {reported:#?}");
    }
    for path in ["broker.url", "delivery.order", "events.replies", "admin.listen", "log.level"] {
        assert!(reported.iter().any(|mistake| mistake.starts_with(path)), "{path} is missing in {reported:#?}");
    }
}

#[test]
fn secret_from_file_is_hidden_in_debug() {
    let dir = TempDir::new();
    let (token, url) = (dir.file("token", "s3cret-token\n"), dir.file("url", "amqp://me:s3cret-pass@host\n"));
    let variables = [("API__BASE_URL", "http://h"), ("API__TOKEN_FILE", &token), ("BROKER__URL_FILE", &url)];
    let config = Config::load(&sources(None, &variables)).unwrap();
    assert_eq!(config.broker.uris[0].authority.userinfo.password, "s3cret-pass");
    assert!(matches!(&config.api.credentials, Credentials::TokenFile(path) if path.display().to_string() == token));
    assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
    let login = [("API__BASE_URL", "http://h"), ("API__LOGIN", "me"), ("API__PASSWORD", "s3cret-pass")];
    let config = Config::load(&sources(None, &login)).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
}

#[test]
fn mistake_in_secret_hides_the_secret() {
    let dir = TempDir::new();
    let (empty, two_words) = (dir.file("empty", "\n"), dir.file("two", "one s3cret\n"));
    let broken = dir.file("a.toml", "[api]\ntoken = \"s3cret\n");
    for (result, path) in [
        (load(&[("BROKER__URL", "ampq://me:s3cret@host")]), "broker.url"),
        (load(&[("BROKER__URL", "amqp://me:s3cret@[::1]")]), "broker.url"),
        (load(&[("API__PASSWORD", "s3cret")]), "api.token"),
        (load(&[("BROKER__URL", "amqp://me:s3cret@host/")]), "broker.url"),
        (load(&[("BROKER__URL_FILE", "amqp://me:s3cret-host")]), "broker.url_file"),
        (load(&[("API__TOKEN_FILE", &empty)]), "api.token"),
        (load(&[("API__TOKEN_FILE", "s3cret")]), "api.token_file"),
        (load(&[("API__TOKEN_FILE", &two_words)]), "api.token_file"),
        (load(&[("API__TOKEN", "s3cret two")]), "api.token"),
        (load(&[("API__TOKEN", "s3crét")]), "api.token"),
        (load(&[("API__TOKEN", " ")]), "api.token"),
        (load(&[("API__TOKEN", "Bearer")]), "api.token"),
        (load(&[("API__BASE_URL", "http://me:s3cret@host")]), "api.base_url"),
        (load(&[("API__BASE_URL", "http://host/?token=s3cret")]), "api.base_url"),
        (Config::load(&sources(Some(&broken), &MINIMAL)), broken.as_str()),
    ] {
        let reported = mistakes(result);
        let place = format!("{path} (");
        assert!(
            reported.iter().any(|mistake| mistake.starts_with(&place)) || reported[0].starts_with(&broken),
            "{reported:?}"
        );
        assert!(!reported.concat().contains("s3c"), "{reported:?}");
    }
}

#[test]
fn files_missing_or_unpaired_are_mistakes() {
    let dir = TempDir::new();
    let cert = dir.file("cert.pem", "x");
    let absent = dir.0.join("absent").display().to_string();
    for (variables, path) in [
        (vec![("BROKER__CERT_FILE", cert.as_str())], "broker.cert_file"),
        (vec![("BROKER__CA_FILE", absent.as_str())], "broker.ca_file"),
        (vec![("API__CA_FILE", absent.as_str())], "api.ca_file"),
        (vec![("API__TOKEN_FILE", absent.as_str())], "api.token"),
    ] {
        let reported = mistakes(load(&variables));
        assert!(reported.iter().any(|mistake| mistake.starts_with(path)), "{path}: {reported:?}");
    }
    let reported = mistakes(Config::load(&sources(Some(&absent), &MINIMAL)));
    assert!(reported[0].starts_with(&absent) && reported[0].contains("--config"), "{reported:?}");
}

#[test]
fn pem_files_of_wrong_content_are_mistakes() {
    let dir = TempDir::new();
    let ca = dir.file("ca.pem", include_str!("../edna/tests/ca.pem"));
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["client".to_owned()]).unwrap();
    let (cert, key) = (dir.file("cert.pem", &cert.pem()), dir.file("key.pem", &signing_key.serialize_pem()));
    let text = dir.file("text", "hello\n");
    let right =
        [("API__CA_FILE", &*ca), ("BROKER__CA_FILE", &*ca), ("BROKER__CERT_FILE", &*cert), ("BROKER__KEY_FILE", &*key)];
    let config = load(&right).unwrap();
    assert!(
        config.api.ca_file.is_some() && config.broker.tls.cert_chain.is_some() && config.broker.tls.identity.is_some()
    );

    for wrong in [&text, &key] {
        for index in 0..3 {
            let (mut variables, path) = (right, ["api.ca_file", "broker.ca_file", "broker.cert_file"][index]);
            variables[index].1 = wrong;
            let [mistake] = mistakes(load(&variables)).try_into().unwrap();
            assert!(
                mistake.starts_with(&format!("{path} = {wrong:?} (")) && mistake.contains("holds no PEM certificate"),
                "{mistake}"
            );
        }
    }
    for wrong in [&text, &ca] {
        let mut variables = right;
        variables[3].1 = wrong;
        let [mistake] = mistakes(load(&variables)).try_into().unwrap();
        assert!(mistake.starts_with("broker.key_file = ") && mistake.contains("holds no PEM private key"), "{mistake}");
    }
}

#[test]
fn descriptor_field_of_another_field_is_a_mistake() {
    assert_eq!(load(&[("API__DESCRIPTOR_FIELD", "device")]).unwrap().api.descriptor_field, "device");
    for taken in ["text", "attachments"] {
        let [mistake] = mistakes(load(&[("API__DESCRIPTOR_FIELD", taken)])).try_into().unwrap();
        assert!(mistake.starts_with(&format!("api.descriptor_field = {taken:?} (")), "{mistake}");
    }
}

#[test]
fn broker_url_mistake_is_reported_once() {
    let dir = TempDir::new();
    let url = dir.file("url", "\namqp://one/v\r\n\namqp://two\n");
    let uris = load(&[("BROKER__URL_FILE", &url)]).unwrap().broker.uris;
    assert_eq!(uris.iter().map(|uri| uri.vhost.as_str()).collect::<Vec<_>>(), ["v", "/"]);
    let nothing = dir.file("nothing", " , \n");
    for variable in [("BROKER__URL", "http://x"), ("BROKER__URL", ","), ("BROKER__URL_FILE", &nothing)] {
        let [mistake] = mistakes(load(&[variable])).try_into().unwrap();
        assert!(mistake.starts_with("broker.url"), "{mistake}");
    }
}
