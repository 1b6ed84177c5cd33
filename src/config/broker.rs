//! `[broker]`

use std::fmt;

use super::{pem, reader::Reader};
use lapin::{
    tcp::{OwnedIdentity, OwnedTLSConfig},
    uri::AMQPUri,
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
}

impl fmt::Debug for BrokerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.uris.iter().map(|uri| &uri.authority.host).collect();
        f.debug_struct("BrokerSettings").field("hosts", &hosts).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl BrokerSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            uris: uris(reader),
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
    if text.contains('[') {
        return Err("holds an IPv6 address, which is not supported; use a host name".to_owned());
    }
    let uri: AMQPUri = text.parse().map_err(|_| {
        "is not a broker URL; write amqp://user:password@host:5672/vhost (%2f is the default vhost)".to_owned()
    })?;
    if uri.vhost.is_empty() {
        return Err("ends in a slash, which names a vhost with an empty name; remove it, or write /%2f".to_owned());
    }
    Ok(uri)
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
    if reader.is_set("broker.cert_file") != reader.is_set("broker.key_file") {
        reader.mistake("broker.cert_file", "needs broker.key_file, and the other way around; set both or neither");
    }
    let cert_chain = reader.file("broker.ca_file", pem::authorities);
    let cert = reader.file("broker.cert_file", pem::certificates);
    let identity = cert.zip(reader.file("broker.key_file", pem::key));
    let identity = identity.map(|(cert, key)| OwnedIdentity::PKCS8 { pem: cert.into_bytes(), key: key.into_bytes() });
    OwnedTLSConfig { identity, cert_chain }
}
