//! The bot's jobs: what a turn put off is done here, and its result becomes a notification.

use std::fmt;
use std::sync::Arc;

use botframework::activity::Activity;
use botframework::http::{BoxError, BoxFuture};
use herald::acceptance::BotMessage;
use herald::backend::Backend;
use herald::job::{JOB_TIMEOUT, Job};

use crate::{Context, Failure};

type Work = dyn Fn(Job) -> BoxFuture<'static, Result<Activity, BoxError>> + Send + Sync;

/// The bot's own code that does its jobs.
#[derive(Clone)]
pub struct Worker(Arc<Work>);

/// A job did not end in time.
#[derive(Debug, thiserror::Error)]
#[error("the job took longer than {} seconds", JOB_TIMEOUT.as_secs())]
struct JobTimedOut;

impl Worker {
    /// A worker that does each job by this function. It may be called twice for one job.
    pub fn new<F, Fut, E>(work: F) -> Self
    where
        F: Fn(Job) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Activity, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self(Arc::new(move |job| {
            let work = work(job);
            Box::pin(async { work.await.map_err(Into::into) })
        }))
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Worker")
    }
}

impl<B: Backend> Context<B> {
    /// Does a job, and accepts its result. A job that fails is received again.
    pub(crate) async fn do_job(&self, job: Job) -> Result<(), Failure> {
        let (id, conversation) = (job.id.clone(), job.conversation.clone());
        let name = job.name.clone();
        let done = tokio::time::timeout(JOB_TIMEOUT, (self.worker.0)(job)).await;
        let message = done
            .map_err(|_| Failure::Unavailable(JobTimedOut.into()))?
            .map_err(Failure::Unavailable)?;
        let result = BotMessage {
            conversation: &conversation,
            message,
            deliver_at: None,
            key: &id,
        };
        self.acceptor().accept_of_bot(result).await?;
        tracing::info!(job = name, "a job of the bot is done");
        Ok(())
    }
}
