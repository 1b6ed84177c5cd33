//! Where Redis is, in one line.
//!
//! | | |
//! |---|---|
//! | one server | `redis://[[user]:password@]host[:6379][/db]` |
//! | Cluster | `redis+cluster://[[user]:password@]host[:6379],host[:6379],…` |
//! | Sentinel | `redis+sentinel://[[user]:password@]host[:26379],host[:26379],…/service[/db]` |
//!
//! With `rediss` in place of `redis` all of it is TLS, checked against the system's authorities (or those of `SSL_CERT_FILE`).
//! The login is for the servers; Sentinels are asked without one. User, password and service are percent-encoded.

use std::{fmt, str::FromStr};

use secrecy::SecretString;

const DEFAULT_PORT: u16 = 6_379;
const DEFAULT_SENTINEL_PORT: u16 = 26_379;
const FORMS: &str = "write redis://user:password@host:6379/0, redis+cluster://host:6379,host:6379 or \
                     redis+sentinel://host:26379,host:26379/service/0, with rediss for TLS";

/// Where Redis is; never empty, and shows no secret.
#[derive(Clone)]
pub struct RedisUrl {
    pub(super) kind: Kind,
    pub(super) tls: bool,
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) user: Option<String>,
    pub(super) password: Option<SecretString>,
}

impl RedisUrl {
    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster)
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text)
    }
}

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Single { db: i64 },
    Cluster,
    Sentinel { service: String, db: i64 },
}

/// The hosts.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            match host.contains(':') {
                true => write!(f, "{comma}[{host}]:{port}")?,
                false => write!(f, "{comma}{host}:{port}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.to_string();
        f.debug_struct("RedisUrl")
            .field("kind", &self.kind)
            .field("tls", &self.tls)
            .field("hosts", &hosts)
            .finish_non_exhaustive()
    }
}

/// Reads a URL. The error names the mistake and the remedy, never a part of the URL, as that may be a secret.
fn parse(text: &str) -> Result<RedisUrl, String> {
    let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("is not the URL of a Redis; {FORMS}"))?;
    let (name, what) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match name {
        "redis" => false,
        "rediss" => true,
        _ => return Err(format!("does not start with redis or rediss; {FORMS}")),
    };
    if rest.contains(['?', '#']) {
        return Err("holds a ? or #; in a password write %3F or %23, parameters there are none".to_owned());
    }
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    if path.is_some_and(|path| path.contains('@')) {
        return Err("holds a / before the @; in a password write %2F".to_owned());
    }
    let (login, hosts) = authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
    let (user, password) = login.map_or(Ok((None, None)), credentials)?;
    let kind = kind(what, path)?;
    let port = if matches!(kind, Kind::Sentinel { .. }) { DEFAULT_SENTINEL_PORT } else { DEFAULT_PORT };
    let hosts = hosts.split(',').map(|host| address(host, port)).collect::<Result<Vec<_>, _>>()?;
    if matches!(kind, Kind::Single { .. }) && hosts.len() > 1 {
        return Err(format!("names several hosts, as only Cluster and Sentinel have; {FORMS}"));
    }
    Ok(RedisUrl { kind, tls, hosts, user, password })
}

fn kind(what: &str, path: Option<&str>) -> Result<Kind, String> {
    match what {
        "" => Ok(Kind::Single { db: path.map_or(Ok(0), db)? }),
        "cluster" if path.is_some_and(|path| !path.is_empty()) => {
            Err("names a database, which a Cluster has not; let it end after the hosts".to_owned())
        }
        "cluster" => Ok(Kind::Cluster),
        "sentinel" => {
            let (service, number) = path.unwrap_or_default().split_once('/').unwrap_or((path.unwrap_or_default(), ""));
            let service = decoded(service).filter(|service| !service.is_empty());
            let service = service.ok_or("names no service; write redis+sentinel://host:26379/service")?;
            Ok(Kind::Sentinel { service, db: db(number)? })
        }
        _ => Err(format!("is for something else than a server, a Cluster or Sentinels; {FORMS}")),
    }
}

fn db(text: &str) -> Result<i64, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if text.is_empty() { Some(0) } else { text.parse::<u32>().ok().filter(|_| plain) };
    number.map(i64::from).ok_or_else(|| "must end in the number of a database, as in /0".to_owned())
}

