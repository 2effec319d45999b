//! Schedules of routes: the notification of an occurrence, the message of the next one, and the search for messages that are lost.

use herald::backend::Backend;
use herald::queue::Queue;
use herald::route::{ClockMessage, Occurrence, RouteRecord};
use herald::store::Registry;
use herald::upstream::UpstreamEvent;
use jiff::Timestamp;

use crate::routed::NamedRoute;
use crate::{Context, Failure};

impl<B: Backend> Context<B> {
    pub(crate) async fn clock(&self, event: &UpstreamEvent, message: &ClockMessage) -> Result<(), Failure> {
        match message {
            ClockMessage::Occurrence(occurrence) => self.occur(event, occurrence).await,
            ClockMessage::Check => self.check_schedules().await,
        }
    }

    /// Has the next occurrence follow, and sends what the route makes of this one.
    async fn occur(&self, event: &UpstreamEvent, occurrence: &Occurrence) -> Result<(), Failure> {
        let record = self.registry.find_record::<RouteRecord>(&occurrence.route);
        let Some(record) = record.await? else {
            return Ok(());
        };
        let now = self.clock.now();
        let Some(named) = NamedRoute::of(occurrence.route.clone(), &record, now) else {
            return Ok(());
        };
        let Some(schedule) = named
            .route
            .schedule()
            .filter(|schedule| schedule.has(occurrence.at))
        else {
            tracing::info!(
                route = occurrence.route,
                "the route's schedule was changed: this time is none of it any more"
            );
            return Ok(());
        };
        let is_due = occurrence.is_due_in(&record, schedule, now);
        if occurrence.at > now {
            // The queue cannot wait as long as Scheduler, which did not take the message.
            if is_due {
                self.events_queue
                    .send(vec![occurrence.clone().message(now)])
                    .await?;
            }
            return Ok(());
        }
        if is_due {
            let next = occurrence.following(schedule, now);
            self.follow(occurrence, next, now).await?;
        }
        let value = occurrence.event(schedule);
        self.send(&named, event, &value).await
    }

    /// Enqueues the message of the next occurrence, and then makes that the one that is due. In this order a message may come
    /// twice, but none is missed.
    async fn follow(
        &self,
        occurrence: &Occurrence,
        next: Option<Occurrence>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let due = next.as_ref().map(|next| next.at);
        if let Some(next) = next {
            self.events_queue.send(vec![next.message(now)]).await?;
        }
        let mut rule = |stored: Option<RouteRecord>| {
            // The next message may be quicker than this.
            let stored = stored.filter(|stored| stored.due.is_some_and(|due| due <= occurrence.at))?;
            Some(RouteRecord { due, ..stored })
        };
        self.registry.update_record(&occurrence.route, &mut rule).await?;
        Ok(())
    }

    /// Enqueues what is due and has not come.
    async fn check_schedules(&self) -> Result<(), Failure> {
        let now = self.clock.now();
        let mut lost = Vec::new();
        let mut cursor = None::<String>;
        loop {
            let page = self.route_records(cursor.as_deref()).await?;
            let due = page
                .items
                .iter()
                .filter_map(|(name, record)| Occurrence::due_of(name, record));
            lost.extend(due.filter(|due| due.is_lost(now)));
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        for occurrence in &lost {
            tracing::warn!(
                error_type = "OccurrenceLate",
                route = occurrence.route,
                due = %occurrence.at,
                "the message of a schedule did not come in time: it is sent again"
            );
        }
        if !lost.is_empty() {
            let messages = lost.into_iter().map(|occurrence| occurrence.message(now));
            self.events_queue.send(messages.collect()).await?;
        }
        Ok(())
    }
}
