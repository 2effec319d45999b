//! By which of the channel's two ways a notification travels.
//!
//! Teams has a batch API beside the ordinary one: a request names a message and many people, and Teams sends it to each of
//! them in its own time ([`crate::operation`]). That takes two requests where the ordinary way takes a hundred. What it has
//! sent can be neither changed nor deleted, since nobody is told the ids of the copies.

use serde::{Deserialize, Serialize};

use super::{Page, PageChunk};
use crate::audience::{Audience, Recipient, TeamPart, Whom};
use crate::conversation::{Attributes, Scope};
use crate::pace::Bucket;

/// A way to the recipients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Transport {
    /// A request for each of them, in their conversation.
    #[default]
    Conversation,
    /// One request for many people of a tenant, whom the channel sends it to by itself. Whoever cannot be reached so gets it
    /// the other way.
    Batch,
}

impl Transport {
    /// Whether this is the ordinary way, which goes without saying.
    // It is serde that asks, by reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(crate) fn is_ordinary(&self) -> bool {
        *self == Self::Conversation
    }

    /// The way to a conversation: by batch if it is one with a person in Teams, in a tenant, who can be named.
    #[must_use]
    pub fn to(self, attributes: &Attributes, bucket: &Bucket) -> Self {
        let is_named = attributes.account.is_some() || attributes.user.is_some();
        match self {
            Self::Batch if attributes.scope == Scope::Personal && is_named => self.within(bucket),
            Self::Batch | Self::Conversation => Self::Conversation,
        }
    }

    /// The way to people of this bucket: only Teams has a batch API, and only for people of a tenant.
    fn within(self, bucket: &Bucket) -> Self {
        match self {
            Self::Batch if bucket.is_of_teams() && bucket.tenant().is_some() => Self::Batch,
            Self::Batch | Self::Conversation => Self::Conversation,
        }
    }

    /// The way to a person of whom nothing is known but this name: by batch unless the audience may name them in another way,
    /// too. Who is sent to in a conversation is found there by all their names, and gets one copy; a batch has names alone.
    #[must_use]
    pub fn to_unknown(self, person: &Recipient, audience: &Audience, bucket: &Bucket) -> Self {
        let all = |is_so: fn(&Whom) -> bool| audience.0.iter().all(|selector| is_so(&selector.whom));
        // A roster names everybody in both ways.
        let is_roster = |whom: &Whom| {
            let members = matches!(
                whom,
                Whom::Team {
                    to: TeamPart::Members,
                    ..
                }
            );
            members || matches!(whom, Whom::GroupChatMembers { .. })
        };
        let alone = match person {
            Recipient::User(_) => all(|whom| matches!(whom, Whom::Users { .. })) || all(is_roster),
            Recipient::Account(_) => all(|whom| matches!(whom, Whom::Accounts(_))) || all(is_roster),
            Recipient::Conversation(_) | Recipient::UnknownConversation(_) => false,
        };
        if alone {
            self.within(bucket)
        } else {
            Self::Conversation
        }
    }
}

/// What the recipients of one chunk have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Whose pace requests are made at.
    pub bucket: Bucket,
    /// By which way they go.
    pub transport: Transport,
}

impl From<Bucket> for Lane {
    fn from(bucket: Bucket) -> Self {
        Self {
            bucket,
            transport: Transport::Conversation,
        }
    }
}

impl Page {
    /// The same page with no more than so many people in a chunk that goes by batch.
    #[must_use]
    pub fn cut(mut self, most: usize) -> Self {
        let is_within = |chunk: &PageChunk| match chunk.transport {
            Transport::Conversation => true,
            Transport::Batch => chunk.recipients.len() <= most.max(1),
        };
        if self.chunks.iter().all(is_within) {
            return self;
        }
        let chunks = self.chunks.into_iter().flat_map(|chunk| {
            let size = match chunk.transport {
                Transport::Conversation => chunk.recipients.len(),
                Transport::Batch => most,
            };
            let lists: Vec<_> = chunk.recipients.chunks(size.max(1)).map(<[_]>::to_vec).collect();
            lists.into_iter().map(move |recipients| PageChunk {
                bucket: chunk.bucket.clone(),
                transport: chunk.transport,
                recipients,
            })
        });
        self.chunks = chunks.collect();
        self
    }

