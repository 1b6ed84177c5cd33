//! A connection that a request may use: of HTTP/1.1 for one at a time, or of HTTP/2 for many.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http2};

use super::{
    connect::{BoxError, Stream},
    post::Post,
    single::{self, Single},
};

/// A connection.
pub(super) enum Link {
    Single(Single<Stream>),
    Shared(Shared),
}

/// Clones are requests under way, but for the one that the pool has.
#[derive(Clone)]
pub(super) struct Shared {
    sender: http2::SendRequest<Full<Bytes>>,
    requests: Arc<()>,
}

/// What of an answer is still to be read, from the link by which its head came.
pub(super) enum Rest {
    Single(single::Rest),
    Shared(Incoming),
}

/// Why a request has no answer.
pub(super) enum Unanswered {
    /// Nothing of it was sent, or the peer certainly did not look at it.
    NotSent(BoxError),
    /// It may have arrived.
    Broken,
}

impl Link {
    /// Sends a request, and reads the head of its answer.
    pub(super) async fn send(&mut self, post: &Post<'_>) -> Result<Response<Rest>, Unanswered> {
        match self {
            Self::Single(single) => single.send(&post.bytes()).await.map(|answer| answer.map(Rest::Single)),
            // Boxed, for the sake of those that do not need it.
            Self::Shared(shared) => Box::pin(shared.send(post.request())).await.map(|answer| answer.map(Rest::Shared)),
        }
    }

    /// The next piece of the answer's body, or that there is none; `None` when it broke off. Trailers are none.
    pub(super) async fn chunk(&mut self, rest: &mut Rest) -> Option<Option<Bytes>> {
        match (self, rest) {
            (Self::Single(single), Rest::Single(rest)) => Some(single.chunk(rest).await.ok()?.map(Bytes::from)),
            (Self::Shared(_), Rest::Shared(incoming)) => match incoming.frame().await {
                Some(frame) => Some(Some(frame.ok()?.into_data().unwrap_or_default())),
                None => Some(None),
            },
            _ => None,
        }
    }
}

impl Shared {
    pub(super) fn new(sender: http2::SendRequest<Full<Bytes>>) -> Self {
        Self { sender, requests: Arc::default() }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Unanswered> {
        let sent = self.sender.try_send_request(request).await;
        // A request that comes back was not begun.
        sent.map_err(|mut error| match error.take_message().is_some() || was_refused(error.error()) {
            true => Unanswered::NotSent(error.into_error().into()),
            false => Unanswered::Broken,
        })
    }

    /// How many requests, without the pool's own clone.
    pub(super) fn under_way(&self) -> usize {
        Arc::strong_count(&self.requests).saturating_sub(1)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether it is the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.requests, &other.requests)
    }
}

/// Whether the peer of a shared connection says that it did not look at the request (RFC 9113, 8.7): it refused it, or went
/// away having taken only earlier ones. The library tells the latter of those alone that came after the last one taken.
fn was_refused(error: &hyper::Error) -> bool {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else { return false };
    let has_gone = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    let has_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (has_gone || has_refused)
}
