//! Invariant 8: conversations that are created with people, and the lease that allows it.
//!
//! A second creation does no harm, but costs a request, and more if the bot has to be installed first. Three things can be
//! prevented, and are checked: two workers create one conversation at once; a known conversation is created again; the
//! worker that created a conversation does not store it. One thing cannot be prevented: after a lost answer or the death of
//! a worker, the conversation is created again.

use std::collections::BTreeMap;

use botframework::id::UserRef;
use herald::conversation::{Conversation, ConversationKey, Creation, CreationLease, PersonKey, State};
use jiff::{SignedDuration, Timestamp};

use super::book::{Book, Fate, Holder, Request};
use super::lambda::Environment;
use super::run::Run;

/// How long a pending installation blocks another one.
const BEGUN_FOR: SignedDuration = SignedDuration::from_mins(59);

/// Creation leases and created conversations.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    grants: BTreeMap<PersonKey, Grant>,
    made: BTreeMap<PersonKey, ConversationKey>,
    /// When an installation for a person began, as stored in the table.
    installing: BTreeMap<PersonKey, Timestamp>,
}

/// A worker's lease to create a conversation with a person.
#[derive(Debug)]
struct Grant {
    holder: Holder,
    until: Timestamp,
    /// A conversation that was known before any worker created one.
    known: Option<ConversationKey>,
    /// The request that created it, if its answer arrived.
    heard: Option<usize>,
    /// Whether the answer to the installation arrived.
    installed: bool,
    is_over: bool,
}

/// Whether a creation request names this person.
fn is_named(person: &PersonKey, tenant: &str, member: &str) -> bool {
    person.tenant == tenant && name_of(person) == member
}

fn name_of(person: &PersonKey) -> &str {
    match &person.person {
        UserRef::Entra(id) => id.as_str(),
        UserRef::Account(id) => id.as_str(),
    }
}

/// Whether a record belongs to this person, by the id of the request.
fn is_of(person: &PersonKey, record: &Conversation) -> bool {
    let named = match &person.person {
        UserRef::Entra(id) => record.attributes.user.as_ref() == Some(id),
        UserRef::Account(id) => record.attributes.account.as_ref() == Some(id),
    };
    named
        && record.attributes.tenant.as_deref() == Some(person.tenant.as_str())
        && record.state == State::Active
}

impl Book {
    /// A worker asked for the creation lease.
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
            self.violated(8, format_args!("two workers hold the creation lease of {person}"));
        }
        if let Some(key) = self.introductions.made.get(person) {
            let key = key.clone();
            self.violated(
                8,
                format_args!("a creation lease of {person} is granted although {key} exists"),
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

    /// A worker recorded the result of a creation.
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
                (Some(request), _) => Some(format!("request {request} created a conversation with {person}")),
                (None, true) => Some(format!("the bot was installed for {person}")),
                (None, false) => None,
            }
        });
        match made {
            // A person is linked only to a stored conversation.
            Creation::Conversation(key) if run.conversation(key).is_some() => {
                self.introductions.made.insert(person.clone(), key.clone());
                self.introductions.installing.remove(person);
            }
            Creation::InstallPending(since) => {
                self.introductions.installing.insert(person.clone(), *since);
            }
            Creation::Conversation(_) | Creation::Nothing => {
                self.introductions.installing.remove(person);
                // A worker that cannot write to the tables cannot store the conversation either.
                if let Some(what) = forgotten.filter(|_| run.troubles.tables_are_well()) {
                    self.violated(8, format_args!("{what}, and it was not stored"));
                }
            }
        }
    }

    /// A request to install the bot for a person leaves a worker.
    pub(super) fn installs(&mut self, run: &Run, environment: &Environment, tenant: &str, user: &str) {
        let holder = Holder::of(environment);
        let own = self.introductions.grants.iter().find(|(person, grant)| {
            is_named(person, tenant, user) && grant.holder == holder && !grant.is_over
        });
        let Some((person, grant)) = own else {
            self.violated(
                8,
                format_args!("the bot is installed for {user} without a creation lease"),
            );
            return;
        };
        let begun = self.introductions.installing.get(person);
        let fault = if run.now() > grant.until + run.off() {
            Some("the creation lease has expired")
        } else if begun.is_some_and(|since| run.now() + run.off() < *since + BEGUN_FOR) {
            Some("an installation is pending")
        } else if self.is_known(run, grant, person) {
            Some("their conversation was known before")
        } else {
            None
        };
        if let Some(fault) = fault {
            let person = person.to_string();
            self.violated(8, format_args!("the bot is installed for {person}, but {fault}"));
        }
    }

    /// A worker received the answer to an installation.
    pub(super) fn hears_of_installation(&mut self, environment: &Environment, tenant: &str, user: &str) {
        let holder = Holder::of(environment);
        for (person, grant) in &mut self.introductions.grants {
            if is_named(person, tenant, user) && grant.holder == holder && !grant.is_over {
                grant.installed = true;
            }
        }
    }

    /// Whether a person's conversation was known when the lease was acquired, and still is.
    fn is_known(&self, run: &Run, grant: &Grant, person: &PersonKey) -> bool {
        grant.known.as_ref().is_some_and(|key| {
            run.conversation(key).is_some_and(|record| is_of(person, &record))
                && !self.was_ever_unwritable(key.conversation.as_str())
        })
    }

    /// A creation request leaves a worker. The worker must hold the creation lease, or look for a replaced conversation.
    pub(super) fn creates(&mut self, run: &Run, request: &Request, tenant: &str, member: &str) {
        let own = self.introductions.grants.iter().find(|(person, grant)| {
            is_named(person, tenant, member) && grant.holder == request.holder && !grant.is_over
        });
        if let Some((person, grant)) = own {
            let fault = if run.now() > grant.until + run.off() {
                Some("the creation lease has expired")
            } else {
                self.is_known(run, grant, person)
                    .then_some("the conversation was known before")
            };
            if let Some(fault) = fault {
                let person = person.to_string();
                self.violated(
                    8,
                    format_args!("a conversation with {person} is created, but {fault}"),
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
                format_args!("a conversation with {member} is created without a creation lease"),
            );
        }
    }

    /// A worker received the answer to a creation.
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
