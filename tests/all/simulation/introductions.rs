//! Conversations that are made with people: whether whoever makes one may.
//!
//! To make one twice harms nobody, but costs a request, and more where the bot is to be installed first. What can be
//! prevented is that two make it at once, that it is made again once it is known, and that it is forgotten by who made it.
//! What cannot: an answer is lost, or a worker dies, and then it is made again.

use std::collections::BTreeMap;

use herald::conversation::{
    Conversation, ConversationKey, Creation, CreationLease, Person, PersonKey, State,
};
use jiff::{SignedDuration, Timestamp};

use super::book::{Book, Fate, Holder, Request};
use super::lambda::Environment;
use super::run::Run;

/// For so long an installation that was begun is believed.
const BEGUN_FOR: SignedDuration = SignedDuration::from_mins(59);

/// Who makes conversations with whom, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    grants: BTreeMap<PersonKey, Grant>,
    made: BTreeMap<PersonKey, ConversationKey>,
    /// Since when the bot is being installed for somebody, as it was written down.
    installing: BTreeMap<PersonKey, Timestamp>,
}

/// A worker's right to make a conversation with somebody.
#[derive(Debug)]
struct Grant {
    holder: Holder,
    until: Timestamp,
    /// Of whom a conversation was known already, though nobody had made it.
    known: Option<ConversationKey>,
    /// The request that made it, whose answer was heard.
    heard: Option<usize>,
    /// Whether it was heard that the bot was installed.
    installed: bool,
    is_over: bool,
}

/// The person as a request to make a conversation names them.
fn is_named(person: &PersonKey, tenant: &str, member: &str) -> bool {
    person.tenant == tenant && name_of(person) == member
}

fn name_of(person: &PersonKey) -> &str {
    match &person.person {
        Person::User(id) => id.as_str(),
        Person::Account(id) => id.as_str(),
    }
}

/// Whether a record is of this person, by the name that they are asked for by.
fn is_of(person: &PersonKey, record: &Conversation) -> bool {
    let named = match &person.person {
        Person::User(id) => record.attributes.user.as_ref() == Some(id),
        Person::Account(id) => record.attributes.account.as_ref() == Some(id),
    };
    named
        && record.attributes.tenant.as_deref() == Some(person.tenant.as_str())
        && record.state == State::Active
}

impl Book {
    /// A worker asked to make a conversation.
    pub(super) fn introduces(
        &mut self,
        run: &Run,
        environment: &Environment,
        person: &PersonKey,
        until: Timestamp,
        answer: &CreationLease,
    ) {
        let CreationLease::Acquired { .. } = answer else {
            return;
        };
        let others = self.introductions.grants.get(person);
        let another = others.is_some_and(|grant| !grant.is_over && grant.until > run.now() + run.off());
        if another {
            self.violated(8, format_args!("two make a conversation with {person} at once"));
        }
        if let Some(key) = self.introductions.made.get(person) {
            let key = key.clone();
            self.violated(
                8,
                format_args!("a conversation with {person} is to be made, and {key} is"),
            );
        }
        let records = run.channel.with(|channel| {
            let place = channel.person(name_of(person));
            let names = place.into_iter().flat_map(|place| channel.names_of(place));
            let records = names.map(|conversation| ConversationKey {
                conversation: conversation.into(),
                channel: person.channel.clone(),
                bot: person.bot.clone(),
            });
            records.collect::<Vec<_>>()
        });
        let known = records
            .into_iter()
            .filter_map(|key| run.conversation(&key))
            .find(|record| is_of(person, record));
        let grant = Grant {
            holder: Holder::of(environment),
            until,
            known: known.map(|record| record.key),
            heard: None,
            installed: false,
            is_over: false,
        };
        self.introductions.grants.insert(person.clone(), grant);
    }

