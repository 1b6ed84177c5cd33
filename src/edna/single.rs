//! A connection of HTTP/1.1: one request at a time, and its answer.
//!
//! The protocol is the library's, reading and writing are ours: thousands of connections wait for their answers, and none of
//! them holds a buffer meanwhile, or is a task.

use std::{
    future::poll_fn,
    io,
    mem::{self, MaybeUninit},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use hyper::{
    Request, Response, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::unconstrained,
};
use ureq_proto::{
    BodyMode,
    client::{
        Call, RecvBodyResult, RecvResponseResult, SendRequestResult,
        state::{RecvBody, RecvResponse},
    },
};

use super::{connect::BoxError, link::Unanswered};

/// Longer heads are no answer, nor are longer lines between the pieces of a body.
const LONGEST_HEAD_BYTES: usize = 64 * 1024;
/// As many as the library allows.
const MOST_INTERIM_HEADERS: usize = 128;
/// So much is read at once, onto the stack.
const READ_BYTES: usize = 8 * 1024;

/// An open connection.
pub(super) struct Single<S> {
    stream: S,
    /// What came, and is not taken as a part of an answer yet.
    unread: Vec<u8>,
    /// An answer came before all of its request was written, or leaves it open where it ends.
    must_close: bool,
}

/// The head of an answer, and what the library knows of the rest.
type Head = (Response<()>, Call<RecvResponse>);

/// What of an answer is still to be read.
pub(super) enum Rest {
    /// A body, or the end of it.
    Body(Box<Call<RecvBody>>),
    /// Nothing.
    Nothing {
        /// As far as the answer tells.
        is_kept_open: bool,
    },
}

impl<S: AsyncRead + AsyncWrite + Unpin> Single<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new(), must_close: false }
    }

    /// Whether the peer is silent, as it is to be between an answer and the next request: if it is not, it closes.
    pub(super) async fn is_silent(&mut self) -> bool {
        // A task that has looked at many connections at once would find the others silent without looking.
        unconstrained(poll_fn(|context| Poll::Ready(self.poll_read(context).is_pending()))).await
    }

    /// Whether another request may follow an answer of which this is left.
    pub(super) fn may_serve_again(&self, rest: &Rest) -> bool {
        matches!(rest, Rest::Nothing { is_kept_open: true }) && self.unread.is_empty() && !self.must_close
    }

    /// Sends a POST, and reads the head of its answer.
    pub(super) async fn send(&mut self, post: &[u8]) -> Result<Response<Rest>, Unanswered> {
        let mut unsent = post;
        let answer = poll_fn(|context| self.poll_head(context, &mut unsent)).await;
        let (head, call) = answer.ok_or(Unanswered::Broken)?;
        let is_kept_open = |must_close: bool| Rest::Nothing { is_kept_open: !must_close };
        let rest = match call.proceed().ok_or(Unanswered::Broken)? {
            RecvResponseResult::RecvBody(call) => Rest::Body(Box::new(call)),
            RecvResponseResult::Redirect(call) => is_kept_open(call.must_close_connection()),
            RecvResponseResult::Cleanup(call) => is_kept_open(call.must_close_connection()),
        };
        self.must_close = !unsent.is_empty() || !has_clear_end(&head, &rest);
        Ok(head.map(|()| rest))
    }

    /// The next piece of the body, or that there is none.
    pub(super) async fn chunk(&mut self, rest: &mut Rest) -> Result<Option<Vec<u8>>, BoxError> {
        let mut passed_over = 0;
        while let Rest::Body(call) = rest {
            let mut chunk = vec![0; self.unread.len()];
            let (taken, given) = call.read(&self.unread, &mut chunk)?;
            self.unread.drain(..taken);
            let (has_end, is_over) = (call.body_mode() != BodyMode::CloseDelimited, call.can_proceed());
            if has_end && is_over {
                rest.end();
            }
            if given > 0 {
                chunk.truncate(given);
                return Ok(Some(chunk));
            }
            passed_over += taken;
            if passed_over + self.unread.len() > LONGEST_HEAD_BYTES {
                return Err(io::Error::from(io::ErrorKind::InvalidData).into());
            }
            if taken == 0 && !(has_end && is_over) {
                match poll_fn(|context| self.poll_read(context)).await? {
                    0 if has_end => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                    0 => rest.end(),
                    _ => {}
                }
            }
        }
        // Nobody knows for how long the connection will be unused.
        self.unread.shrink_to_fit();
        Ok(None)
    }

    /// Reads while the request is still being written, too: an answer may come early, and the peer may then take no more.
    /// There is none if the connection broke, or what came is no answer.
    fn poll_head(&mut self, context: &mut Context<'_>, unsent: &mut &[u8]) -> Poll<Option<Head>> {
        let can_write = !matches!(self.poll_write(context, unsent), Poll::Ready(Err(_)));
        loop {
            match self.poll_read(context) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Pending if can_write => return Poll::Pending,
                _ => return Poll::Ready(None),
            }
            match self.head() {
                Ok(Some(answer)) => return Poll::Ready(Some(answer)),
                Ok(None) if self.unread.len() <= LONGEST_HEAD_BYTES => {}
                _ => return Poll::Ready(None),
            }
        }
    }

    /// The head, if all of it has come. Interim ones are passed over, and count as parts of it: they can't go on without end.
    fn head(&mut self) -> Result<Option<Head>, BoxError> {
        let mut unread = self.unread.as_slice();
        while let Some(rest) = after_interim(unread) {
            unread = rest;
        }
        // Made anew for each piece that comes: it is large, and most heads come in one.
        let mut call = expect()?;
        let (taken, head) = call.try_response(unread, false)?;
        if head.is_some() {
            self.unread.drain(..self.unread.len() - unread.len() + taken);
        }
        Ok(head.map(|head| (head, call)))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, unsent: &mut &[u8]) -> Poll<io::Result<()>> {
        while !unsent.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => unsent.advance(count),
            }
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// How many bytes came; none is the end.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        self.unread.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }
}

