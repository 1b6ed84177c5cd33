//! `[events]`

use super::reader::Reader;
use crate::domain::event::EventFormat;

/// The events and where they are published.
#[derive(Clone, Debug)]
pub struct EventsSettings {
    /// Whether the topology has a queue for all events.
    pub default_queue: bool,
    /// Whether events are also published to the queue in `reply_to`.
    pub replies: bool,
    /// The format of events.
    pub format: EventFormat,
}

impl EventsSettings {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            default_queue: reader.flag("events.default_queue"),
            replies: reader.flag("events.replies"),
            format: reader.choice("events.format").unwrap_or(EventFormat::Plain),
        }
    }
}
