//! The channel: the local host's model of Teams, with fault injection.
//!
//! The model executes a request that has left its worker even if the worker no longer waits for the answer. It counts
//! requests against the rate limits and within each conversation. As long as workers keep time, a refusal for one of these
//! is a violation.

use std::sync::Mutex;

use herald_local::teams::{Operation, Query, Teams, text_of};
use jiff::SignedDuration;
use serde_json::json;

pub(super) use herald_local::teams::{Done, Kind, Place, Refusal, Request, Teams as State};

use super::fate::Troubles;
use super::graph::MANIFEST;
use super::lock;
use super::people::BOT;
use super::run::Run;

/// The codes by which the channel refuses all messages to a conversation.
pub(super) const REFUSALS: [&str; 4] = [
    "ConversationBlockedByUser",
    "MessageWritesBlocked",
    "BotNotInConversationRoster",
    "ForbiddenOperationException",
];

/// The number of regions.
pub(super) const REGIONS: usize = 3;

/// The channel and its people.
#[derive(Debug)]
pub(super) struct Channel(Mutex<Teams>);

impl Channel {
    /// A channel without people, with rosters of this page size.
    pub(super) fn new(troubles: &Troubles, page: usize) -> Self {
        let kept = troubles.channel.roster_kept;
        let mut teams = Teams::new(BOT, MANIFEST);
        teams.page_size = page..=page;
        teams.token_ttl = kept.map(|kept| SignedDuration::try_from(kept).unwrap());
        Self(Mutex::new(teams))
    }

    /// Reads or changes the state of the channel.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut lock(&self.0))
    }

    /// Admits a request: returns the place that it leads to, or why it is not executed. An admitted request must be ended by
    /// [`finish`](Self::finish).
    pub(super) fn admit(&self, run: &Run, asked: &Request) -> Result<usize, Refusal> {
        let mut state = lock(&self.0);
        let verdict = state.admit(asked, run.now());
        match &verdict {
            Err(refusal) if refusal.status == 429 => {
                // The book locks the state as well.
                drop(state);
                if run.keeps_rate_limits() {
                    run.violated(4, format_args!("{}: {asked}", refusal.message));
                }
                return verdict;
            }
            Err(refusal) if refusal.status == 401 => return verdict,
            Err(refusal) if refusal.message == "the continuation token has expired" => {
                let place = state.find(asked).unwrap();
                state.places[place].past.too_late += 1;
                run.tell(
                    &"channel",
                    format_args!("{asked}: the roster is not read on from there"),
                );
            }
            Err(_) | Ok(_) => {}
        }
        let fault = throttled(run).or_else(|| fault_of(run, &mut state, asked, *verdict.as_ref().ok()?));
        match (verdict, fault) {
            (verdict, None) => verdict,
            (Ok(place), Some(fault)) => {
                state.finish(asked, place);
                Err(fault)
            }
            (Err(_), Some(fault)) => Err(fault),
        }
    }

    /// Executes an admitted request.
    pub(super) fn carry_out(&self, run: &Run, asked: &Request, place: usize) -> Done {
        let mut state = lock(&self.0);
        let mut done = state.carry_out(asked, place, run.now());
        if let (Operation::Read(Query::PagedMembers { token, .. }), Done::Told(page)) =
            (&asked.operation, &mut done)
            && let Some(page) = page["members"].as_array_mut()
        {
            let members = state.team(place).map_or(&[][..], |team| &team.members);
            let present: Vec<_> = members.iter().filter(|member| member.quit.is_none()).collect();
            if !present.is_empty() && run.strikes(run.troubles.channel.repeating) {
                page.push(run.chance.pick(&present).entry.clone());
            }
            if token.is_none() {
                page.insert(0, json!({"id": BOT, "userRole": "user"}));
            }
        }
        done
    }

    /// Ends an admitted request.
    pub(super) fn finish(&self, asked: &Request, place: usize) {
        lock(&self.0).finish(asked, place);
    }
}

/// A throttling or transient refusal, independent of the request.
fn throttled(run: &Run) -> Option<Refusal> {
    let troubles = &run.troubles.channel;
    if run.strikes(troubles.throttled) {
        let throttled = Refusal::new(429, "Throttled");
        return Some(match run.chance.below(6) {
            0..3 => throttled,
            3 | 4 => throttled.retry_after(run.chance.between(1, 20)),
            // Some services mean milliseconds, or a moment.
            _ => throttled.retry_after(*run.chance.pick(&[60, 300, 645, 86_400, 1_771_404_540, u64::MAX])),
        });
    }
    let concurrent = run.strikes(troubles.concurrent);
    concurrent.then(|| Refusal::new(412, "PreconditionFailed"))
}

/// An injected refusal of a request that would have been executed.
fn fault_of(run: &Run, state: &mut State, asked: &Request, place: usize) -> Option<Refusal> {
    let troubles = &run.troubles.channel;
    match &asked.operation {
        // The channel may not yet know that the bot is installed.
        Operation::Create { .. } => run
            .strikes(troubles.behind)
            .then(|| Refusal::new(403, "ForbiddenOperationException")),
        Operation::Send(_) if run.strikes(troubles.missing) => {
            Some(Refusal::new(404, "ConversationNotFound"))
        }
        Operation::Send(activity) | Operation::Update { activity, .. }
            if run.oversized.get().is_some_and(|text| text == text_of(activity)) =>
        {
            Some(Refusal::new(413, "MessageSizeTooBig"))
        }
        Operation::Send(_) | Operation::Update { .. } | Operation::Delete(_) => run
            .strikes(troubles.refused)
            .then(|| Refusal::new(400, "BadSyntax")),
        Operation::Read(_) => run.strikes(troubles.missing).then(|| {
            state.places[place].past.missed += 1;
            Refusal::new(404, "ConversationNotFound")
        }),
        Operation::CreateThread(_) | Operation::Batch(_) => None,
    }
}
