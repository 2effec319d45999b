//! Subjects: which message of a conversation shows one, and which notification it shows.

use std::collections::BTreeSet;

use herald::audience::Recipient;
use herald::conversation::ConversationKey;
use herald::delivery::{DeliveryKey, Outcome, Row, SentMessage, State};
use herald::id::NotificationId;
use herald_local::teams::Message;

use super::book::{Book, Fate, Request, Wanted};
use super::run::Run;

/// The subject of every notification that has one: audiences overlap.
pub(super) const SUBJECT: &str = "build-7";

impl Wanted {
    /// The id of the notification, if it has a subject.
    fn of_subject(&self) -> Option<&NotificationId> {
        self.id.as_ref().filter(|_| self.subject)
    }
}

impl Book {
    /// The notifications with a subject, each with its number, the oldest first.
    fn of_subject(&self) -> Vec<(NotificationId, usize)> {
        let all = self.wanted.iter().enumerate();
        let mut all: Vec<_> = all
            .filter_map(|(number, wanted)| Some((wanted.of_subject()?.clone(), number)))
            .collect();
        all.sort();
        all
    }

    /// Whether another notification of the subject is newer than this one.
    fn is_newer(&self, other: usize, number: usize) -> bool {
        let ids = [other, number].map(|number| self.wanted[number].of_subject());
        matches!(ids, [Some(other), Some(this)] if other > this)
    }

    /// Whether a newer notification of the subject was sent to this place, or may have been, as far as workers know: one may have died
    /// before its request.
    pub(super) fn may_have_newer(&self, run: &Run, number: usize, place: Option<usize>) -> bool {
        let requested = self.requests.iter().any(|request| {
            let brings = request.sends.or(request.edits);
            let may_have = request.fate != Fate::Refused && request.place == place;
            may_have && brings.is_some_and(|(other, _)| self.is_newer(other, number))
        });
        requested
            || self.leases.iter().any(|((other, name), lease)| {
                let is_there = run.channel.with(|channel| channel.named(name)) == place;
                let is_ambiguous = |row: Row| row.ambiguous_attempts > 0;
                is_there && self.is_newer(*other, number) && run.row(&lease.key).is_some_and(is_ambiguous)
            })
    }

    /// Whether a delivery left its message as it was, without a request, and no newer notification of the subject had come.
    pub(super) fn gave_up(
        &self,
        run: &Run,
        name: &(usize, String),
        sent: &SentMessage,
        place: Option<usize>,
    ) -> bool {
        let wanted = &self.wanted[name.0];
        let is_unchanged = sent.activity.is_some() && sent.revision < sent.attempted_revision;
        let tried = self
            .requests
            .iter()
            .any(|request| request.delivery.as_ref() == Some(name) && request.message.is_some());
        let has_other_reason = self.was_ever_unwritable(&name.1) || wanted.refused.is_some();
        is_unchanged
            && wanted.of_subject().is_some()
            && !tried
            && !has_other_reason
            && !self.may_have_newer(run, name.0, place)
    }

    /// A request that brings a notification leaves: the conversation is not known to have a newer one of the subject.
    pub(super) fn newest(&mut self, run: &Run, number: usize, conversation: &ConversationKey) {
        if !run.workers_keep_time() {
            return;
        }
        // Of a conversation that was replaced, the outcome is that of the other one.
        let place = run.channel.with(|channel| {
            let place = channel.named(conversation.conversation.as_str());
            place.filter(|place| channel.places[*place].renamed == 0)
        });
        let recipient = Recipient::Conversation(conversation.clone());
        let delivered = self.of_subject().into_iter().find(|(id, other)| {
            let arrived = run
                .row(&DeliveryKey::new(id, &recipient))
                .is_some_and(|row| row.arrived());
            arrived && self.is_newer(*other, number)
        });
        if let Some((_, newer)) = delivered.filter(|_| place.is_some()) {
            let name = conversation.conversation.as_str();
            self.violated(
                17,
                format_args!("n{number} goes to {name}, which has the newer n{newer} of its subject"),
            );
        }
    }

    /// The channel edited a message: it did not show a newer notification of the subject.
    pub(super) fn edited(&mut self, run: &Run, number: usize) {
        let Request { edits, message, .. } = &self.requests[number];
        let (Some((brings, _)), Some(message)) = (*edits, message.clone()) else {
            return;
        };
        let shown = self.shown.insert(message.clone(), brings);
        if let Some(shown) = shown
            && self.is_newer(shown, brings)
            && run.workers_keep_time()
        {
            self.violated(
                17,
                format_args!("{message} shows n{shown}, and is edited for the older n{brings}"),
            );
        }
    }
}

/// Checks each conversation in which nothing was ambiguous: it shows the subject in one message, that of the newest notification that
/// was delivered there.
pub(super) fn check(run: &Run) {
    let all = run.book(|book| book.of_subject());
    let conversations: BTreeSet<ConversationKey> = run.book(|book| {
        let leases = book.leases.values();
        leases.map(|lease| lease.conversation.clone()).collect()
    });
    for conversation in conversations {
        if let Some(fault) = fault(run, &all, &conversation) {
            let name = conversation.conversation.as_str();
            run.violated(17, format_args!("{name}: {fault}"));
        }
    }
}

fn fault(run: &Run, all: &[(NotificationId, usize)], conversation: &ConversationKey) -> Option<String> {
    let is_replaced = run.channel.with(|channel| {
        let place = channel.named(conversation.conversation.as_str());
        place.is_none_or(|place| channel.places[place].renamed > 0)
    });
    if is_replaced {
        return None;
    }
    let recipient = Recipient::Conversation(conversation.clone());
    let mut newest = None;
    for (id, number) in all {
        let Some(row) = run.row(&DeliveryKey::new(id, &recipient)) else {
            continue;
        };
        if row.ambiguous_attempts > 0 {
            return None;
        }
        match &row.state {
            State::Settled(Outcome::Unknown) => return None,
            State::Settled(Outcome::Delivered(sent)) => {
                // Without an id it cannot be edited; an update that was refused leaves what was there.
                if sent.activity.is_none() || sent.revision < sent.attempted_revision {
                    return None;
                }
                newest = Some(*number);
            }
            State::Settled(_) | State::Waiting { .. } => {}
        }
    }
    // A person's place may have two conversations with the bot, the one that Graph names and the Connector's.
    let sent: Vec<String> = run.book(|book| {
        let name = Some(conversation.conversation.as_str());
        let here = book
            .requests
            .iter()
            .filter(|it| it.conversation.as_deref() == name);
        here.filter_map(|request| request.activity.clone()).collect()
    });
    let shown: Vec<usize> = run.channel.with(|channel| {
        let messages = sent.iter().filter_map(|id| channel.messages.get(id));
        let texts = messages.filter_map(Message::text);
        let numbers = texts.filter_map(|text| Book::number_of(&text));
        let is_of_subject = |number: &usize| all.iter().any(|(_, other)| other == number);
        numbers.filter(is_of_subject).collect()
    });
    let is_retracted = newest.is_some_and(|newest| run.book(|book| book.wanted[newest].text.is_none()));
    let expected: Vec<usize> = newest.filter(|_| !is_retracted).into_iter().collect();
    (shown != expected).then(|| format!("the subject is shown by {shown:?} instead of {expected:?}"))
}
