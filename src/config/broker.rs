//! `[broker]`

use std::fmt;

use lapin::{
    tcp::{OwnedIdentity, OwnedTLSConfig},
    uri::AMQPUri,
};

use super::{pem, reader::Reader};
use crate::{
    amqp::{ManagementApi, ManagementError, ManagementUrl},
    urls,
};

const MAX_PREFIX_BYTES: usize = 64;

/// The connection to RabbitMQ and the names there. `Debug` shows neither users nor passwords.
#[derive(Clone)]
pub struct BrokerSettings {
    /// At least one, in the order of preference; may hold passwords.
    pub uris: Vec<AMQPUri>,
    /// Trusted certificates, and the client certificate.
    pub tls: OwnedTLSConfig,
    /// The prefix of all exchange and queue names.
    pub prefix: String,
    /// Whether `run` declares the topology.
    pub declare: bool,
    /// The management API, with credentials.
    pub management_url: Option<ManagementUrl>,
}

impl fmt::Debug for BrokerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.uris.iter().map(|uri| &uri.authority.host).collect();
        f.debug_struct("BrokerSettings").field("hosts", &hosts).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl BrokerSettings {
    /// The client of the management API; `None` without `broker.management_url`.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn management_api(&self) -> Result<Option<ManagementApi>, ManagementError> {
        let Some(url) = &self.management_url else { return Ok(None) };
        let vhost = self.uris.first().map_or("/", |uri| uri.vhost.as_str());
        ManagementApi::new(url, vhost, self.tls.cert_chain.as_deref()).map(Some)
    }

    pub(super) fn read(reader: &mut Reader) -> Self {
        let uris = uris(reader);
        Self {
            management_url: management_url(reader, uris.first()),
            uris,
            tls: tls(reader),
            prefix: read_prefix(reader),
            declare: reader.flag("broker.declare"),
        }
    }
}

fn uris(reader: &mut Reader) -> Vec<AMQPUri> {
    let uris = if reader.is_set("broker.url_file") {
        reader.secret_value("broker.url", |text| {
            text.split([',', '\n']).map(str::trim).filter(|url| !url.is_empty()).map(uri).collect()
        })
    } else {
        Some(reader.list("broker.url", uri))
    };
    let uris = uris.unwrap_or_default();
    let is_reported = ["broker.url", "broker.url_file"].iter().any(|path| reader.is_mistaken(path));
    if uris.is_empty() && !is_reported {
        reader.mistake("broker.url", "names no broker; write amqp://user:password@host:5672/vhost");
    }
    uris
}

/// Refuses IPv6 addresses, which lapin silently reads as `localhost`.
fn uri(text: &str) -> Result<AMQPUri, String> {
    urls::check_credentials(text)?;
    if text.contains("@[") || text.contains("://[") {
        return Err("holds an IPv6 address, which is not supported; use a host name".to_owned());
    }
    let uri: AMQPUri = text.parse().map_err(|_| {
        "is not a broker URL; write amqp://user:password@host:5672/vhost (%2f is the default vhost), and %2C for a comma"
            .to_owned()
    })?;
    if uri.vhost.is_empty() {
        return Err("ends in a slash, which names a vhost with an empty name; remove it, or write /%2f".to_owned());
    }
    Ok(uri)
}

/// With the credentials of the broker's first address unless it holds its own.
fn management_url(reader: &mut Reader, broker: Option<&AMQPUri>) -> Option<ManagementUrl> {
    if !["broker.management_url", "broker.management_url_file"].iter().any(|path| reader.is_set(path)) {
        return None;
    }
    let parse = |text: &str| ManagementUrl::parse(text).map_err(str::to_owned);
    let url = reader.secret_value("broker.management_url", parse)?;
    Some(match broker {
        Some(broker) => url.or_credentials_of(broker),
        None => url,
    })
}

pub(super) fn read_prefix(reader: &mut Reader) -> String {
    reader.value("broker.prefix", prefix).unwrap_or_default()
}

fn prefix(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_PREFIX_BYTES).contains(&text.len());
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if fits && plain && text != "amq" && !text.starts_with("amq.") {
        return Ok(text.to_owned());
    }
    Err(format!(
        "must be 1 to {MAX_PREFIX_BYTES} letters, digits, dots, dashes or underscores, and not start with amq."
    ))
}

fn tls(reader: &mut Reader) -> OwnedTLSConfig {
    let cert_chain = reader.file("broker.ca_file", pem::authorities);
    let identity = pem::identity(reader, "broker.cert_file", "broker.key_file");
    let identity = identity.map(|(cert, key)| OwnedIdentity::PKCS8 { pem: cert.into_bytes(), key: key.into_bytes() });
    OwnedTLSConfig { identity, cert_chain }
}
