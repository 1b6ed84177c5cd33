//! The pipeline's ends of the consume session: deliveries in, acknowledgements out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
};

use tokio::sync::{mpsc, watch};

use crate::ports::{Delivery, DeliveryTag, Inbox, Settler};

/// Receives deliveries from the consume session.
pub struct AmqpInbox {
    pub(super) deliveries: mpsc::UnboundedReceiver<Delivery>,
    pub(super) prefetch: watch::Sender<u16>,
    pub(super) is_consuming: Arc<AtomicBool>,
    pub(super) max_in_hand: Arc<AtomicU16>,
}

impl Inbox for AmqpInbox {
    async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    fn try_next(&mut self) -> Option<Delivery> {
        self.deliveries.try_recv().ok()
    }

    fn is_consuming(&self) -> bool {
        self.is_consuming.load(Ordering::Relaxed)
    }

    fn max_in_hand(&self) -> u16 {
        self.max_in_hand.load(Ordering::Relaxed)
    }

    fn set_prefetch(&mut self, prefetch: u16) {
        self.prefetch.send_replace(prefetch);
    }
}

/// Settles deliveries with the consume session; clones share it.
#[derive(Clone)]
pub struct AmqpSettler {
    pub(super) tags: mpsc::UnboundedSender<DeliveryTag>,
    pub(super) generation: Arc<AtomicU64>,
}

impl Settler for AmqpSettler {
    fn ack(&self, tag: DeliveryTag) {
        // Fails only at the end of shutdown, when the broker requeues the delivery.
        let _ = self.tags.send(tag);
    }

    fn is_current(&self, tag: DeliveryTag) -> bool {
        self.generation.load(Ordering::Acquire) == tag.generation
    }
}
