//! The API credential: a token, a file that holds one, or a login that fetches one.

mod file;
mod login;
mod password;
mod single_flight;
mod watched_file;

use std::{fmt, future::pending, path::PathBuf};

use secrecy::SecretString;

use self::{file::TokenFile, login::Login, password::Password};
use super::{
    address,
    endpoint::Endpoint,
    error::{BuildError, OnRefresh},
    http::HttpClient,
    settings::ApiSettings,
    token::Token,
};
use crate::domain::evidence::NoToken;

/// The source of tokens. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// `api.token`, with or without its prefix.
    Token(SecretString),
    /// A file that holds a token, re-read when it changes.
    TokenFile(PathBuf),
    /// `api.login` and `api.password`, for a POST to the login path under `api.base_url`.
    Login {
        /// The path, `/api/auth/login` by default.
        path: String,
        /// The user's name.
        login: String,
        /// The user's password.
        password: SecretString,
        /// The file of the password, re-read before each login; while it is unreadable, the last password stays in use.
        password_file: Option<PathBuf>,
    },
}

/// The credential in use, shared by all attempts.
pub(super) enum Credential {
    Fixed(Token),
    File(TokenFile),
    Login(Box<Login>),
}

impl Credential {
    pub(super) fn new(
        credentials: Credentials,
        settings: &ApiSettings,
        http: &HttpClient,
        on_refresh: OnRefresh,
    ) -> Result<Self, BuildError> {
        Ok(match credentials {
            Credentials::Token(token) => Self::Fixed(Token::parse(&token).map_err(BuildError::Token)?),
            Credentials::TokenFile(path) => {
                Self::File(TokenFile::open(path, on_refresh).map_err(BuildError::TokenFile)?)
            }
            Credentials::Login { path, login, password, password_file } => {
                let endpoint = Endpoint::new(address::join(&settings.base_url, "api.login_path", &path)?);
                let password = Password::new(password, password_file);
                Self::Login(Box::new(Login::new(http.clone(), endpoint, login, password, on_refresh)))
            }
        })
    }

    /// Returns the token for the next request.
    ///
    /// # Errors
    /// If there is no token: why the login failed.
    pub(super) async fn token(&self) -> Result<Token, NoToken> {
        match self {
            Self::Fixed(token) => Ok(token.clone()),
            Self::File(file) => Ok(Box::pin(file.token()).await),
            Self::Login(login) => Box::pin(login.token()).await,
        }
    }

    /// Records that the API did not accept `token`: the next attempt looks for another one.
    pub(super) async fn reject(&self, token: &Token) {
        match self {
            Self::Fixed(_) => {}
            Self::File(file) => Box::pin(file.reject(token)).await,
            Self::Login(login) => Box::pin(login.reject(token)).await,
        }
    }

    /// See [`super::ApiClient`]'s `credential_changed`.
    pub(super) async fn changed(&self) {
        match self {
            Self::Fixed(_) => pending().await,
            Self::File(file) => file.changed().await,
            Self::Login(login) => login.changed().await,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed(_) => "Fixed",
            Self::File(_) => "File",
            Self::Login(_) => "Login",
        })
    }
}
