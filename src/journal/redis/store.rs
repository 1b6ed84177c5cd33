//! The identity of the store, by which a lost, emptied or replaced one is detected.
//!
//! The mark is the server's run id and a random text. An owner that finds no mark, or that of another server, writes a new
//! one and begins a period of doubt, for all owners and over their restarts. Every owner compares the mark in each round of
//! its renewal task, and each start of a send without a record compares it again, so that no start relies on a store that
//! was emptied since the last round.

use super::script::ScriptReply;

/// Why a missing record proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoubtCause {
    /// There was no mark.
    Empty,
    /// The mark was that of another server, or of the same one before its restart.
    OtherServer,
    /// Each node of a Cluster may lose records, and there is no mark for all of them.
    Cluster,
}

impl DoubtCause {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => {
                "Redis held nothing of an earlier use: it is new, or was emptied or replaced by an empty one"
            }
            Self::OtherServer => "Redis was restarted, failed over or replaced, and may lack the last records",
            Self::Cluster => "a Redis Cluster can lose records without notice",
        }
    }
}

/// The store as it was checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckedStore {
    /// Empty in a Cluster.
    pub(super) mark: Box<str>,
    pub(super) doubt: Option<DoubtCause>,
}

impl CheckedStore {
    pub(super) fn cluster() -> Self {
        Self { mark: Box::default(), doubt: Some(DoubtCause::Cluster) }
    }

    /// Returns `None` for a reply that the script does not give.
    pub(super) fn parse(reply: ScriptReply) -> Option<Self> {
        let mut parts = reply.into_iter();
        let mark = String::from_utf8(parts.next()?).ok()?.into();
        let doubt = match parts.next()?.as_slice() {
            b"" => None,
            b"server" => Some(DoubtCause::OtherServer),
            // Version 0.1.0 writes "1".
            _ => Some(DoubtCause::Empty),
        };
        Some(Self { mark, doubt })
    }
}