impl Rest {
    /// All of the body has come.
    fn end(&mut self) {
        let rest = mem::replace(self, Self::Nothing { is_kept_open: false });
        let Self::Body(call) = rest else { return };
        let must_close = match (*call).proceed() {
            Some(RecvBodyResult::Redirect(call)) => call.must_close_connection(),
            Some(RecvBodyResult::Cleanup(call)) => call.must_close_connection(),
            None => true,
        };
        *self = Self::Nothing { is_kept_open: !must_close };
    }
}

/// What follows an interim head, if one has come whole. The library refuses a 100 with headers, which some servers send.
fn after_interim(unread: &[u8]) -> Option<&[u8]> {
    let is_interim = |head: &httparse::Response<'_, '_>| matches!(head.code, Some(100 | 102..=199));
    let mut status_line = httparse::Response::new(&mut []);
    let _ = status_line.parse(unread);
    if !is_interim(&status_line) {
        return None;
    }
    let mut headers = [httparse::EMPTY_HEADER; MOST_INTERIM_HEADERS];
    match httparse::Response::new(&mut headers).parse(unread) {
        Ok(httparse::Status::Complete(length)) => unread.get(length..),
        _ => None,
    }
}

/// Whether nobody can mistake where an answer ends: else what is left of it might be taken for the next one.
fn has_clear_end(head: &Response<()>, rest: &Rest) -> bool {
    let length = head.headers().get(CONTENT_LENGTH);
    let is_encoded = head.headers().contains_key(TRANSFER_ENCODING);
    match rest {
        Rest::Body(_) => !is_encoded || (length.is_none() && head.version() != Version::HTTP_10),
        Rest::Nothing { .. } => !is_encoded && length.is_none_or(|length| length == "0"),
    }
}

/// What the library makes of an answer. It reads one to a POST as one to a GET, for which it needs no more than this.
fn expect() -> Result<Call<RecvResponse>, BoxError> {
    let mut call = Call::new(Request::new(()))?.proceed();
    call.write(&mut [0; 64])?;
    match call.proceed()? {
        Some(SendRequestResult::RecvResponse(call)) => Ok(call),
        _ => Err("a GET has no body".into()),
    }
}

#[cfg(test)]
mod tests;
