//! Parses `journal.redis_url`.
//!
//! | deployment | form |
//! |---|---|
//! | one server | `redis://[[user]:password@]host[:6379][/db]` |
//! | Cluster | `redis+cluster://[[user]:password@]host[:6379],host[:6379],…` |
//! | Sentinel | `redis+sentinel://[[user]:password@]host[:26379],host[:26379],…/service[/db]` |
//!
//! `rediss` in place of `redis` means TLS with the system's certificate authorities, or those of `SSL_CERT_FILE`. The
//! login is for the servers; the Sentinels are asked without one. User and password are percent-encoded.
//!
//! The redis crate parses URLs with one host and neither Cluster nor Sentinel, so each host gets a URL of its own.

use std::{fmt, str::FromStr};

use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsMode, parse_redis_url, sentinel::SentinelNodeConnectionInfo,
};

use crate::urls;

const DEFAULT_PORT: u16 = 6_379;
const DEFAULT_SENTINEL_PORT: u16 = 26_379;

/// The address of a Redis. Its text forms hide user and password.
#[derive(Clone)]
pub struct RedisUrl {
    pub(super) deployment: Deployment,
    /// `host:port`, separated by commas.
    hosts: String,
}

/// How the servers are found.
#[derive(Clone)]
pub(super) enum Deployment {
    Single(Box<ConnectionInfo>),
    /// The seed nodes.
    Cluster(Vec<ConnectionInfo>),
    Sentinel {
        service: String,
        sentinels: Vec<ConnectionAddr>,
        servers: Box<SentinelNodeConnectionInfo>,
    },
}

impl RedisUrl {
    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.deployment, Deployment::Cluster(_))
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (scheme, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        // The redis crate would take options from a query or a fragment; `#insecure` turns certificate checks off. The
        // url crate removes tabs and newlines, which would change a password.
        if !matches!(scheme, "redis" | "rediss") || rest.contains(|c: char| matches!(c, '?' | '#') || c.is_control()) {
            return None;
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let (service, db) = if kind == "sentinel" { path.split_once('/').unwrap_or((path, "")) } else { ("", path) };
        let default_port = if kind == "sentinel" { DEFAULT_SENTINEL_PORT } else { DEFAULT_PORT };
        let node = |host| parse_node(&format!("{scheme}://{login}{host}/{db}"), default_port);
        let (hosts, nodes): (Vec<_>, Vec<_>) = hosts.split(',').map(node).collect::<Option<_>>()?;
        let deployment = match (kind, nodes.as_slice()) {
            ("", [server]) => Deployment::Single(Box::new(server.clone())),
            ("cluster", _) if path.is_empty() => Deployment::Cluster(nodes),
            ("sentinel", [first, ..]) if is_service_name(service) => sentinel(service, first, &nodes),
            _ => return None,
        };
        Some(Self { deployment, hosts: hosts.join(", ") })
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    /// The error never quotes the text, which may contain a password.
    fn from_str(text: &str) -> Result<Self, String> {
        urls::check_credentials(text)?;
        let forms = "is not a valid Redis URL: write redis://user:password@host:6379/0, \
                     redis+cluster://host:6379,host:6379 or redis+sentinel://host:26379,host:26379/service/0, with \
                     rediss for TLS; a service name consists of A-Z, a-z, 0-9, '.', '_' and '-'";
        Self::parse(text).ok_or_else(|| forms.to_owned())
    }
}

/// Parses a URL with one host; returns its `host:port`, too.
fn parse_node(text: &str, default_port: u16) -> Option<(String, ConnectionInfo)> {
    let mut url = parse_redis_url(text)?;
    let port = url.port().unwrap_or(default_port);
    url.set_port(Some(port)).ok()?;
    let address = format!("{}:{port}", url.host_str()?);
    let has_login = text.contains('@');
    let node = url.into_connection_info().ok()?;
    let settings = node.redis_settings();
    // A user without a password would connect without any login.
    let is_login_complete = !has_login || settings.password().is_some_and(|password| !password.is_empty());
    (port > 0 && settings.db() >= 0 && is_login_complete).then_some((address, node))
}

/// Sentinel allows only these characters in a service's name, so a part of a password is never taken for one.
fn is_service_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
}

