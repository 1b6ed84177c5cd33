//! Publishes until the broker has stored the message.

use std::sync::Arc;

use super::context::PipelineContext;
use crate::{
    domain::message::Message,
    gate::GateReason,
    ports::{Outbox, Ports, PublishError},
};

impl<P: Ports> PipelineContext<P> {
    /// Retries until the broker has confirmed the message. Meanwhile the gate is closed: an attempt whose outcome cannot
    /// be published must not start.
    pub(super) async fn publish(&self, message: Option<Arc<Message>>) {
        let Some(message) = message else { return };
        if let Err(error) = self.ports.outbox().publish(message.clone()).await {
            // Boxed: rarely needed, and it would enlarge the future of every task.
            Box::pin(self.retry_publish(message, error)).await;
        }
    }

    async fn retry_publish(&self, message: Arc<Message>, error: PublishError) {
        let hold = self.gate.close(GateReason::Blocked, &error.to_string());
        for failures in 1.. {
            tokio::time::sleep(self.backoff(failures)).await;
            if self.ports.outbox().publish(message.clone()).await.is_ok() {
                break;
            }
        }
        drop(hold);
    }
}
