//! Gathers what many tasks ask for at the same time into one request.
//!
//! A group goes as soon as it is full, or when few others are under way. So a task that is alone waits for no other, and under load
//! the groups grow to DynamoDB's limits. `cargo bench -p tests --bench sender` measures what that saves.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The most groups that are under way before they are full. One that DynamoDB answers late holds up the tasks that join it, and a
/// few others go on.
const MAX_PARTIAL: usize = 4;

type Answers<O> = Pin<Box<dyn Future<Output = Vec<O>> + Send>>;

/// Requests of the same kind to one table. Clones share their groups.
pub(super) struct Grouping<I, O>(Arc<Shared<I, O>>);

struct Shared<I, O> {
    /// The most that go in one request.
    limit: usize,
    /// Makes the request of a group: an answer for each, in their order.
    execute: Box<dyn Fn(Vec<I>) -> Answers<O> + Send + Sync>,
    state: Mutex<State<I, O>>,
}

struct State<I, O> {
    waiting: Vec<(I, oneshot::Sender<O>)>,
    /// Groups under way that were not full.
    partial: usize,
}

impl<I: Send + 'static, O: Send + 'static> Grouping<I, O> {
    /// Groups of at most `limit`, each of which is one call of `execute`.
    pub(super) fn new<F, A>(limit: usize, execute: F) -> Self
    where
        F: Fn(Vec<I>) -> A + Send + Sync + 'static,
        A: Future<Output = Vec<O>> + Send + 'static,
    {
        Self(Arc::new(Shared {
            limit,
            execute: Box::new(move |group| Box::pin(execute(group))),
            state: Mutex::new(State {
                waiting: Vec::new(),
                partial: 0,
            }),
        }))
    }

    /// Asks in a group; `None` if its request gave no answer. Must be called in a tokio runtime, which makes the request although
    /// the task that began the group may end.
    pub(super) async fn ask(&self, asked: I) -> Option<O> {
        let (sender, answer) = oneshot::channel();
        self.0.join(asked, sender);
        answer.await.ok()
    }
}

impl<I: Send + 'static, O: Send + 'static> Shared<I, O> {
    fn join(self: &Arc<Self>, asked: I, sender: oneshot::Sender<O>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push((asked, sender));
        if state.waiting.len() >= self.limit {
            let group = std::mem::take(&mut state.waiting);
            tokio::spawn(self.clone().make(group));
        } else if state.partial < MAX_PARTIAL && state.waiting.len() == 1 {
            state.partial += 1;
            tokio::spawn(self.clone().make_partial());
        }
    }

    /// Makes the requests of groups that are not full, one after another, until nothing waits.
    async fn make_partial(self: Arc<Self>) {
        loop {
            // What other tasks are about to ask for goes, too.
            tokio::task::yield_now().await;
            let group = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.waiting.is_empty() {
                    state.partial -= 1;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            // A task of its own: a panic in it ends neither this loop nor those who wait for the next group.
            let _ = tokio::spawn(self.clone().make(group)).await;
        }
    }

    async fn make(self: Arc<Self>, group: Vec<(I, oneshot::Sender<O>)>) {
        let (asked, senders): (Vec<I>, Vec<_>) = group.into_iter().unzip();
        let answers = (self.execute)(asked).await;
        for (sender, answer) in senders.into_iter().zip(answers) {
            // A task that does not wait any more needs no answer.
            let _ = sender.send(answer);
        }
    }
}

impl<I, O> Clone for Grouping<I, O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I, O> fmt::Debug for Grouping<I, O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Grouping")
            .field("limit", &self.0.limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    /// Doubles, and records the sizes of its groups. Each request waits for a permit.
    fn doubling(limit: usize, gate: &Arc<Semaphore>) -> (Grouping<u32, u32>, Arc<Mutex<Vec<usize>>>) {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let (gate, recorded) = (gate.clone(), sizes.clone());
        let grouping = Grouping::new(limit, move |group: Vec<u32>| {
            recorded.lock().unwrap().push(group.len());
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                group.into_iter().map(|one| one * 2).collect()
            }
        });
        (grouping, sizes)
    }

    #[tokio::test]
    async fn what_is_asked_for_at_once_goes_in_full_groups_and_a_rest() {
        let gate = Arc::new(Semaphore::new(1000));
        let (grouping, sizes) = doubling(25, &gate);
        let answers = join_all((0..60).map(|one| grouping.ask(one))).await;
        assert_eq!(answers, (0..60).map(|one| Some(one * 2)).collect::<Vec<_>>());
        let mut sizes = sizes.lock().unwrap().clone();
        sizes.sort_unstable();
        assert_eq!(sizes, [10, 25, 25]);
    }

    #[tokio::test]
    async fn a_task_that_is_alone_goes_alone() {
        let gate = Arc::new(Semaphore::new(1000));
        let (grouping, sizes) = doubling(25, &gate);
        for one in 0..3 {
            assert_eq!(grouping.ask(one).await, Some(one * 2));
        }
        assert_eq!(*sizes.lock().unwrap(), [1, 1, 1]);
    }

    #[tokio::test]
    async fn what_comes_while_enough_groups_are_under_way_goes_together_afterwards() {
        let gate = Arc::new(Semaphore::new(0));
        let (grouping, sizes) = doubling(25, &gate);
        let mut tasks = Vec::new();
        for one in 0..10 {
            let grouping = grouping.clone();
            tasks.push(tokio::spawn(async move { grouping.ask(one).await }));
            // The group that it began is under way.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }
        gate.add_permits(1000);
        for (one, task) in (0..).zip(tasks) {
            assert_eq!(task.await.unwrap(), Some(one * 2));
        }
        assert_eq!(*sizes.lock().unwrap(), [1, 1, 1, 1, 6]);
    }

    #[tokio::test]
    async fn a_task_that_gives_up_takes_nobody_with_it() {
        let gate = Arc::new(Semaphore::new(0));
        let (grouping, _) = doubling(25, &gate);
        assert_eq!(
            grouping.ask(1).now_or_never(),
            None,
            "it is polled once and dropped"
        );
        let follower = tokio::spawn(async move { grouping.ask(2).await });
        gate.add_permits(1000);
        assert_eq!(follower.await.unwrap(), Some(4));
    }

    #[tokio::test]
    async fn a_request_that_panics_is_no_answer() {
        let grouping: Grouping<u32, u32> = Grouping::new(2, |_| async { panic!("no answer") });
        let answers = join_all([grouping.ask(1), grouping.ask(2)]).await;
        assert_eq!(answers, [None, None]);
    }
}