    /// A worker says what came of it.
    pub(super) fn introduced(
        &mut self,
        run: &Run,
        environment: &Environment,
        person: &PersonKey,
        made: &Creation,
    ) {
        let holder = Holder::of(environment);
        let own = self.introductions.grants.get_mut(person);
        let own = own.filter(|grant| grant.holder == holder && !grant.is_over);
        let forgotten = own.and_then(|grant| {
            grant.is_over = true;
            match (grant.heard, grant.installed) {
                (Some(request), _) => Some(format!("request {request} made a conversation with {person}")),
                (None, true) => Some(format!("the bot was installed for {person}")),
                (None, false) => None,
            }
        });
        match made {
            // A person leads only to what is remembered.
            Creation::Conversation(key) if run.conversation(key).is_some() => {
                self.introductions.made.insert(person.clone(), key.clone());
                self.introductions.installing.remove(person);
            }
            Creation::InstallPending(since) => {
                self.introductions.installing.insert(person.clone(), *since);
            }
            Creation::Conversation(_) | Creation::Nothing => {
                self.introductions.installing.remove(person);
                // Whoever cannot write that it is there cannot keep it either.
                if let Some(what) = forgotten.filter(|_| run.troubles.tables_are_well()) {
                    self.violated(8, format_args!("{what}, and nobody keeps it"));
                }
            }
        }
    }

    /// A request to install the bot for somebody leaves a worker.
    pub(super) fn installs(&mut self, run: &Run, environment: &Environment, tenant: &str, user: &str) {
        let holder = Holder::of(environment);
        let own = self.introductions.grants.iter().find(|(person, grant)| {
            is_named(person, tenant, user) && grant.holder == holder && !grant.is_over
        });
        let Some((person, grant)) = own else {
            self.violated(
                8,
                format_args!("the bot is installed for {user} by somebody who may not"),
            );
            return;
        };
        let begun = self.introductions.installing.get(person);
        let fault = if run.now() > grant.until + run.off() {
            Some("its time is over")
        } else if begun.is_some_and(|since| run.now() + run.off() < *since + BEGUN_FOR) {
            Some("it was before, and may tell of itself")
        } else if self.is_known(run, grant, person) {
            Some("their conversation was known before")
        } else {
            None
        };
        if let Some(fault) = fault {
            let person = person.to_string();
            self.violated(8, format_args!("the bot is installed for {person}, and {fault}"));
        }
    }

    /// A worker heard that the bot was installed for somebody.
    pub(super) fn hears_of_installation(&mut self, environment: &Environment, tenant: &str, user: &str) {
        let holder = Holder::of(environment);
        for (person, grant) in &mut self.introductions.grants {
            if is_named(person, tenant, user) && grant.holder == holder && !grant.is_over {
                grant.installed = true;
            }
        }
    }

    /// Whether somebody's conversation was known when it was asked for, and is.
    fn is_known(&self, run: &Run, grant: &Grant, person: &PersonKey) -> bool {
        grant.known.as_ref().is_some_and(|key| {
            run.conversation(key).is_some_and(|record| is_of(person, &record))
                && !self.was_ever_unwritable(key.conversation.as_str())
        })
    }

    /// A request to make a conversation leaves a worker: it is that worker's to make, or its conversation's to find again.
    pub(super) fn creates(&mut self, run: &Run, request: &Request, tenant: &str, member: &str) {
        let own = self.introductions.grants.iter().find(|(person, grant)| {
            is_named(person, tenant, member) && grant.holder == request.holder && !grant.is_over
        });
        if let Some((person, grant)) = own {
            let fault = if run.now() > grant.until + run.off() {
                Some("its time is over")
            } else {
                self.is_known(run, grant, person).then_some("it was known before")
            };
            if let Some(fault) = fault {
                let person = person.to_string();
                self.violated(
                    8,
                    format_args!("a conversation with {person} is made, and {fault}"),
                );
            }
            return;
        }
        let finds_again = self.leases.values().any(|lease| {
            let led = run
                .channel
                .with(|channel| channel.named(lease.conversation.conversation.as_str()));
            lease.holder == request.holder && !lease.written && led.is_some() && led == request.place
        });
        if !finds_again {
            self.violated(
                8,
                format_args!("a conversation with {member} is made by somebody who may not"),
            );
        }
    }

    /// A worker heard that the conversation is there.
    pub(super) fn hears_of_conversation(&mut self, number: usize, tenant: &str, member: &str) {
        let request = &self.requests[number];
        let holder = request.holder.clone();
        if request.fate != Fate::CarriedOut {
            return;
        }
        for (person, grant) in &mut self.introductions.grants {
            if is_named(person, tenant, member) && grant.holder == holder && !grant.is_over {
                grant.heard = Some(number);
            }
        }
    }
}
