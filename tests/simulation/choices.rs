//! What people opt out of during a run, and the record of it (invariant 14).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use botframework::id::UserRef;
use herald::conversation::{Choice, ConversationKey, PersonId, PreferenceChange, change_preferences};
use herald::preferences;
use herald::store::{Conversations, Error};
use jiff::Timestamp;
use tokio::time::sleep;

use super::book::{Book, Request, Wanted};
use super::channel::Kind;
use super::lambda::Environment;
use super::people::BOT;
use super::run::Run;
use super::store::Tables;

/// The categories of notifications, and of choices.
pub(super) const CATEGORIES: [&str; 2] = ["news", "outages"];

/// The timeout of the function that stores a choice.
const LIMIT: Duration = Duration::from_secs(29);

/// What a place chose, each choice after the one before it.
#[derive(Debug, Default)]
pub(super) struct Choices(BTreeMap<usize, Vec<Chosen>>);

/// The choices of a place after one of them.
#[derive(Clone, Debug)]
struct Chosen {
    all: Choice,
    categories: BTreeMap<&'static str, Choice>,
    /// When it was confirmed.
    confirmed: Option<Timestamp>,
}

impl Chosen {
    /// Whether a notification is not wanted.
    fn refuses(&self, wanted: &Wanted) -> bool {
        let own = wanted.category.and_then(|category| self.categories.get(category));
        !wanted.mandatory && *own.unwrap_or(&self.all) == Choice::OptedOut
    }
}

impl Choices {
    fn ask(&mut self, place: usize, category: Option<&'static str>, choice: Choice) {
        let made = self.0.entry(place).or_default();
        let (all, mut categories) = made.last().map_or((Choice::OptedIn, BTreeMap::new()), |last| {
            (last.all, last.categories.clone())
        });
        let all = match category {
            Some(category) => {
                categories.insert(category, choice);
                all
            }
            None => {
                categories.clear();
                choice
            }
        };
        made.push(Chosen {
            all,
            categories,
            confirmed: None,
        });
    }

    fn confirm(&mut self, place: usize, now: Timestamp) {
        if let Some(last) = self.0.get_mut(&place).and_then(|made| made.last_mut()) {
            last.confirmed = Some(now);
        }
    }

    /// Whether a place had confirmed before this moment that it does not want a notification, and has asked for nothing else since.
    fn refused_before(&self, place: usize, wanted: &Wanted, moment: Timestamp) -> bool {
        let made = self.0.get(&place).map_or(&[][..], |made| made);
        let is_confirmed = |chosen: &Chosen| chosen.confirmed.is_some_and(|at| at < moment);
        made.iter()
            .rposition(is_confirmed)
            .is_some_and(|last| made[last..].iter().all(|chosen| chosen.refuses(wanted)))
    }

    /// Whether a place may not have wanted a notification at some moment since it was asked for.
    pub(super) fn may_refuse(&self, place: usize, wanted: &Wanted) -> bool {
        let made = self.0.get(&place).map_or(&[][..], |made| made);
        made.iter().enumerate().any(|(index, chosen)| {
            let replaced = made.get(index + 1).and_then(|next| next.confirmed);
            let lasts = replaced.is_none_or(|at| wanted.asked_at.is_none_or(|asked| at >= asked));
            lasts && chosen.refuses(wanted)
        })
    }
}

impl Book {
    /// Checks that the place of this request wants the notification, as far as its worker could know when it claimed the delivery.
    pub(super) fn permitted(&mut self, run: &Run, request: &Request, claimed: Timestamp) {
        let (Some((number, _)), Some(place)) = (request.sends, request.place) else {
            return;
        };
        let read = claimed - run.slack();
        if self.choices.refused_before(place, &self.wanted[number], read) {
            self.violated(
                14,
                format_args!("n{number} is sent to place {place}, which had opted out of it"),
            );
        }
    }
}

/// A person, or a group chat or channel through its members, opts out of something, or in again. Repeated until it is confirmed.
pub(super) async fn chooses(run: &Arc<Run>, place: usize, category: Option<&'static str>, choice: Choice) {
    let change = match category {
        Some(category) => PreferenceChange::Category(category.to_owned(), choice),
        None => PreferenceChange::All(choice),
    };
    let (kind, key, people) = run.channel.with(|channel| {
        let here = &channel.places[place];
        let key = ConversationKey {
            conversation: here.conversation.clone().into(),
            channel: "msteams".to_owned(),
            bot: BOT.into(),
        };
        let person = |id| PersonId {
            channel: "msteams".to_owned(),
            tenant: Some(channel.tenants[here.tenant].id.clone()),
            id,
        };
        let user = UserRef::Entra(here.user.as_str().into());
        let account = UserRef::Account(here.account.as_str().into());
        (here.kind, key, [person(user), person(account)])
    });
    let record = run.conversation(&key);
    if kind != Kind::Person && record.is_none() {
        return;
    }
    // Who is not known by both ids says it by both.
    let is_known = record.is_some_and(|record| PersonId::of(&record).len() == people.len());
    let people = if is_known {
        vec![people[run.chance.index(people.len())].clone()]
    } else {
        people.to_vec()
    };
    let said_in = Some(&key).filter(|_| run.chance.below(2) == 0);
    run.book(|book| book.choices.ask(place, category, choice));
    for number in 1.. {
        let environment = Environment::start(run, format!("choice {number}"));
        let tables = Tables(Arc::clone(&environment));
        let now = environment.clock().now();
        let work = async {
            if kind != Kind::Person {
                let mut rule = |old: Option<&_>| change_preferences(old?, &change, now);
                tables.update_conversation(&key, &mut rule).await?;
                return Ok::<_, Error>(());
            }
            for person in &people {
                preferences::change(&tables, person, said_in, &change, now).await?;
            }
            Ok(())
        };
        if let Some(Ok(())) = environment.invoke(LIMIT, work).await {
            break;
        }
        sleep(run.chance.wait(Duration::from_secs(1), Duration::from_secs(10))).await;
    }
    run.tell(&"people", format_args!("place {place} has its choice confirmed"));
    run.book(|book| book.choices.confirm(place, run.now()));
}
