//! The life of one delivery, from received to settled.

use std::sync::Arc;

use super::{
    attempt, command_in_hand::CommandInHand, context::PipelineContext, delivery_state::DeliveryState,
    resolution::Resolution, schedule_handle::ScheduleHandle,
};
use crate::{
    domain::decode::Malformed,
    ports::{Delivery, Ports, Settler},
    telemetry::{GaugeGuard, events::CommandReceived},
};

/// Attempts a command until it is resolved, then settles its delivery or leaves it to the broker.
pub(super) async fn run_command<P: Ports>(
    context: Arc<PipelineContext<P>>,
    mut in_hand: Box<CommandInHand>,
    mut handle: ScheduleHandle,
) {
    let gauge = receive(&context, &in_hand.delivery, &in_hand.state);
    // Boxed: the attempts need most of a task's memory, which is free again while the task waits for confirms.
    let resolution = Box::pin(attempt::resolve(&context, &mut in_hand, &mut handle)).await;
    match resolution {
        Resolution::Finished(result) => {
            // The next command of the same order key need not wait for the confirms.
            drop(handle);
            context.settle_finished(&mut in_hand, result).await;
        }
        Resolution::AlreadyFinished(outcome, claim) => {
            drop(handle);
            Box::pin(context.settle_already_finished(&mut in_hand, outcome)).await;
            drop(claim);
        }
        Resolution::Delayed(delay) => {
            if Box::pin(context.settle_delayed(&in_hand, delay)).await {
                handle.delayed();
            } else {
                handle.requeued();
                Box::pin(context.record_unposted(&in_hand)).await;
            }
        }
        Resolution::Requeued => {
            drop(handle);
            Box::pin(context.record_unposted(&in_hand)).await;
        }
    }
    drop(gauge);
}

/// Publishes a malformed message as a dead letter and settles its delivery.
pub(super) async fn dead_letter_malformed<P: Ports>(
    context: Arc<PipelineContext<P>>,
    delivery: Delivery,
    malformed: Malformed,
) {
    let state = DeliveryState::new(&delivery, context.now(), context.monotonic());
    let gauge = receive(&context, &delivery, &state);
    // The broker redelivers what a lost session delivered: a second dead letter would be published.
    if context.ports.settler().is_current(delivery.tag) {
        context.settle_malformed(&delivery, &state, &malformed).await;
    }
    drop(gauge);
}

fn receive<P: Ports>(context: &PipelineContext<P>, delivery: &Delivery, state: &DeliveryState) -> GaugeGuard {
    context.telemetry.record(CommandReceived { redelivered: delivery.redelivered, waited: state.queue_wait() });
    context.telemetry.in_hand()
}
