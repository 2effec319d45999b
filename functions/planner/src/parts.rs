//! Plans and sweeps the parts of a notification: all of a small one in one invocation, the parts of a large one each by itself.

use std::time::Duration;

use herald::Error;
use herald::audience::Audience;
use herald::backend::Backend;
use herald::event::{Event, Events};
use herald::id::NotificationId;
use herald::notification::{self, ChunkId, Notification, Page, StartPolicy};
use herald::queue::{Chunk, Plan, Queue, Task};
use herald::store::Notifications;
use herald::telemetry::chain;
use herald::timing::Defaults;
use jiff::{SignedDuration, Timestamp};

use crate::reader::Reader;
use crate::recipients::PagePosition;
use crate::waves::ScheduledWaves;
use crate::{Context, Failure};

/// The shortest wait before a request to the channel is repeated.
const MIN_RETRY: Duration = Duration::from_secs(1);

/// The longest wait before a request to the channel is repeated, whatever it asks for.
const MAX_RETRY: Duration = Duration::from_mins(15);

/// No page is begun this long before the end of the invocation: one page takes no longer, retries included.
const SHUTDOWN_MARGIN: SignedDuration = SignedDuration::from_secs(20);

/// How many pages of a part are handled here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PageBudget {
    /// One: what is left is a message of its own.
    First,
    All,
}

/// What is done to each part.
enum PartTask {
    /// Its pages are planned.
    Plan(Audience),
    /// Its chunks are enqueued again.
    Sweep,
}

/// What became of a part.
enum PartProgress {
    Ended(PartEnd),
    /// What comes after this page is left, for an invocation after `wait`.
    Rest {
        enqueued: Option<u32>,
        wait: Duration,
    },
}

/// How a part ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PartEnd {
    /// By this planner.
    Now,
    /// It had ended before: this planner repeats what another one began.
    Before,
}

/// One plan message in one invocation.
pub(crate) struct PlanRun<'a, B: Backend> {
    pub(crate) context: &'a Context<B>,
    pub(crate) notification: &'a Notification,
    pub(crate) deadline: Timestamp,
    /// The wave whose chunks alone are enqueued.
    pub(crate) wave: Option<Timestamp>,
}

