//! The credential: a token, a file that holds one, or a login that fetches one.

mod file;
mod login;
mod password;
mod single_flight;
mod watched;

use std::{fmt, future::pending, path::PathBuf, sync::Arc};

use secrecy::SecretString;

use self::{file::TokenFile, login::Login, password::Password};
use super::{
    address,
    error::{BuildError, RefreshError},
    http::Http,
    post::Endpoint,
    settings::ApiSettings,
    token::Token,
};
use crate::domain::evidence::Evidence;

/// Told of each renewal, by a login or a changed token file, and of each that failed; not of every repeat of a failure.
pub type OnRefresh = Arc<dyn Fn(Result<(), &RefreshError>) + Send + Sync>;

/// Where tokens come from. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// `api.token`, with or without its prefix.
    Token(SecretString),
    /// A file that holds a token, read again when it changes.
    TokenFile(PathBuf),
    /// `api.login` and `api.password`, for a POST to the login path under `api.base_url`.
    Login {
        /// The path, `/api/auth/login` by default.
        path: String,
        /// The user's name.
        login: String,
        /// The user's password.
        password: SecretString,
        /// The file that the password came from, read again before each login; the password stays when it cannot be.
        password_file: Option<PathBuf>,
    },
}

/// A source at work, shared by all attempts.
pub(super) enum Credential {
    Fixed(Token),
    File(TokenFile),
    Login(Box<Login>),
}

impl Credential {
    pub(super) fn new(
        from: Credentials,
        settings: &ApiSettings,
        http: &Http,
        on_refresh: OnRefresh,
    ) -> Result<Self, BuildError> {
        Ok(match from {
            Credentials::Token(token) => Self::Fixed(Token::parse(&token).map_err(BuildError::Token)?),
            Credentials::TokenFile(path) => {
                Self::File(TokenFile::open(path, on_refresh).map_err(BuildError::TokenFile)?)
            }
            Credentials::Login { path, login, password, password_file } => {
                let url = address::join(&settings.base_url, "api.login_path", &path)?;
                let endpoint = Endpoint::new(&url, "api.login_path")?;
                let refused = refused_status(&settings.unauthorized_statuses);
                let password = Password::new(password, password_file);
                Self::Login(Box::new(Login::new(http.clone(), endpoint, login, password, refused, on_refresh)))
            }
        })
    }

    /// The token to send, or what is known of an attempt that cannot be made without one.
    pub(super) async fn token(&self) -> Result<Token, Evidence> {
        match self {
            Self::Fixed(token) => Ok(token.clone()),
            Self::File(file) => Ok(Box::pin(file.token()).await),
            Self::Login(login) => Box::pin(login.token()).await,
        }
    }

    /// The API did not accept this token: the next attempt looks for another.
    pub(super) async fn refused(&self, token: &Token) {
        match self {
            Self::Fixed(_) => {}
            Self::File(file) => Box::pin(file.refused(token)).await,
            Self::Login(login) => Box::pin(login.refused(token)).await,
        }
    }

    /// As [`super::ApiClient::credential_changed`].
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

/// The status that stands for "the credential is not accepted", whatever an installation counts as that.
fn refused_status(unauthorized_statuses: &[u16]) -> u16 {
    let usual = 401;
    if unauthorized_statuses.contains(&usual) { usual } else { unauthorized_statuses.first().copied().unwrap_or(usual) }
}
