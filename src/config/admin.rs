//! `[admin]`

use std::net::{Ipv4Addr, SocketAddr};

use secrecy::SecretString;

use super::{Mistakes, Sources, reader::Reader};

/// The server for metrics, probes and control.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// The address to listen on; port 0 takes a free port.
    pub listen: SocketAddr,
    /// The token for `POST /pause` and `/resume`; `None` disables both.
    pub token: Option<SecretString>,
}

impl AdminSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let listen = reader.address("admin.listen").unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let is_set = reader.is_set("admin.token") || reader.is_set("admin.token_file");
        Self { listen, token: is_set.then(|| reader.secret_value("admin.token", admin_token)).flatten() }
    }

    /// Reads this section alone, for commands that talk to a running daemon.
    ///
    /// # Errors
    /// All mistakes in the section, and all unknown names.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let admin = Self::read(&mut reader);
        reader.finish(admin)
    }
}

/// The token is sent in an HTTP header.
fn admin_token(text: &str) -> Result<SecretString, String> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.into());
    }
    Err("has white space or characters that an HTTP header cannot carry; use letters and digits".to_owned())
}
