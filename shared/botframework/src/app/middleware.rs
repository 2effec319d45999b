//! Code around every turn and around everything that is sent.

use std::fmt;
use std::sync::Arc;

use super::client::{NextSend, Outgoing, SendFuture, SendStep};
use super::context::Context;
use super::error::Error;
use crate::connector::SendReceipt;
use crate::http::BoxFuture;

/// The result of a turn.
pub(super) type TurnFuture = BoxFuture<'static, Result<(), Error>>;

/// Code around every turn, and around everything that the bot sends. It may stop either, time it, log it, and add to it.
///
/// An async function `(Context, Next) -> Result<(), Error>` is a middleware of turns.
///
/// # Example: counts what comes in and marks what goes out
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use botframework::app::{Context, Error, Middleware, Next, NextSend, Outgoing};
/// use botframework::connector::SendReceipt;
///
/// #[derive(Default)]
/// struct Watch(AtomicUsize);
///
/// impl Middleware for Watch {
///     async fn on_turn(&self, context: Context, next: Next) -> Result<(), Error> {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         next.run(context).await
///     }
///
///     async fn on_send(&self, mut outgoing: Outgoing, next: NextSend) -> Result<SendReceipt, Error> {
///         outgoing.activity.summary.get_or_insert_with(|| "News from the bot".to_owned());
///         next.run(outgoing).await
///     }
/// }
/// ```
pub trait Middleware: Send + Sync + 'static {
    /// Around a turn. Without `next.run`, the later middlewares and the handlers do not run. Once it returns, the handler's reply is
    /// sent.
    ///
    /// # Errors
    /// The endpoint answers 500, or the status of [`Error::Stopped`].
    fn on_turn(&self, context: Context, next: Next) -> impl Future<Output = Result<(), Error>> + Send {
        next.run(context)
    }

    /// Around each activity that is sent or replaced, in a turn or proactively. Without `next.run` it is not sent.
    ///
    /// # Errors
    /// The sender gets the error.
    fn on_send(
        &self,
        outgoing: Outgoing,
        next: NextSend,
    ) -> impl Future<Output = Result<SendReceipt, Error>> + Send {
        next.run(outgoing)
    }
}

impl<F, T> Middleware for F
where
    F: Fn(Context, Next) -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), Error>> + Send,
{
    fn on_turn(&self, context: Context, next: Next) -> impl Future<Output = Result<(), Error>> + Send {
        self(context, next)
    }
}

/// A middleware's part in a turn.
pub(super) trait TurnStep: Send + Sync {
    fn run(self: Arc<Self>, context: Context, next: Next) -> TurnFuture;
}

impl<M: Middleware> TurnStep for M {
    fn run(self: Arc<Self>, context: Context, next: Next) -> TurnFuture {
        Box::pin(async move { self.on_turn(context, next).await })
    }
}

impl<M: Middleware> SendStep for M {
    fn run(&self, outgoing: Outgoing, next: NextSend) -> SendFuture<'_> {
        Box::pin(self.on_send(outgoing, next))
    }
}

/// The end of the chain: the handlers.
pub(super) type Last = Arc<dyn Fn(Context) -> TurnFuture + Send + Sync>;

/// The steps of a turn that are still to come.
pub struct Next {
    steps: Arc<[Arc<dyn TurnStep>]>,
    index: usize,
    last: Last,
}

impl Next {
    pub(super) fn new(steps: Arc<[Arc<dyn TurnStep>]>, last: Last) -> Self {
        Self {
            steps,
            index: 0,
            last,
        }
    }

    /// Goes on: to the next middleware, and at last to the handler.
    ///
    /// # Errors
    /// When a later step fails.
    pub async fn run(mut self, context: Context) -> Result<(), Error> {
        match self.steps.get(self.index).map(Arc::clone) {
            Some(step) => {
                self.index += 1;
                step.run(context, self).await
            }
            None => (self.last)(context).await,
        }
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Next").finish_non_exhaustive()
    }
}
