//! The send mode: one request for each recipient, or Teams' batch API.
//!
//! A batch request names a message and many people, and Teams sends the message to each of them at its own pace
//! ([`crate::batch`]). This takes two requests instead of a hundred. The copies can be neither edited nor deleted, because
//! Teams does not return their ids.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Page, PageChunk};
use crate::audience::{Audience, Recipient, Target, TeamPart};
use crate::conversation::{Attributes, Scope};
use crate::rate_limit::Bucket;

/// How a message is sent to its recipients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SendMode {
    /// One request for each recipient, in its conversation.
    #[default]
    #[serde(rename = "individual")]
    Individual,
    /// One request for many people of a tenant. Recipients that a batch cannot reach are sent to individually.
    Batch,
}

impl SendMode {
    /// Whether the JSON form omits it.
    // Serde passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(crate) fn is_individual(&self) -> bool {
        *self == Self::Individual
    }

    /// The mode for a conversation: batch if it is personal, in a tenant of Teams, and an id of the person is stored.
    #[must_use]
    pub fn for_conversation(self, attributes: &Attributes, bucket: &Bucket) -> Self {
        let is_named = attributes.account.is_some() || attributes.user.is_some();
        match self {
            Self::Batch if attributes.scope == Scope::Personal && is_named => self.within(bucket),
            Self::Batch | Self::Individual => Self::Individual,
        }
    }

    /// The mode for people of this bucket: only Teams has a batch API, and only for people of a tenant.
    fn within(self, bucket: &Bucket) -> Self {
        match self {
            Self::Batch if bucket.is_teams() && bucket.tenant().is_some() => Self::Batch,
            Self::Batch | Self::Individual => Self::Individual,
        }
    }

    /// The mode for a person without a conversation: batch, unless the audience may also contain the person by another id. The
    /// ledger recognises a person by all ids of the conversation; a batch has one id, so the person could get two copies.
    #[must_use]
    pub fn for_person(self, person: &Recipient, audience: &Audience, bucket: &Bucket) -> Self {
        let all = |is_so: fn(&Target) -> bool| audience.0.iter().all(|selector| is_so(&selector.target));
        // A roster has both ids of each person.
        let is_roster = |target: &Target| {
            let members = matches!(
                target,
                Target::Team {
                    to: TeamPart::Members,
                    ..
                }
            );
            members || matches!(target, Target::GroupChatMembers { .. })
        };
        let by_object_id = |target: &Target| matches!(target, Target::Users { .. } | Target::Directory(_));
        let alone = match person {
            Recipient::User(_) => all(by_object_id) || all(is_roster),
            Recipient::Account(_) => all(|target| matches!(target, Target::Accounts(_))) || all(is_roster),
            Recipient::Conversation(_) | Recipient::UnknownConversation(_) | Recipient::Missed(_) => false,
        };
        if alone {
            self.within(bucket)
        } else {
            Self::Individual
        }
    }
}

/// What the recipients of one chunk have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendPath {
    /// The rate limit that requests count against.
    pub bucket: Bucket,
    /// The send mode of the requests.
    pub send_mode: SendMode,
    /// When they are due; `None` at once.
    pub wave: Option<Timestamp>,
}

impl From<Bucket> for SendPath {
    fn from(bucket: Bucket) -> Self {
        Self {
            bucket,
            send_mode: SendMode::Individual,
            wave: None,
        }
    }
}

impl Page {
    /// The page with at most `most` recipients in each batch chunk.
    #[must_use]
    pub fn split_batches(mut self, most: usize) -> Self {
        let is_within = |chunk: &PageChunk| match chunk.send_mode {
            SendMode::Individual => true,
            SendMode::Batch => chunk.recipients.len() <= most.max(1),
        };
        if self.chunks.iter().all(is_within) {
            return self;
        }
        let chunks = self.chunks.into_iter().flat_map(|chunk| {
            let size = match chunk.send_mode {
                SendMode::Individual => chunk.recipients.len(),
                SendMode::Batch => most,
            };
            let lists: Vec<_> = chunk.recipients.chunks(size.max(1)).map(<[_]>::to_vec).collect();
            lists.into_iter().map(move |recipients| PageChunk {
                bucket: chunk.bucket.clone(),
                send_mode: chunk.send_mode,
                wave: chunk.wave,
                recipients,
                // What goes by batch has none.
                fields: chunk.fields.clone(),
            })
        });
        self.chunks = chunks.collect();
        self
    }

