//! One connection through the proxy: whose it is, and which faults are its own.

use std::sync::{Arc, Mutex, MutexGuard, atomic::Ordering};

use tokio::sync::watch;

use super::{Control, Counters, Faults, Way};

/// A kind of connections, by the name that the client gives its own in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The daemon's that takes commands and acknowledges them.
    Consume,
    /// The daemon's that publishes.
    Publish,
    /// Any other, and each that has not told its name yet.
    Other,
}

/// The name stands in the client's first frame; what comes later is not looked at.
const OPENING_BYTES: usize = 4_096;

impl Link {
    /// In the order of their numbers.
    pub(crate) const ALL: [Self; 3] = [Self::Consume, Self::Publish, Self::Other];

    /// The word in names, metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Publish => "publish",
            Self::Other => "other",
        }
    }

    fn named_in(opening: &[u8]) -> Option<Self> {
        let named = |link: &Self| {
            let name = format!("edna-courier {}", link.as_str());
            opening.windows(name.len()).any(|window| window == name.as_bytes())
        };
        [Self::Consume, Self::Publish].into_iter().find(named)
    }
}

/// What both directions of a connection share.
#[derive(Clone, Debug)]
pub(super) struct Line {
    control: watch::Receiver<Control>,
    pub(super) counters: Arc<Counters>,
    life: Arc<Mutex<Life>>,
}

#[derive(Debug)]
struct Life {
    link: Link,
    /// The faults of its kind when it became one of it.
    born: Faults,
    /// What the client said first, until its name is found in it.
    opening: Vec<u8>,
}

impl Line {
    pub(super) fn new(mut control: watch::Receiver<Control>, counters: Arc<Counters>) -> Self {
        let born = *control.borrow_and_update().of(Link::Other);
        counters.swallowed.fetch_add(u64::from(born.blackhole), Ordering::Relaxed);
        let life = Life { link: Link::Other, born, opening: Vec::new() };
        Self { control, counters, life: Arc::new(Mutex::new(life)) }
    }

    /// Whether it was born into a black hole.
    pub(super) fn is_swallowed(&self) -> bool {
        self.life().born.blackhole
    }

    /// Resolves when it is cut, or the proxy is gone.
    pub(super) async fn cut(&self) {
        let is_cut = |control: &Control| {
            let life = self.life();
            control.of(life.link).cuts != life.born.cuts
        };
        drop(self.control.clone().wait_for(is_cut).await);
    }

    /// Resolves when bytes may pass this way, with the faults of that moment.
    pub(super) async fn flows(&mut self, way: Way) -> Option<Faults> {
        let life = Arc::clone(&self.life);
        let flows = |control: &Control| {
            let life = life.lock().expect("not poisoned");
            !life.born.blackhole && control.of(life.link).flows(way)
        };
        let control = *self.control.wait_for(flows).await.ok()?;
        Some(*control.of(self.life().link))
    }

    /// Resolves at the next change of what the proxy is to do; `None` when it is gone.
    pub(super) async fn changed(&mut self) -> Option<()> {
        self.control.changed().await.ok()
    }

    /// Looks for the client's name in what it says.
    pub(super) fn heard(&self, bytes: &[u8]) {
        // First this lock and then the other, as whoever waits for a change does.
        let control = *self.control.borrow();
        let mut life = self.life();
        if life.link != Link::Other || life.opening.len() >= OPENING_BYTES {
            return;
        }
        life.opening.extend_from_slice(bytes);
        if let Some(link) = Link::named_in(&life.opening) {
            (life.link, life.born) = (link, *control.of(link));
            self.counters.swallowed.fetch_add(u64::from(life.born.blackhole), Ordering::Relaxed);
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().expect("not poisoned")
    }
}
