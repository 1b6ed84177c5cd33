//! What can go wrong besides an attempt: at start, and when the credential is renewed. Never holds a secret.

use std::{io, path::PathBuf};

use crate::domain::evidence::{Evidence, NotSent};

/// A token that cannot be put into a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing but white space or the prefix.
    #[error("the token is empty; give one, with or without the prefix Bearer")]
    Empty,
    /// White space within, or something else than printable ASCII.
    #[error("the token has white space within or characters that a header cannot carry; give the token alone")]
    Invalid,
}

/// Why no client could be made; each names the setting and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The base or a path under it is no address.
    #[error("{setting}: {problem}")]
    Address {
        /// Which setting.
        setting: &'static str,
        /// What is wrong and what to write instead, without the value.
        problem: &'static str,
    },
    /// The file with certificates cannot be read.
    #[error("api.ca_file: cannot read {path}: {source}; give a readable PEM file")]
    CaUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no certificates, or a broken one.
    #[error("api.ca_file: {path} holds no PEM certificate, or a broken one; give the CA's certificate in PEM form")]
    CaInvalid {
        /// The file.
        path: PathBuf,
    },
    /// The fixed token is unusable.
    #[error("api.token: {0}")]
    Token(TokenError),
    /// The token file is unusable from the start.
    #[error(transparent)]
    TokenFile(RefreshError),
    /// The HTTP library refused, usually for want of the system's certificates.
    #[error("the HTTPS client cannot be set up: {0}; check that the system's CA certificates are installed")]
    Http(String),
}

/// Why the credential could not be renewed; each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// The token file cannot be read; the earlier token stays in use.
    #[error("the token file {path} cannot be read ({kind}); make it readable")]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        kind: io::ErrorKind,
    },
    /// The token file holds no usable token; the earlier one stays in use.
    #[error("the token file {path}: {source}")]
    FileToken {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TokenError,
    },
    /// The password file cannot be read; the earlier password stays in use.
    #[error("the password file {path} cannot be read ({kind}); make it readable")]
    PasswordUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        kind: io::ErrorKind,
    },
    /// The password file holds nothing but white space; the earlier password stays in use.
    #[error("the password file {path} is empty; put the password there")]
    PasswordEmpty {
        /// The file.
        path: PathBuf,
    },
    /// The API does not accept the login.
    #[error("the login was refused with HTTP {status}; check api.login, api.password and the login path")]
    LoginRefused {
        /// The HTTP status.
        status: u16,
    },
    /// The API cannot answer a login now.
    #[error("the login was put off with HTTP {status}; check that the API works, it is tried again")]
    LoginPutOff {
        /// The HTTP status.
        status: u16,
    },
    /// The API said yes to the login and gave no token that we can use.
    #[error("the login's answer holds no usable token; check that the login path is the API's")]
    LoginWithoutToken,
    /// The login got no connection.
    #[error("the login was {}; check that the API can be reached", Evidence::NotSent(*.0))]
    LoginNotSent(NotSent),
    /// The login was sent and no answer came.
    #[error("the login got no answer; check that the API works")]
    LoginNoAnswer,
}
