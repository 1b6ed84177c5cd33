//! `[api]`

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

use super::{Sources, pem, reader::Reader};
use crate::{
    domain::verdict::StatusLists,
    edna::{self, BuildError, Credentials, Proxy},
};

const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// The connection to the API, its requests and its responses.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// `http` or `https`, with an optional path prefix.
    pub base_url: String,
    /// The path of the method, below `base_url`.
    pub path: String,
    /// A token, or a login and a password.
    pub credentials: Credentials,
    /// The JSON key of the device in the request.
    pub descriptor_field: String,
    /// For a whole attempt.
    pub timeout: Duration,
    /// For connecting, including TLS.
    pub connect_timeout: Duration,
    /// How long an idle connection stays open.
    pub keep_alive: Duration,
    /// The accepted channel types; empty accepts all.
    pub channel_types: Vec<String>,
    /// The proxy between the daemon and the API.
    pub proxy: Proxy,
    /// Certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The client certificate and its key.
    pub identity_files: Option<(PathBuf, PathBuf)>,
    /// The verdicts of HTTP statuses.
    pub statuses: StatusLists,
}

impl ApiConfig {
    /// `sources` holds the proxy variables of the environment.
    pub(super) fn read(reader: &mut Reader, sources: &Sources) -> Self {
        let ca_file = reader.file("api.ca_file", pem::authorities).and_then(|_| reader.text("api.ca_file"));
        let base_url = base_url(reader);
        Self {
            proxy: proxy(reader, sources, &base_url),
            base_url,
            path: path(reader, "api.path"),
            credentials: credentials(reader),
            descriptor_field: reader.value("api.descriptor_field", descriptor_field).unwrap_or_default(),
            timeout: reader.duration("api.timeout", Duration::from_millis(100)..=MAX_TIMEOUT).unwrap_or_default(),
            connect_timeout: reader
                .duration("api.connect_timeout", Duration::from_millis(50)..=MAX_TIMEOUT)
                .unwrap_or_default(),
            keep_alive: reader.duration("api.keep_alive", Duration::from_secs(1)..=MAX_TIMEOUT).unwrap_or_default(),
            channel_types: reader.list("api.channel_types", |text| Ok(text.to_owned())),
            ca_file: ca_file.map(PathBuf::from),
            identity_files: identity_files(reader),
            statuses: statuses(reader),
        }
    }
}

fn base_url(reader: &mut Reader) -> String {
    if !reader.is_set("api.base_url") {
        reader.mistake("api.base_url", "is required: the address of the API, as in https://name.edna.io");
    }
    reader.value("api.base_url", |text| check_url(text, "/").map(|()| text.to_owned())).unwrap_or_default()
}

fn path(reader: &mut Reader, setting: &str) -> String {
    let any_base = "http://localhost";
    reader.value(setting, |text| check_url(any_base, text).map(|()| text.to_owned())).unwrap_or_default()
}

/// Refuses the other keys of the request.
fn descriptor_field(text: &str) -> Result<String, String> {
    match text {
        "" => Err("must not be empty".to_owned()),
        "text" | "attachments" => {
            Err("is another field of the request; write clientApplicationDescriptor or applicationDescriptor"
                .to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

/// Checks a URL as the API client does.
fn check_url(base: &str, path: &str) -> Result<(), String> {
    match edna::join(base, "", path) {
        Err(BuildError::Address { problem, .. }) => Err(problem.to_owned()),
        Err(other) => Err(other.to_string()),
        Ok(_) => Ok(()),
    }
}

fn proxy(reader: &mut Reader, sources: &Sources, base_url: &str) -> Proxy {
    if !reader.is_set("api.proxy") && !reader.is_set("api.proxy_file") {
        check_proxy_variable(reader, sources, base_url);
        return Proxy::Environment;
    }
    reader.secret_value("api.proxy", |text| Proxy::parse(text).map_err(str::to_owned)).unwrap_or_default()
}

/// Reports the variable that names the proxy of this API, if it is invalid: the HTTP client would ignore it, and connect
/// directly.
fn check_proxy_variable(reader: &mut Reader, sources: &Sources, base_url: &str) {
    let is_https = base_url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
    let own = if is_https { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let Some((name, value)) = [own, ["ALL_PROXY", "all_proxy"]].iter().find_map(|names| sources.proxy_variable(names))
    else {
        return;
    };
    if let Err(problem) = Proxy::check_variable(value) {
        reader.mistake(name, format!("{problem}, or set api.proxy, which overrides this environment variable"));
    }
}

/// Both files are read here to report every mistake at start; the client reads them again.
fn identity_files(reader: &mut Reader) -> Option<(PathBuf, PathBuf)> {
    let (cert_setting, key_setting) = ("api.cert_file", "api.key_file");
    pem::identity(reader, cert_setting, key_setting)?;
    Some((reader.text(cert_setting)?.into(), reader.text(key_setting)?.into()))
}

fn credentials(reader: &mut Reader) -> Credentials {
    let by_token = ["api.token", "api.token_file"].iter().any(|path| reader.is_set(path));
    let by_login = ["api.login", "api.password", "api.password_file"].iter().any(|path| reader.is_set(path));
    match (by_token, by_login) {
        (true, true) => reader.mistake("api.token", "excludes api.login and api.password; keep one kind of credential"),
        (false, false) => {
            reader.mistake("api.token", "is required: set api.token, api.token_file, or api.login and api.password");
        }
        _ => {}
    }
    // Checked with a token too, for a later change to a login.
    let login_path = path(reader, "api.login_path");
    if by_login { login(reader, login_path) } else { token(reader) }
}

fn token(reader: &mut Reader) -> Credentials {
    let parse = |text: &str| {
        let token = SecretString::from(text);
        edna::check_token(&token).map(|()| token).map_err(|error| error.to_string())
    };
    let token = reader.secret_value("api.token", parse).unwrap_or_default();
    match reader.is_set("api.token_file").then(|| reader.text("api.token_file")).flatten() {
        Some(file) => Credentials::TokenFile(file.into()),
        None => Credentials::Token(token),
    }
}

fn login(reader: &mut Reader, login_path: String) -> Credentials {
    let has_password = reader.is_set("api.password") || reader.is_set("api.password_file");
    for (path, set) in [("api.login", reader.is_set("api.login")), ("api.password", has_password)] {
        if !set {
            reader.mistake(path, "is missing: api.login needs a password, and the other way around");
        }
    }
    let password_file = reader.is_set("api.password_file").then(|| reader.text("api.password_file")).flatten();
    Credentials::Login {
        path: login_path,
        login: reader.text("api.login").unwrap_or_default(),
        password: reader.secret("api.password").unwrap_or_default(),
        password_file: password_file.map(PathBuf::from),
    }
}

fn statuses(reader: &mut Reader) -> StatusLists {
    let range = 300_u16..=599;
    let mut list = |path| reader.numbers(path, &range);
    let lists = StatusLists {
        retry: list("api.retry_statuses"),
        unauthorized: list("api.unauthorized_statuses"),
        uncertain: list("api.uncertain_statuses"),
    };
    let named = [
        ("api.retry_statuses", &lists.retry),
        ("api.unauthorized_statuses", &lists.unauthorized),
        ("api.uncertain_statuses", &lists.uncertain),
    ];
    for (index, (path, statuses)) in named.iter().enumerate() {
        for (other, others) in named.iter().skip(index + 1) {
            if let Some(status) = statuses.iter().find(|status| others.contains(status)) {
                reader.mistake(path, format!("lists {status}, and so does {other}; remove it from one of them"));
            }
        }
    }
    lists
}