type Login = (Option<String>, Option<SecretString>);

fn credentials(login: &str) -> Result<Login, String> {
    let (user, password) = login.split_once(':').ok_or(
        "has a name before the @ and no password; write user:password@, or :password@ for a password without a user",
    )?;
    let bad = || "has a % that is not followed by two hexadecimal digits; in a password write %25".to_owned();
    let (user, password) = (decoded(user).ok_or_else(bad)?, decoded(password).ok_or_else(bad)?);
    if password.is_empty() {
        return Err("has an empty password; write user:password@, or leave out all before the host".to_owned());
    }
    Ok(((!user.is_empty()).then_some(user), Some(password.into())))
}

fn address(text: &str, default_port: u16) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("has a [ without ]; write an IPv6 address as [::1]:6379")?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or_default()) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || (c == ':' && text.starts_with('['));
    if host.is_empty() || !host.chars().all(allowed) {
        return Err(format!("has a host without a name, or with characters that no host has; {FORMS}"));
    }
    let plain = |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.map_or(Some(default_port), |port| Some(port).filter(plain)?.parse().ok());
    let port = port.filter(|port| *port > 0).ok_or("has a port that is not a number from 1 to 65535")?;
    Ok((host.to_owned(), port))
}

fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit(*high)? * 16 + digit(*low)?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn good(text: &str) -> RedisUrl {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn each_form_is_read() {
        let url = good("redis://host");
        assert_eq!((url.kind, url.tls, url.hosts), (Kind::Single { db: 0 }, false, vec![("host".into(), 6_379)]));
        assert_eq!(good("rediss://[::1]:7000/3").kind, Kind::Single { db: 3 });
        assert_eq!(good("rediss://[::1]:7000/3").to_string(), "[::1]:7000");
        assert!(good("rediss+cluster://a").tls);
        let url = good("redis+cluster://a:1,b");
        assert_eq!((&url.kind, url.to_string()), (&Kind::Cluster, "a:1, b:6379".to_owned()));
        let url = good("redis+sentinel://a,b:2/my%20service/5");
        let kind = Kind::Sentinel { service: "my service".into(), db: 5 };
        assert_eq!((&url.kind, url.to_string()), (&kind, "a:26379, b:2".to_owned()));
        assert_eq!(good("redis+sentinel://a/s").kind, Kind::Sentinel { service: "s".into(), db: 0 });
    }

    #[test]
    fn logins_are_decoded() {
        for (text, user, password) in [
            ("redis://me:p%40ss%2F%3a@h", Some("me"), "p@ss/:"),
            ("redis://:secret@h/1", None, "secret"),
            ("redis://me:a:b@h", Some("me"), "a:b"),
            ("redis://me:a@b@h", Some("me"), "a@b"),
            ("redis+cluster://me:secret@h,i", Some("me"), "secret"),
        ] {
            let url = good(text);
            assert_eq!(url.user.as_deref(), user, "{text}");
            assert_eq!(url.password.expect("a password").expose_secret(), password, "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_with_a_remedy_and_without_the_secret() {
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
            "redis://me:s3cret@h:",
            "redis://me:s3cret@h i",
            "redis://me:s3cret@h/x",
            "redis://me:s3cret@h/0/1",
            "redis://me:s3cret@h/-1",
            "redis://me:s3cret@h,i",
            "redis://me:s3cret@h?db=1",
            "redis://me:s3cret/x@h",
            "redis://me:s3cret#x@h",
            "redis://me:%s3cret@h",
            "redis://me:s3cret%4@h",
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
        ] {
            let error = parse(text).expect_err(text);
            assert!(!error.contains("s3cret"), "{text}: {error}");
            assert!(
                ["write", "must", "has a port", "let it end"].iter().any(|word| error.contains(word)),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn nothing_shows_the_secret() {
        let url = good("redis://me:s3cret@h/2");
        let shown = format!("{url} {url:?} {url:#?}");
        assert!(shown.contains("h:6379") && !shown.contains("s3cret"), "{shown}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(rediss?(\\+(cluster|sentinel))?://)?[-a-z0-9@:/,%\\[\\]?#é]{0,40}") {
            let _ = parse(&text);
        }
    }
}
