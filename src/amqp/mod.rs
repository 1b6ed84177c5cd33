//! The broker: two supervised connections, one that consumes and acknowledges, one that publishes and awaits confirms.
//!
//! They are separate because RabbitMQ blocks a publishing connection under a resource alarm, and would block the
//! acknowledgements on it, too. The client library's own recovery is not used: any error, ended stream or timeout drops
//! the whole session, and a new one with a new generation replaces it.

mod acks;
mod body_sizes;
mod connect;
mod consume_session;
mod consumer;
mod consumer_count;
mod consumer_task;
mod earlier_subscriptions;
mod error;
mod inbox;
mod isolation;
mod management;
mod other_consumers;
mod pending_confirms;
mod properties;
mod publish;
mod publisher;
mod queue_counts;
mod returns;
mod short_string;
mod slow_start;
mod subscription;
mod supervise;
mod timeout;
pub mod topology;

pub(crate) use short_string::short_string;

pub use connect::BrokerAddresses;
pub use consumer::Consumer;
pub use consumer_count::OnOtherConsumers;
pub use error::SessionError;
pub use inbox::{AmqpInbox, AmqpSettler};
pub use management::{ManagedObject, ManagementApi, ManagementError, ManagementUrl};
pub use publisher::Publisher;
