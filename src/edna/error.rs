//! Errors besides those of an attempt: at start, and when the credential is renewed. None holds a secret.

use std::{error::Error, io, path::PathBuf, sync::Arc};

use crate::domain::evidence::{Evidence, NotSent};

/// A token that cannot be sent in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Only white space or the prefix.
    #[error("the token is empty; set it, with or without the prefix Bearer")]
    Empty,
    /// White space inside, or a character outside printable ASCII.
    #[error("the token contains white space or characters that a header cannot carry; set the token alone")]
    Invalid,
}

/// A client certificate that cannot be used for mutual TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate file.
    #[error("holds no valid PEM certificate; name the client certificate's PEM file")]
    Certificate,
    /// The key file.
    #[error("holds no valid PEM private key, or an encrypted one; name the key without a passphrase")]
    Key,
    /// Both are valid, but do not belong together.
    #[error("is not the key of the certificate in cert_file; name the files of one pair")]
    Mismatch,
}

impl IdentityError {
    /// The setting to correct, in the section of the connection.
    const fn setting(self) -> &'static str {
        match self {
            Self::Certificate => "cert_file",
            Self::Key | Self::Mismatch => "key_file",
        }
    }
}

/// Why the client cannot be built. Each error names the setting and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The base URL, or a path below it, is invalid.
    #[error("{setting}: {problem}")]
    Address {
        /// Which setting.
        setting: &'static str,
        /// The problem and the remedy, without the value.
        problem: &'static str,
    },
    /// A file with certificates or a key cannot be read.
    #[error("{setting}: cannot read {path}: {source}; name a readable PEM file")]
    Unreadable {
        /// Which setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no certificate, or an invalid one.
    #[error("api.ca_file: {path} holds no PEM certificate, or an invalid one; name the CA's certificate in PEM form")]
    CaInvalid {
        /// The file.
        path: PathBuf,
    },
    /// The client certificate or its key is unusable.
    #[error("api.{setting}: {0}", setting = .0.setting())]
    Identity(#[from] IdentityError),
    /// The fixed token is unusable.
    #[error("api.token: {0}")]
    Token(TokenError),
    /// The token file is unusable at start.
    #[error(transparent)]
    TokenFile(RefreshError),
    /// reqwest cannot build the client, usually because the system's certificates are missing.
    #[error("the HTTPS client cannot be built: {0}; check that the system's CA certificates are installed")]
    Http(String),
}

impl From<reqwest::Error> for BuildError {
    /// Keeps the innermost cause: the outer errors can show a URL.
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let causes = std::iter::successors(Some(&error as &dyn Error), |&cause| cause.source());
        Self::Http(causes.last().map(ToString::to_string).unwrap_or_default())
    }
}

/// Called for each renewal of the credential, by a login or a changed file, and for each failure; a repeated failure only
/// once.
pub type OnRefresh = Arc<dyn Fn(Result<(), &RefreshError>) + Send + Sync>;

/// Why the credential could not be renewed, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// The token file cannot be read; the previous token stays in use.
    #[error("the token file {path} cannot be read ({kind}); make it readable")]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        kind: io::ErrorKind,
    },
    /// The token file holds no usable token; the previous one stays in use.
    #[error("the token file {path}: {source}")]
    FileToken {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TokenError,
    },
    /// The password file cannot be read; the previous password stays in use.
    #[error("the password file {path} cannot be read ({kind}); make it readable")]
    PasswordUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        kind: io::ErrorKind,
    },
    /// The password file holds only white space; the previous password stays in use.
    #[error("the password file {path} is empty; write the password to it")]
    PasswordEmpty {
        /// The file.
        path: PathBuf,
    },
    /// The API refused the login.
    #[error("the login was refused with HTTP {status}; check api.login, api.password and api.login_path")]
    LoginRefused {
        /// The HTTP status.
        status: u16,
    },
    /// The API cannot process a login now.
    #[error("the login failed with HTTP {status} and is retried; check that the API works")]
    LoginPutOff {
        /// The HTTP status.
        status: u16,
    },
    /// The API accepted the login but returned no usable token.
    #[error("the login's response holds no usable token; check that api.login_path is the API's")]
    LoginWithoutToken,
    /// No connection for the login.
    #[error("the login was {}; check that the API can be reached", Evidence::NotSent(.0.clone()))]
    LoginNotSent(NotSent),
    /// The login was sent and got no response.
    #[error("the login got no response; check that the API works")]
    LoginNoAnswer,
}