    /// The number of recipients in batch mode.
    pub fn batched(&self) -> u64 {
        let by_batch = |chunk: &&PageChunk| chunk.send_mode == SendMode::Batch;
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
        let lane = |send_mode| {
            Some(SendPath {
                bucket: bucket(),
                send_mode,
                wave: None,
            })
        };
        let batch = people(0..7)
            .into_iter()
            .map(|person| (lane(SendMode::Batch), person));
        let ordinary = people(7..20)
            .into_iter()
            .map(|person| (lane(SendMode::Individual), person));
        let page = Page::group(batch.chain(ordinary), Some("on".to_owned()));
        assert_eq!((page.chunks.len(), page.batched()), (2, 7));
        assert_eq!(page.clone().split_batches(7), page);
        let cut = page.split_batches(3);
        let lists: Vec<_> = cut
            .chunks
            .iter()
            .map(|chunk| (chunk.send_mode, chunk.recipients.clone()))
            .collect();
        let expected = [
            (SendMode::Batch, people(0..3)),
            (SendMode::Batch, people(3..6)),
            (SendMode::Batch, people(6..7)),
            (SendMode::Individual, people(7..20)),
        ];
        assert_eq!((lists, cut.batched()), (expected.to_vec(), 7));
        assert_eq!(cut.next.as_deref(), Some("on"));
    }

    #[test]
    fn a_chunk_of_the_ordinary_way_is_written_as_it_ever_was() {
        let written = |send_mode| {
            let chunk = PageChunk {
                fields: Vec::new(),
                bucket: Some(bucket()),
                send_mode,
                wave: None,
                recipients: people(0..1),
            };
            serde_json::to_value(&chunk).unwrap()
        };
        let ordinary = serde_json::json!({"bucket": "msteams|28:b|t", "others": [{"user": "0"}]});
        assert_eq!(written(SendMode::Individual), ordinary);
        let read: PageChunk = serde_json::from_value(ordinary).unwrap();
        assert_eq!(read.send_mode, SendMode::Individual);
        let batch: PageChunk = serde_json::from_value(written(SendMode::Batch)).unwrap();
        assert_eq!(batch.send_mode, SendMode::Batch);
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
        let (batch, bucket) = (SendMode::Batch, bucket());
        assert_eq!(batch.for_conversation(&ada, &bucket), SendMode::Batch);
        assert_eq!(
            SendMode::Individual.for_conversation(&ada, &bucket),
            SendMode::Individual
        );
        for elsewhere in [bucket_of("slack", Some("t")), bucket_of("msteams", None)] {
            assert_eq!(batch.for_conversation(&ada, &elsewhere), SendMode::Individual);
        }
        let one_name = Attributes {
            account: None,
            ..ada.clone()
        };
        assert_eq!(batch.for_conversation(&one_name, &bucket), SendMode::Batch);
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
            assert_eq!(
                batch.for_conversation(&other, &bucket),
                SendMode::Individual,
                "{other:?}"
            );
        }
    }

    #[test]
    fn whoever_may_be_named_twice_goes_where_they_are_found_by_both_names() {
        let (user, account) = (Recipient::User("ada".into()), Recipient::Account("29:ada".into()));
        let users = Target::Users {
            ids: vec!["ada".into()],
            tenant: None,
        };
        let accounts = Target::Accounts(vec!["29:ada".into()]);
        let members = Target::Team {
            id: "19:t".to_owned(),
            to: TeamPart::Members,
            guests: Guests::Included,
        };
        let to = |person: &Recipient, audience: &[&Target]| {
            let audience = audience.iter().map(|target| Selector::from((*target).clone()));
            SendMode::Batch.for_person(person, &Audience(audience.collect()), &bucket())
        };
        assert_eq!(to(&user, &[&users]), SendMode::Batch);
        assert_eq!(to(&user, &[&members, &members]), SendMode::Batch);
        // A person whose conversation is stored with one id only may be in the audience by the other.
        assert_eq!(to(&user, &[&users, &members]), SendMode::Individual);
        assert_eq!(to(&account, &[&accounts]), SendMode::Batch);
        assert_eq!(to(&user, &[&users, &accounts]), SendMode::Individual);
        assert_eq!(to(&account, &[&users, &accounts]), SendMode::Individual);
        assert_eq!(to(&account, &[&accounts, &members]), SendMode::Individual);
        let unknown = Recipient::UnknownConversation("a:1".into());
        assert_eq!(to(&unknown, &[&users]), SendMode::Individual);
    }
}