    /// Recipients on this page that go by batch.
    pub fn batched(&self) -> u64 {
        let by_batch = |chunk: &&PageChunk| chunk.transport == Transport::Batch;
        let chunks = self.chunks.iter().filter(by_batch);
        chunks.map(|chunk| chunk.recipients.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::{Guests, Selector};

    fn bucket() -> Bucket {
        bucket_of("msteams", Some("t"))
    }

    fn bucket_of(channel: &str, tenant: Option<&str>) -> Bucket {
        Bucket::of(&format!("{channel}|28:b|a:1").parse().unwrap(), tenant)
    }

    fn people(names: std::ops::Range<u32>) -> Vec<Recipient> {
        names
            .map(|name| Recipient::User(name.to_string().as_str().into()))
            .collect()
    }

    #[test]
    fn lists_are_cut_and_nobody_is_lost_or_moved() {
        let lane = |transport| {
            Some(Lane {
                bucket: bucket(),
                transport,
            })
        };
        let batch = people(0..7)
            .into_iter()
            .map(|person| (lane(Transport::Batch), person));
        let ordinary = people(7..20)
            .into_iter()
            .map(|person| (lane(Transport::Conversation), person));
        let page = Page::group(batch.chain(ordinary), Some("on".to_owned()));
        assert_eq!((page.chunks.len(), page.batched()), (2, 7));
        assert_eq!(page.clone().cut(7), page);
        let cut = page.cut(3);
        let lists: Vec<_> = cut
            .chunks
            .iter()
            .map(|chunk| (chunk.transport, chunk.recipients.clone()))
            .collect();
        let expected = [
            (Transport::Batch, people(0..3)),
            (Transport::Batch, people(3..6)),
            (Transport::Batch, people(6..7)),
            (Transport::Conversation, people(7..20)),
        ];
        assert_eq!((lists, cut.batched()), (expected.to_vec(), 7));
        assert_eq!(cut.next.as_deref(), Some("on"));
    }

    #[test]
    fn a_chunk_of_the_ordinary_way_is_written_as_it_ever_was() {
        let written = |transport| {
            let chunk = PageChunk {
                bucket: Some(bucket()),
                transport,
                recipients: people(0..1),
            };
            serde_json::to_value(&chunk).unwrap()
        };
        let ordinary = serde_json::json!({"bucket": "msteams|28:b|t", "others": [{"user": "0"}]});
        assert_eq!(written(Transport::Conversation), ordinary);
        let read: PageChunk = serde_json::from_value(ordinary).unwrap();
        assert_eq!(read.transport, Transport::Conversation);
        let batch: PageChunk = serde_json::from_value(written(Transport::Batch)).unwrap();
        assert_eq!(batch.transport, Transport::Batch);
    }

    #[test]
    fn only_a_person_of_a_tenant_whom_the_channel_can_be_told_goes_by_batch() {
        let ada = Attributes {
            scope: Scope::Personal,
            tenant: Some("t".to_owned()),
            user: Some("ada".into()),
            account: Some("29:ada".into()),
            team: None,
            tags: Vec::new(),
        };
        let (batch, bucket) = (Transport::Batch, bucket());
        assert_eq!(batch.to(&ada, &bucket), Transport::Batch);
        assert_eq!(Transport::Conversation.to(&ada, &bucket), Transport::Conversation);
        for elsewhere in [bucket_of("slack", Some("t")), bucket_of("msteams", None)] {
            assert_eq!(batch.to(&ada, &elsewhere), Transport::Conversation);
        }
        let one_name = Attributes {
            account: None,
            ..ada.clone()
        };
        assert_eq!(batch.to(&one_name, &bucket), Transport::Batch);
        let others = [
            Attributes {
                scope: Scope::GroupChat,
                ..ada.clone()
            },
            Attributes {
                user: None,
                ..one_name
            },
        ];
        for other in others {
            assert_eq!(batch.to(&other, &bucket), Transport::Conversation, "{other:?}");
        }
    }

    #[test]
    fn whoever_may_be_named_twice_goes_where_they_are_found_by_both_names() {
        let (user, account) = (Recipient::User("ada".into()), Recipient::Account("29:ada".into()));
        let users = Whom::Users {
            ids: vec!["ada".into()],
            tenant: None,
        };
        let accounts = Whom::Accounts(vec!["29:ada".into()]);
        let members = Whom::Team {
            id: "19:t".to_owned(),
            to: TeamPart::Members,
            guests: Guests::Included,
        };
        let to = |person: &Recipient, audience: &[&Whom]| {
            let audience = audience.iter().map(|whom| Selector::from((*whom).clone()));
            Transport::Batch.to_unknown(person, &Audience(audience.collect()), &bucket())
        };
        assert_eq!(to(&user, &[&users]), Transport::Batch);
        assert_eq!(to(&user, &[&members, &members]), Transport::Batch);
        // Somebody whose conversation is known by the one name alone is found there by the other.
        assert_eq!(to(&user, &[&users, &members]), Transport::Conversation);
        assert_eq!(to(&account, &[&accounts]), Transport::Batch);
        assert_eq!(to(&user, &[&users, &accounts]), Transport::Conversation);
        assert_eq!(to(&account, &[&users, &accounts]), Transport::Conversation);
        assert_eq!(to(&account, &[&accounts, &members]), Transport::Conversation);
        let unknown = Recipient::UnknownConversation("a:1".into());
        assert_eq!(to(&unknown, &[&users]), Transport::Conversation);
    }
}
