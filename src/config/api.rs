//! `[api]`

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

use super::{pem, reader::Reader};
use crate::{
    domain::verdict::StatusLists,
    edna::{self, BuildError, Credentials, IdentityError, Proxy},
};

const MOST: Duration = Duration::from_secs(300);

/// How to reach the API.
#[derive(Clone, Debug)]
pub struct Api {
    /// `http` or `https`, perhaps with a path prefix.
    pub base_url: String,
    /// The method, below it.
    pub path: String,
    /// Who we are.
    pub credentials: Credentials,
    /// The request's key for the device.
    pub descriptor_field: String,
    /// For an attempt in all.
    pub timeout: Duration,
    /// For connecting.
    pub connect_timeout: Duration,
    /// For idle connections.
    pub keep_alive: Duration,
    /// Empty for any.
    pub channel_types: Vec<String>,
    /// The proxy between the daemon and the API.
    pub proxy: Proxy,
    /// Certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The client certificate and its key.
    pub identity_files: Option<(PathBuf, PathBuf)>,
    /// Which status means what.
    pub statuses: StatusLists,
}

impl Api {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let ca_file = reader.file("api.ca_file", pem::authorities).and_then(|_| reader.text("api.ca_file"));
        Self {
            base_url: base_url(reader),
            path: path(reader, "api.path"),
            credentials: credentials(reader),
            descriptor_field: reader.value("api.descriptor_field", descriptor_field).unwrap_or_default(),
            timeout: reader.duration("api.timeout", Duration::from_millis(100)..=MOST).unwrap_or_default(),
            connect_timeout: reader
                .duration("api.connect_timeout", Duration::from_millis(50)..=MOST)
                .unwrap_or_default(),
            keep_alive: reader.duration("api.keep_alive", Duration::from_secs(1)..=MOST).unwrap_or_default(),
            channel_types: reader.list("api.channel_types", |word| Ok(word.to_owned())),
            proxy: proxy(reader),
            ca_file: ca_file.map(PathBuf::from),
            identity_files: identity_files(reader),
            statuses: statuses(reader),
        }
    }
}

fn base_url(reader: &mut Reader) -> String {
    if !reader.is_set("api.base_url") {
        reader.mistake("api.base_url", "is required: where the API is, as in https://name.edna.io");
    }
    reader.value("api.base_url", |text| joins(text, "/").map(|()| text.to_owned())).unwrap_or_default()
}

fn path(reader: &mut Reader, setting: &str) -> String {
    let any_base = "http://localhost";
    reader.value(setting, |text| joins(any_base, text).map(|()| text.to_owned())).unwrap_or_default()
}

/// The request's other keys are taken.
fn descriptor_field(text: &str) -> Result<String, String> {
    match text {
        "" => Err("must not be empty".to_owned()),
        "text" | "attachments" => Err("is another field of the request; write applicationDescriptor".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// The client's own check.
fn joins(base: &str, path: &str) -> Result<(), String> {
    match edna::join(base, "", path) {
        Err(BuildError::Address { problem, .. }) => Err(problem.to_owned()),
        Err(other) => Err(other.to_string()),
        Ok(_) => Ok(()),
    }
}

fn proxy(reader: &mut Reader) -> Proxy {
    if !reader.is_set("api.proxy") && !reader.is_set("api.proxy_file") {
        return Proxy::Environment;
    }
    reader.secret_value("api.proxy", |text| Proxy::parse(text).map_err(str::to_owned)).unwrap_or_default()
}

/// Both files are read here to report every mistake at start; the client reads them again.
fn identity_files(reader: &mut Reader) -> Option<(PathBuf, PathBuf)> {
    let (cert_setting, key_setting) = ("api.cert_file", "api.key_file");
    match (reader.is_set(cert_setting), reader.is_set(key_setting)) {
        (false, false) => return None,
        (true, false) => reader.mistake(key_setting, "is missing: api.cert_file and api.key_file go together"),
        (false, true) => reader.mistake(cert_setting, "is missing: api.cert_file and api.key_file go together"),
        (true, true) => {}
    }
    let cert = reader.file(cert_setting, pem::certificates);
    let key = reader.file(key_setting, pem::key);
    if let Err(error) = edna::check_identity(cert?.as_bytes(), key?.as_bytes()) {
        let setting = if error == IdentityError::Certificate { cert_setting } else { key_setting };
        let text = error.to_string();
        reader.mistake(setting, text.strip_prefix(&format!("{setting}: ")).unwrap_or(&text));
    }
    Some((reader.text(cert_setting)?.into(), reader.text(key_setting)?.into()))
}

fn credentials(reader: &mut Reader) -> Credentials {
    let by_token = ["api.token", "api.token_file"].iter().any(|path| reader.is_set(path));
    let by_login = ["api.login", "api.password", "api.password_file"].iter().any(|path| reader.is_set(path));
    match (by_token, by_login) {
        (true, true) => {
            reader.mistake("api.token", "goes without api.login and api.password; keep one kind of credential")
        }
        (false, false) => {
            reader.mistake("api.token", "is required: set api.token, api.token_file, or api.login and api.password");
        }
        _ => {}
    }
    // Checked beside a token too: it may be meant for later.
    let login_path = path(reader, "api.login_path");
    if by_login { login(reader, login_path) } else { token(reader) }
}

fn token(reader: &mut Reader) -> Credentials {
    let sound = |text: &str| {
        let token = SecretString::from(text);
        edna::check_token(&token).map(|()| token).map_err(|error| error.to_string())
    };
    let token = reader.secret_value("api.token", sound).unwrap_or_default();
    match reader.is_set("api.token_file").then(|| reader.text("api.token_file")).flatten() {
        Some(file) => Credentials::TokenFile(file.into()),
        None => Credentials::Token(token),
    }
}

fn login(reader: &mut Reader, login_path: String) -> Credentials {
    let has_password = reader.is_set("api.password") || reader.is_set("api.password_file");
    for (path, set) in [("api.login", reader.is_set("api.login")), ("api.password", has_password)] {
        if !set {
            reader.mistake(path, "is missing: api.login and api.password go together");
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
                reader.mistake(path, format!("lists {status}, and so does {other}; a status means one thing"));
            }
        }
    }
    lists
}