impl<B: Backend> PlanRun<'_, B> {
    /// Handles the message: all parts, or one.
    pub(crate) async fn handle(&self, plan: &Plan) -> Result<(), Error> {
        let (task, enqueued) = (plan.task, plan.enqueued);
        let Some(part) = plan.part else {
            return self.whole(task).await;
        };
        let Some(work) = self.work(task).await? else {
            return Ok(());
        };
        let step = self.part(&work, part, enqueued, PageBudget::All).await?;
        match (step, task) {
            (PartProgress::Ended(end), Task::Plan) => self.planned(end).await,
            (PartProgress::Ended(_), Task::Sweep | Task::Retract) => Ok(()),
            (PartProgress::Rest { enqueued, wait }, _) => {
                let rest = self.rest(task, part, enqueued).message(wait);
                Ok(self.context.plans.send(vec![rest]).await?)
            }
        }
    }

    /// Handles the parts one after another while each is one page, as those of a small audience are. From the first that is longer
    /// or fails, each part is a message of its own: long ones are handled concurrently, and each is retried by itself.
    pub(crate) async fn whole(&self, task: Task) -> Result<(), Error> {
        let parts = self.notification.parts;
        let pages = if parts == 1 {
            PageBudget::All
        } else {
            PageBudget::First
        };
        let Some(work) = self.work(task).await? else {
            return Ok(());
        };
        let mut end = PartEnd::Now;
        let mut left = None;
        for part in 0..parts {
            let rest = match self.part(&work, part, None, pages).await {
                Ok(PartProgress::Ended(PartEnd::Now)) => continue,
                Ok(PartProgress::Ended(PartEnd::Before)) => {
                    end = PartEnd::Before;
                    continue;
                }
                Ok(PartProgress::Rest { enqueued, wait }) => self.rest(task, part, enqueued).message(wait),
                Err(error) => {
                    tracing::warn!(error_type = "PartFailed", notification = %self.notification.id, part, error = %chain(&error), "a part of a plan failed; it is tried again by itself");
                    self.rest(task, part, None).message(MIN_RETRY)
                }
            };
            left = Some((part, rest));
            break;
        }
        if let Some((part, rest)) = left {
            let others = (part + 1..parts).map(|part| self.rest(task, part, None));
            let others = others.map(|plan| plan.message(Duration::ZERO));
            self.context
                .plans
                .send(std::iter::once(rest).chain(others).collect())
                .await?;
        } else if task == Task::Plan {
            self.planned(end).await?;
        }
        // After the plans: an unavailable event bus does not delay them.
        if task == Task::Plan {
            let accepted = Event::accepted(self.notification);
            self.context.events.publish(vec![accepted]).await?;
        }
        Ok(())
    }

    /// What is done to each part; nothing if the notification has expired.
    async fn work(&self, task: Task) -> Result<Option<PartTask>, Error> {
        Ok(match task {
            Task::Plan => {
                let audience = self.context.notifications.audience(&self.notification.id);
                audience.await?.map(PartTask::Plan)
            }
            Task::Sweep => Some(PartTask::Sweep),
            // It is of no part.
            Task::Retract => None,
        })
    }

    async fn part(
        &self,
        work: &PartTask,
        part: u16,
        enqueued: Option<u32>,
        pages: PageBudget,
    ) -> Result<PartProgress, Error> {
        match work {
            PartTask::Plan(audience) => self.plan_part(audience, part, enqueued, pages).await,
            PartTask::Sweep => self.sweep_part(part, enqueued, pages).await,
        }
    }

    fn rest(&self, task: Task, part: u16, enqueued: Option<u32>) -> Plan {
        Plan {
            notification: self.notification.id.clone(),
            task,
            part: Some(part),
            enqueued,
            wave: self.wave,
        }
    }

    /// Plans the pages of one part, from the first that is not stored.
    async fn plan_part(
        &self,
        audience: &Audience,
        part: u16,
        mut enqueued: Option<u32>,
        pages: PageBudget,
    ) -> Result<PartProgress, Error> {
        let Self {
            context,
            notification,
            ..
        } = self;
        let id = &notification.id;
        let parts = notification::parts(audience, notification.segments);
        let defaults = Box::pin(Defaults::of(&context.registry, notification)).await?;
        let reader = parts
            .get(usize::from(part))
            .and_then(|part| Reader::new(context, notification, audience, *part, defaults));
        let mut scheduled = ScheduledWaves::default();
        let Some(reader) = reader else {
            tracing::warn!(error_type = "PlanWithoutPart", notification = %id, part, "nothing is planned");
            return Ok(PartProgress::Ended(PartEnd::Now));
        };
        let mut latest = context.notifications.latest_page(id, part).await?;
        let mut end = PartEnd::Before;
        loop {
            if let Some((number, page)) = &latest
                && enqueued != Some(*number)
                && !notification.is_held()
            {
                let chunks = planned_chunks(id, part, *number, page, false, |_| true);
                self.enqueue(chunks, &mut scheduled).await?;
                enqueued = Some(*number);
            }
            let (number, cursor) = match latest.as_ref().map(|(number, page)| (number, &page.next)) {
                None => (0, None),
                Some((number, Some(cursor))) => (number + 1, Some(cursor.as_str())),
                Some((number, None)) => {
                    tracing::debug!(notification = %id, part, pages = number + 1, "planned");
                    return Ok(PartProgress::Ended(end));
                }
            };
            let rest = |wait| Ok(PartProgress::Rest { enqueued, wait });
            if self.is_late() || (pages == PageBudget::First && number > 0) {
                return rest(Duration::ZERO);
            }
            let at = PagePosition {
                page: (part, number),
                cursor,
            };
            let page = match next_page(context, notification, &reader, at).await? {
                NextPage::Read(page) => page,
                NextPage::Later(wait) => return rest(wait),
            };
            end = PartEnd::Now;
            let is_first = context.notifications.put_page(id, part, number, &page).await?;
            latest = if is_first {
                Some((number, page))
            } else {
                // Another planner stored this page, whose content counts; or the notification is gone.
                match context.notifications.latest_page(id, part).await? {
                    Some(latest) => Some(latest),
                    None => return Ok(PartProgress::Ended(PartEnd::Now)),
                }
            };
        }
    }

    /// Handles the end of parts. After the last part the audience is counted, and a counted notification starts.
    async fn planned(&self, end: PartEnd) -> Result<(), Error> {
        let context = self.context;
        let id = &self.notification.id;
        let Some(notification) = context.notifications.find(id).await? else {
            return Ok(());
        };
        if notification.parts_planned < notification.parts {
            return Ok(());
        }
        if let StartPolicy::AfterCount { at_most } = notification.start
            && notification.audience <= at_most
            && !notification.is_stopped()
        {
            let is_first = context.notifications.start(id, context.clock.now()).await?;
            // The planner that started it sweeps, or its message comes again.
            if (is_first || end == PartEnd::Before)
                && let Some(started) = context.notifications.find(id).await?
            {
                let run = PlanRun {
                    notification: &started,
                    ..*self
                };
                Box::pin(run.whole(Task::Sweep)).await?;
            }
        }
        // All deliveries may have ended already, or there are none.
        herald::completion::check(&context.notifications, &context.events, id, context.clock.now()).await
    }

    /// Enqueues the chunks of one part that are not closed at the current revision.
    async fn sweep_part(
        &self,
        part: u16,
        mut enqueued: Option<u32>,
        pages: PageBudget,
    ) -> Result<PartProgress, Error> {
        let Self {
            context,
            notification,
            ..
        } = self;
        let id = &notification.id;
        if notification.is_held() {
            return Ok(PartProgress::Ended(PartEnd::Now));
        }
        // A notification that was just started has no deliveries in the ledger.
        let begun = notification.is_stopped() || notification.revision > 0;
        let mut scheduled = ScheduledWaves::default();
        loop {
            let number = enqueued.map_or(0, |enqueued| enqueued + 1);
            if self.is_late() || (pages == PageBudget::First && number > 0) {
                let wait = Duration::ZERO;
                return Ok(PartProgress::Rest { enqueued, wait });
            }
            let found = tokio::try_join!(
                context.notifications.page(id, part, number),
                context.notifications.counted_chunks(id, part, number)
            )?;
            let (Some(page), counted) = found else {
                return Ok(PartProgress::Ended(PartEnd::Now));
            };
            let is_open = |index| {
                let mut counted = counted.iter();
                !counted.any(|chunk| chunk.index == index && chunk.is_closed_at(notification.revision))
            };
            let chunks = planned_chunks(id, part, number, &page, begun, is_open);
            self.enqueue(chunks, &mut scheduled).await?;
            if page.next.is_none() {
                return Ok(PartProgress::Ended(PartEnd::Now));
            }
            enqueued = Some(number);
        }
    }

    fn is_late(&self) -> bool {
        let begins = self.deadline.saturating_sub(SHUTDOWN_MARGIN);
        self.context.clock.now() > begins.unwrap_or(self.deadline)
    }
}

