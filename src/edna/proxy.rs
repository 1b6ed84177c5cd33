//! The proxy between the daemon and the API.

use std::{fmt, sync::Arc};

use reqwest::{ClientBuilder, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::urls;

/// The port of a SOCKS proxy whose URL names none (RFC 1928).
const SOCKS_PORT: u16 = 1080;
/// User and password share one handshake message of the SOCKS client, which has room for 262 bytes.
const MAX_SOCKS_BYTES: usize = 120;

/// `api.proxy`. `Debug` and `Display` show no credentials.
#[derive(Clone, Debug, Default)]
pub enum Proxy {
    /// Unset: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` of the environment apply.
    #[default]
    Environment,
    /// `none`: the API is reached directly, whatever the environment names.
    Disabled,
    /// The URL of a proxy for every request; the environment is ignored.
    Url {
        /// With its credentials.
        url: SecretString,
        /// Scheme, host and port, for logs and errors.
        origin: Arc<str>,
    },
}

impl Proxy {
    /// Parses `api.proxy`.
    ///
    /// # Errors
    /// The problem and the remedy, without any part of the value: it can hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self::Disabled);
        }
        urls::check_credentials(text)?;
        let url = Url::parse(text).map_err(|_| "is not a URL; write it like http://user:password@proxy:3128")?;
        let (host, port) = match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(host)) => (host, url.port_or_known_default()),
            ("socks5" | "socks5h", Some(host)) if !host.is_empty() => (host, url.port().or(Some(SOCKS_PORT))),
            ("http" | "https" | "socks5" | "socks5h", _) => {
                return Err("names no host; write it like http://proxy:3128");
            }
            _ => return Err("is neither http, https, socks5, socks5h nor none; write it like http://proxy:3128"),
        };
        let port = port.filter(|port| *port != 0).ok_or("names port 0; write the port that the proxy listens on")?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("holds more than scheme, credentials, host and port; write it like http://proxy:3128");
        }
        let is_socks = url.scheme().starts_with("socks");
        if is_socks && (url.username().len() > MAX_SOCKS_BYTES || url.password().unwrap_or("").len() > MAX_SOCKS_BYTES)
        {
            return Err("has a user or password that is too long for SOCKS; use one of at most 120 bytes each");
        }
        let origin: Arc<str> = format!("{}://{host}:{port}", url.scheme()).into();
        // reqwest parses the URL again, as a URI, and silently uses no proxy if that fails.
        let text = String::from(url);
        if origin.parse::<http::Uri>().is_err() || text.parse::<http::Uri>().is_err() {
            return Err("holds characters that a host name cannot have; write it like http://proxy:3128");
        }
        Ok(Self::Url { url: text.into(), origin })
    }

    /// Checks a proxy variable of the environment. reqwest silently ignores an invalid one, and the path of a valid one.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn check_variable(text: &str) -> Result<(), &'static str> {
        urls::check_credentials(text)?;
        let invalid = "is not the URL of a proxy; write it like http://proxy:3128";
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let (Ok(url), Ok(_)) = (Url::parse(&url), text.parse::<http::Uri>()) else { return Err(invalid) };
        let is_known = matches!(url.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h");
        if is_known && url.host_str().is_some_and(|host| !host.is_empty()) && url.port() != Some(0) {
            return Ok(());
        }
        Err(invalid)
    }

    /// Whether a response can come from the proxy instead of the API: a SOCKS proxy speaks no HTTP.
    pub(super) fn is_http(&self) -> bool {
        matches!(self, Self::Url { origin, .. } if origin.starts_with("http"))
    }

    /// Applies the setting to a client. Without a call of `no_proxy` or `proxy`, reqwest reads the environment.
    pub(super) fn apply(&self, builder: ClientBuilder) -> reqwest::Result<ClientBuilder> {
        Ok(match self {
            Self::Environment => builder,
            Self::Disabled => builder.no_proxy(),
            Self::Url { url, .. } => builder.proxy(reqwest::Proxy::all(url.expose_secret())?),
        })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("the proxy of the environment"),
            Self::Disabled => f.write_str("none"),
            Self::Url { origin, .. } => f.write_str(origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_url_is_shown_as_its_origin() {
        for (text, origin) in [
            ("http://user:s3cret@proxy:3128/", "http://proxy:3128"),
            ("https://proxy", "https://proxy:443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("socks5://user:s3cret@10.0.0.1", "socks5://10.0.0.1:1080"),
            ("socks5h://proxy:9050", "socks5h://proxy:9050"),
            ("NONE", "none"),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!(proxy.to_string(), origin);
            assert!(!format!("{proxy:?}").contains("s3cret"), "{proxy:?}");
        }
    }

    #[test]
    fn proxy_url_invalid_is_refused_without_showing_it() {
        for text in [
            "",
            "proxy",
            "proxy:3128",
            "http://",
            "ftp://proxy",
            "socks4://proxy",
            "http://proxy:0",
            "http://proxy:99999",
            "http://u:s3cret/x@proxy:3128",
            "http://u:s3cret[@proxy:3128",
            "http://u:80/s3cret@proxy:3128",
            "http://u:s3%cret@proxy:3128",
            "http://u:s3cret@s3cret@proxy:3128",
            "http://proxy/s3cret",
            "http://proxy?s3cret",
            "http://proxy#s3cret",
            "socks5:s3cret",
            "socks5://",
            "http://a b",
            "http://${PROXY_HOST}:3128",
            "http://{proxy}:3128",
            "socks5h://a%20b",
        ] {
            let problem = Proxy::parse(text).unwrap_err();
            assert!(!problem.contains("s3cret"), "{text}: {problem}");
        }
    }
}
