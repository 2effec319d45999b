//! The bot's own functions.

use super::context::Context;
use super::error::Error;
use super::reply::{IntoReply, Reply};
use crate::http::BoxFuture;

/// An async function or closure of the bot: of nothing, of `(Context)`, or of `(Context, input)` with what its
/// [`Trigger`](super::Trigger) found.
///
/// It returns anything that is [`IntoReply`]. `Arguments` tells the forms apart; it is inferred.
pub trait Handler<Input, Arguments>: Send + Sync + 'static {
    /// Runs the function.
    fn call(&self, context: Context, input: Input) -> BoxFuture<'static, Result<Reply, Error>>;
}

impl<F, Fut, Input> Handler<Input, ()> for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoReply> + Send + 'static,
{
    fn call(&self, _: Context, _: Input) -> BoxFuture<'static, Result<Reply, Error>> {
        let handling = self();
        Box::pin(async move { handling.await.into_reply() })
    }
}

impl<F, Fut, Input> Handler<Input, (Context,)> for F
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoReply> + Send + 'static,
{
    fn call(&self, context: Context, _: Input) -> BoxFuture<'static, Result<Reply, Error>> {
        let handling = self(context);
        Box::pin(async move { handling.await.into_reply() })
    }
}

impl<F, Fut, Input> Handler<Input, (Context, Input)> for F
where
    F: Fn(Context, Input) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoReply> + Send + 'static,
{
    fn call(&self, context: Context, input: Input) -> BoxFuture<'static, Result<Reply, Error>> {
        let handling = self(context, input);
        Box::pin(async move { handling.await.into_reply() })
    }
}