/// The next page of a part.
enum NextPage {
    /// It was read.
    Read(Page),
    /// The channel cannot be asked now; retry after this time.
    Later(Duration),
}

/// Reads the page at this position. The part of a stopped notification ends here, with an empty page.
async fn next_page<B: Backend>(
    context: &Context<B>,
    notification: &Notification,
    reader: &Reader<'_, B>,
    position: PagePosition<'_>,
) -> Result<NextPage, Error> {
    let current = context.notifications.find(&notification.id).await?;
    if current.is_none_or(|current| current.is_stopped()) {
        return Ok(NextPage::Read(Page::default()));
    }
    Ok(match reader.read(position).await {
        Ok(page) => NextPage::Read(page.split_batches(context.limits.batch)),
        Err(Failure::Store(error)) => return Err(error.into()),
        Err(Failure::Later(_)) if notification.expires_at <= context.clock.now() => {
            NextPage::Read(reader.give_up_page(position).await?)
        }
        Err(Failure::Later(wait)) => {
            let wait = Duration::try_from(wait).unwrap_or_default();
            NextPage::Later(wait.clamp(MIN_RETRY, MAX_RETRY))
        }
    })
}

fn planned_chunks(
    id: &NotificationId,
    part: u16,
    page: u32,
    planned: &Page,
    begun: bool,
    is_wanted: impl Fn(u16) -> bool,
) -> Vec<Chunk> {
    (0_u16..)
        .zip(&planned.chunks)
        .filter(|(index, _)| is_wanted(*index))
        .map(|(index, chunk)| Chunk {
            begun,
            ..Chunk::whole(id.clone(), ChunkId { part, page, index }, chunk.clone())
        })
        .collect()
}
