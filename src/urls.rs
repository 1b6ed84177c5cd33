//! Finds a user or password in a URL that lacks its percent-encoding.
//!
//! A parser takes the part before the `/`, `?` or `#` of such a password for the host, which logs and errors show, and the
//! AMQP library removes tabs from it.

use std::str;

/// Shows no part of the URL, not even the character.
const NOT_ENCODED: &str = "has a user or password with a character that a URL cannot hold; write %25 for %, %40 for @, %2F \
    for /, %3F for ?, %23 for #, %5B for [, %5D for ], %5C for \\, %20 for a space";

/// Checks that user and password end where they seem to, and mean what they show. A URL without an `@` passes, and so
/// does what is no URL.
///
/// # Errors
/// The problem and the remedy, without any part of the URL.
pub fn check_credentials(url: &str) -> Result<(), &'static str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, tail) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    let is_plain = match authority.split_once('@') {
        Some((credentials, host)) => !host.contains('@') && is_encoded(credentials),
        None => true,
    };
    if is_plain && !tail.contains('@') { Ok(()) } else { Err(NOT_ENCODED) }
}

/// Whether each `%` starts an escape, the escapes are UTF-8, and no other character needs one.
fn is_encoded(credentials: &str) -> bool {
    let mut parts = credentials.split('%');
    let mut decoded = Vec::from(parts.next().unwrap_or_default());
    for part in parts {
        let escape = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(byte) = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else { return false };
        decoded.push(byte);
        decoded.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
    }
    let needs_escape = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '[' | ']');
    str::from_utf8(&decoded).is_ok() && !credentials.contains(needs_escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_encoded_or_absent_pass() {
        for url in [
            "",
            "host",
            "amqp://host:5672/%2f",
            "http://[::1]:8080/a?b#c",
            "amqp://user:pass@host",
            "amqp://user:p:a$s{s}&é@[::1]/v",
            "amqp://us%40er:%25%2F%5b%C3%A9@host/%40",
            "user:pass@host:3128",
            "amqp://@host",
        ] {
            assert_eq!(check_credentials(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn credentials_not_encoded_are_refused_without_showing_them() {
        for url in [
            "amqp://user:s3[cret@host",
            "amqp://user:s3]cret@host",
            "amqp://user:s3/cret@host",
            "amqp://user:12/s3cret@host",
            "amqp://user:s3\\cret@host",
            "amqp://user:s3?cret@host",
            "amqp://user:s3#cret@host",
            "amqp://user:s3@cret@host",
            "amqp://s3@cret:pass@host",
            "amqp://user:s3%cret@host",
            "amqp://user:s3cret%@host",
            "amqp://user:s3cret%2@host",
            "amqp://user:s3%+1cret@host",
            "amqp://user:s3%ffcret@host",
            "amqp://user:s3%é@host",
            "amqp://user:s3 cret@host",
            "amqp://user:s3\tcret@host",
            "amqp://user:s3cret\n@host",
            "amqp://user:s3cret@host/v@w",
            "user:s3/cret@host:3128",
        ] {
            let problem = check_credentials(url).unwrap_err();
            assert!(problem.contains("write %25 for %") && !problem.contains("s3"), "{url}: {problem}");
        }
    }
}