fn sentinel(service: &str, first: &ConnectionInfo, nodes: &[ConnectionInfo]) -> Deployment {
    let mut servers = SentinelNodeConnectionInfo::default().set_redis_connection_info(first.redis_settings().clone());
    if matches!(first.addr(), ConnectionAddr::TcpTls { .. }) {
        servers = servers.set_tls_mode(TlsMode::Secure);
    }
    let sentinels = nodes.iter().map(|node| node.addr().clone()).collect();
    Deployment::Sentinel { service: service.to_owned(), sentinels, servers: Box::new(servers) }
}

/// Writes the hosts.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hosts)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisUrl").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> RedisUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The server, the first seed node, or the first Sentinel's address with the servers' settings.
    fn single(text: &str) -> ConnectionInfo {
        match parsed(text).deployment {
            Deployment::Single(server) => *server,
            Deployment::Cluster(nodes) => nodes[0].clone(),
            Deployment::Sentinel { .. } => panic!("{text}: no server's address"),
        }
    }

    #[test]
    fn redis_url_single_server_has_host_port_and_db() {
        assert_eq!(*single("redis://host").addr(), ConnectionAddr::Tcp("host".into(), 6_379));
        assert_eq!(single("redis://host").redis_settings().db(), 0);
        assert_eq!(single("redis://host:6379/0").redis_settings().db(), 0);
        let tls = single("rediss://[::1]:7000/3");
        let address = ConnectionAddr::TcpTls { host: "::1".into(), port: 7_000, insecure: false, tls_params: None };
        assert_eq!((tls.addr(), tls.redis_settings().db()), (&address, 3));
        assert_eq!(parsed("rediss://[::1]:7000/3").to_string(), "[::1]:7000");
    }

    #[test]
    fn redis_url_empty_port_is_the_default() {
        for (text, address) in [
            ("redis://host:", "host:6379"),
            ("redis://me:pw@host:/2", "host:6379"),
            ("redis+cluster://a:,b:1", "a:6379, b:1"),
            ("redis+sentinel://a:/s", "a:26379"),
        ] {
            assert_eq!(parsed(text).to_string(), address, "{text}");
        }
    }

    #[test]
    fn redis_url_cluster_has_several_hosts() {
        assert_eq!(parsed("redis+cluster://a:1,b").to_string(), "a:1, b:6379");
        assert!(parsed("redis+cluster://a:1,b").is_cluster());
        assert!(matches!(single("rediss+cluster://a").addr(), ConnectionAddr::TcpTls { insecure: false, .. }));
    }

    #[test]
    fn redis_url_sentinel_has_service_db_and_default_port() {
        for (text, hosts, service_and_db, tls) in [
            ("redis+sentinel://a,b:2/My.service_1-x/5", "a:26379, b:2", ("My.service_1-x", "db: 5"), "tls_mode: None"),
            ("rediss+sentinel://me:pw@a/s", "a:26379", ("s", "db: 0"), "tls_mode: Some(Secure)"),
        ] {
            let url = parsed(text);
            assert_eq!(url.to_string(), hosts);
            let Deployment::Sentinel { service, servers, .. } = url.deployment else { panic!("{text}") };
            let servers = format!("{servers:?}");
            assert_eq!(service, service_and_db.0);
            assert!(servers.contains(service_and_db.1) && servers.contains(tls), "{servers}");
        }
    }

    /// The crate gives no access to the servers' settings except by their text form, which hides the password.
    #[test]
    fn redis_url_sentinel_login_is_for_the_servers_only() {
        let Deployment::Sentinel { sentinels, servers, .. } = parsed("rediss+sentinel://me:pw@a/s").deployment else {
            panic!("not a Sentinel deployment")
        };
        let servers = format!("{servers:?}");
        assert!(servers.contains(r#"username: Some("me")"#), "{servers}");
        assert!(servers.contains(r#"password: Some("<redacted>")"#), "{servers}");
        let address = ConnectionAddr::TcpTls { host: "a".into(), port: 26_379, insecure: false, tls_params: None };
        assert_eq!(sentinels, [address]);
        let Deployment::Sentinel { sentinels, servers, .. } = parsed("redis+sentinel://a,b:2/s").deployment else {
            panic!("not a Sentinel deployment")
        };
        let servers = format!("{servers:?}");
        assert!(servers.contains("username: None") && servers.contains("password: None"), "{servers}");
        assert_eq!(sentinels, [ConnectionAddr::Tcp("a".into(), 26_379), ConnectionAddr::Tcp("b".into(), 2)]);
    }

    #[test]
    fn redis_url_login_is_percent_decoded() {
        for (text, user, password) in [
            ("redis://me:p%40ss%2F%3a@h", Some("me"), "p@ss/:"),
            ("redis://:secret@h/1", None, "secret"),
            ("redis://me:a:b@h", Some("me"), "a:b"),
            ("redis://me:a%0Ab@h", Some("me"), "a\nb"),
            ("redis+cluster://me:secret@h,i", Some("me"), "secret"),
        ] {
            let node = single(text);
            assert_eq!(node.redis_settings().username(), user, "{text}");
            assert_eq!(node.redis_settings().password(), Some(password), "{text}");
        }
    }

    #[test]
    fn redis_url_error_has_a_remedy_and_no_secret() {
        for text in [
            "",
            "s3cret",
            "http://me:s3cret@h",
            "redis+unix://me:s3cret@h",
            "redis://",
            "redis://me:s3cret@",
            "redis://me:s3cret@h:0",
            "redis://me:s3cret@h:70000",
            "redis://me:s3cret@h:+1",
            "redis://me:s3cret@h i",
            "redis://me:s3cret\n@h",
            "redis://me:s3\tcret@h",
            "redis://me:s3cret\u{7f}@h",
            "redis://me:s3cret@h/0\r\n",
            "redis://me:s3cret@h/x",
            "redis://me:s3cret@h/0/1",
            "redis://me:s3cret@h/-1",
            "redis://me:s3cret@h,i",
            "redis://me:s3cret@h?db=1",
            "rediss://me:s3cret@h#insecure",
            "redis://me:s3cret/x@h",
            "redis://me:1/s3cret@h",
            "redis://me:s3cret#x@h",
            "redis://me:s3cret@b@h",
            "redis://me:s3%cret@h",
            "redis://me:s3cret%@h",
            "redis://me:s3[cret@h",
            "redis://s3cret@h",
            "redis://me:@h",
            "redis://me:s3cret@[::1",
            "redis://me:s3cret@[::1]7",
            "redis://me:s3cret@::1",
            "redis+cluster://me:s3cret@h/0",
            "redis+cluster://me:s3cret@h,",
            "redis+sentinel://me:s3cret@h",
            "redis+sentinel://me:s3cret@h/",
            "redis+sentinel://me:s3cret@h/s/x",
            "redis+sentinel://me:1/s3cret@h/s",
            "redis+sentinel://me:1/s3cret@h",
        ] {
            let error = text.parse::<RedisUrl>().expect_err(text);
            let has_remedy = error.contains("write redis://") || error.contains("write %25 for %");
            assert!(!error.contains("s3") && has_remedy, "{text}: {error}");
        }
    }

    #[test]
    fn redis_url_text_forms_hide_the_login() {
        let url = parsed("redis://me:s3cret@h/2");
        let shown = format!("{url} {url:?} {url:#?}");
        assert!(shown.contains("h:6379") && !shown.contains("s3cret"), "{shown}");
    }

    proptest::proptest! {
        #[test]
        fn redis_url_parser_never_panics(text in "(rediss?(\\+(cluster|sentinel))?://)?[-a-z0-9@:/,%\\[\\]?#é]{0,40}") {
            let _ = text.parse::<RedisUrl>();
        }
    }
}
