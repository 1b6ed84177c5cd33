//! Joins `api.base_url` and a path into the URL to post to.

use reqwest::Url;

use super::error::BuildError;

/// Appends `path` to `base`. A path prefix in `base` stays, and slashes at the joint do not matter.
///
/// # Errors
/// [`BuildError::Address`], which names `api.base_url` or `setting`, whichever is invalid.
pub fn join(base: &str, setting: &'static str, path: &str) -> Result<Url, BuildError> {
    let base = check_base(base)?;
    let invalid = BuildError::Address { setting, problem: "it is not a path; write it like /api/v1/messages" };
    let joined = format!("{}/{}", base.as_str().trim_end_matches('/'), path.trim_start_matches('/'));
    match Url::parse(&joined) {
        Ok(url) if url.origin() == base.origin() && url.fragment().is_none() && !path.contains("://") => {
            check_uri(url, setting)
        }
        _ => Err(invalid),
    }
}

/// Refuses a URL that HTTP cannot carry, which reqwest would do only when a request is made.
fn check_uri(url: Url, setting: &'static str) -> Result<Url, BuildError> {
    match url.as_str().parse::<http::Uri>() {
        Ok(_) => Ok(url),
        Err(_) => {
            Err(BuildError::Address { setting, problem: "it holds characters that an HTTP request cannot carry" })
        }
    }
}

fn check_base(base: &str) -> Result<Url, BuildError> {
    let invalid = |problem| BuildError::Address { setting: "api.base_url", problem };
    let credentials = "it holds a user or password; use api.login and api.password; an @ in a path is written %40";
    // Also behind the host, where it can be the end of a password with a slash: the base URL is shown in logs.
    if base.contains('@') {
        return Err(invalid(credentials));
    }
    let url = Url::parse(base).map_err(|_| invalid("it is not a URL; write it like https://name.edna.io"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("it is neither http nor https; write it like https://name.edna.io"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it holds a query or a fragment; write only scheme, host, port and path prefix"));
    }
    check_uri(url, "api.base_url")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn join_keeps_path_prefix_with_any_slashes() {
        for (base, path, expected) in [
            ("http://h:8080", "/a/b", "http://h:8080/a/b"),
            ("http://h/", "a/b", "http://h/a/b"),
            ("http://[::1]:8080/", "a", "http://[::1]:8080/a"),
            ("https://h/chat", "/a", "https://h/chat/a"),
            ("https://h/chat//", "//a?x=1", "https://h/chat/a?x=1"),
        ] {
            assert_eq!(join(base, "api.path", path).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn join_invalid_input_is_refused_without_showing_it() {
        for base in [
            "",
            "h",
            "ftp://h",
            "http://",
            "http://u:s3cret@h",
            "http://u:80/s3cret@h",
            "http://h?s3cret=1",
            "http://h#x",
            "https://{s3cret}.io",
        ] {
            let error = join(base, "api.path", "/a").unwrap_err().to_string();
            assert!(error.starts_with("api.base_url: it ") && !error.contains("s3cret"), "{base}: {error}");
        }
        for path in ["http://other/a", "/a#b"] {
            let error = join("http://h", "api.path", path).unwrap_err().to_string();
            assert!(error.starts_with("api.path: it is not a path"), "{path}: {error}");
        }
    }
}
