//! The role of a client's connection.

/// The role of a connection, from the connection name in the client's handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The daemon's consuming connection.
    Consume,
    /// The daemon's publishing connection.
    Publish,
    /// Another client, or no connection name yet.
    Other,
}

impl Role {
    /// In discriminant order.
    pub(crate) const ALL: [Self; 3] = [Self::Consume, Self::Publish, Self::Other];

    /// The name in connection names, metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Publish => "publish",
            Self::Other => "other",
        }
    }

    /// The role by the connection name in these bytes, if they contain the daemon's.
    pub(super) fn from_handshake(handshake: &[u8]) -> Option<Self> {
        let named = |role: &Self| {
            let name = format!("edna-courier {}", role.as_str());
            handshake.windows(name.len()).any(|window| window == name.as_bytes())
        };
        [Self::Consume, Self::Publish].into_iter().find(named)
    }
}
