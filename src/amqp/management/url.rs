//! `broker.management_url`

use std::fmt;

use lapin::uri::AMQPUri;
use reqwest::Url;

use crate::urls;

/// The address of the management API, with credentials. `Debug` shows none.
#[derive(Clone)]
pub struct ManagementUrl(Url);

impl ManagementUrl {
    /// Parses `broker.management_url`.
    ///
    /// # Errors
    /// The problem and the remedy, without any part of the value: it can hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        urls::check_credentials(text)?;
        let mut url = Url::parse(text).map_err(|_| "is not a URL; write it like http://user:password@host:15672")?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("is neither http nor https; write it like http://user:password@host:15672");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("holds a query or a fragment; write it like http://user:password@host:15672");
        }
        // Accepts the address of the HTTP API, which ends with this path, besides that of the plugin.
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/api").unwrap_or(path).to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// Takes the broker's credentials if the URL holds none.
    #[must_use]
    pub fn or_credentials_of(mut self, broker: &AMQPUri) -> Self {
        if self.0.username().is_empty() && self.0.password().is_none() {
            let info = &broker.authority.userinfo;
            // Fails only for a URL without a host.
            let _ = self.0.set_username(&info.username).and_then(|()| self.0.set_password(Some(&info.password)));
        }
        self
    }

    pub(super) const fn url(&self) -> &Url {
        &self.0
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

impl fmt::Debug for ManagementUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManagementUrl").field(&self.origin()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn management_url_takes_credentials_of_the_broker() {
        let broker = "amqp://courier:s%2Fe@broker/shop".parse().unwrap();
        let url = |text| ManagementUrl::parse(text).unwrap().or_credentials_of(&broker);
        assert_eq!(url("http://h:15672").url().as_str(), "http://courier:s%2Fe@h:15672/");
        assert_eq!(url("http://h:15672/").url().as_str(), "http://courier:s%2Fe@h:15672/");
        assert_eq!(url("https://admin:p@h/rabbit/api/").url().as_str(), "https://admin:p@h/rabbit");
        assert_eq!(format!("{:?}", url("http://admin:p@h:15672")), "ManagementUrl(\"http://h:15672\")");
    }

    #[test]
    fn invalid_management_url_is_refused_without_showing_it() {
        for text in [
            "",
            "h",
            "amqp://u:s3cret@h",
            "http://",
            "http://u:s3cret@h?x",
            "http://u:s3cret#@h",
            "http://u:80/s3cret@h",
            "http://u:s3cret@s3cret@h",
            "http://u:s3%cret@h",
        ] {
            let problem = ManagementUrl::parse(text).unwrap_err();
            assert!(problem.contains("write"), "{text}: {problem}");
            assert!(!problem.contains("s3cret"), "{problem}");
        }
    }
}
