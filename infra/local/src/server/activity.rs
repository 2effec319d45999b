//! What a connection is doing, and the time limit for a request's body.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{
    sync::Notify,
    time::{Instant, Sleep, sleep},
};

/// The time for the body of a request, from its headers on.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);
/// For how long a new connection is kept without a request, even if another one needs its place: its request may be under
/// way to the server.
const NEW_GRACE: Duration = Duration::from_millis(250);
/// For how long a connection is kept after a request, even if another one needs its place: the client may be about to use
/// it again.
const IDLE_GRACE: Duration = Duration::from_secs(1);

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    phase: Mutex<Phase>,
    idle: Arc<Notify>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// It was opened then, and no request has arrived yet.
    New(Instant),
    /// A request is being answered.
    Busy,
    /// The last request ended then.
    Idle(Instant),
}

/// A request under way; dropping it ends it.
pub(super) struct UnderWay(Arc<Activity>);

impl Activity {
    pub(super) fn new(idle: Arc<Notify>) -> Activity {
        Activity {
            phase: Mutex::new(Phase::New(Instant::now())),
            idle,
        }
    }

    pub(super) fn begin(activity: &Arc<Activity>) -> UnderWay {
        *activity.lock() = Phase::Busy;
        UnderWay(Arc::clone(activity))
    }

    /// When the connection may be closed in favour of another one; `None` during a request.
    pub(super) fn closable_since(&self) -> Option<Instant> {
        match *self.lock() {
            Phase::New(since) => Some(since + NEW_GRACE),
            Phase::Busy => None,
            Phase::Idle(since) => Some(since + IDLE_GRACE),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.lock() = Phase::Idle(Instant::now());
        self.0.idle.notify_one();
    }
}

/// The body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the body of the request did not arrive within {BODY_TIMEOUT:?}")]
pub(super) struct BodyTimedOut;

/// A request's body that fails if it does not arrive in time.
pub(super) struct TimedBody {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
}

impl TimedBody {
    pub(super) fn new(body: Incoming) -> TimedBody {
        TimedBody {
            body,
            deadline: Box::pin(sleep(BODY_TIMEOUT)),
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Body for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => self
                .deadline
                .as_mut()
                .poll(context)
                .map(|()| Some(Err(BodyTimedOut.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
