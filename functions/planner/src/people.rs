//! The recipients that people lead to whom a roster or a directory names.

use botframework::id::UserRef;
use herald::audience::Recipient;
use herald::backend::Backend;
use herald::companions;
use herald::conversation::{ConversationKey, Feedback, State};
use herald::delivery::SkipReason;
use herald::notification::{Page, SendPath, UnreachableCounts};
use herald::rate_limit::Bucket;
use herald::store::{self, ConversationSummary, Notifications};

use crate::recipients::{PagePosition, Recipients};

/// The recipients that people or channels lead to.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) recipients: Vec<(Option<SendPath>, Recipient)>,
    /// Those of them that the sender could not reach.
    pub(crate) unreachable: UnreachableCounts,
    /// Whether anything was found, also what is a recipient of another selector.
    pub(crate) matched: bool,
    /// Conversations that store one id of their person, and both ids.
    pub(crate) named: Vec<(ConversationKey, Feedback)>,
}

impl Found {
    pub(crate) fn add(&mut self, other: Self) {
        self.recipients.extend(other.recipients);
        self.unreachable.add(&other.unreachable);
        self.matched |= other.matched;
        self.named.extend(other.named);
    }

    pub(crate) fn page(self, next: Option<String>) -> Page {
        Page {
            unreachable: self.unreachable,
            matched: self.matched || !self.recipients.is_empty(),
            ..Page::group(self.recipients, next)
        }
    }
}

impl<B: Backend> Recipients<'_, B> {
    /// Stores what was read for this page, and returns the page without people who are on another one. Of several planners that
    /// read the page, the first one's content counts (`DESIGN.md#frozen-pages`).
    pub(crate) async fn freeze(&self, at: PagePosition<'_>, read: &Page) -> Result<Page, store::Error> {
        let notifications = &self.context.notifications;
        let page = notifications
            .freeze_page(&self.notification.id, at.page, read)
            .await?;
        let found = page.chunks.iter().flat_map(|chunk| chunk.recipients.clone());
        let found: Vec<Recipient> = found.collect();
        // Rosters and directories repeat people, on one page and across pages. Each person is planned on one page.
        let repeated = notifications
            .claim_recipients(&self.notification.id, at.page, &found)
            .await?;
        Ok(page.without(&repeated.into_iter().collect()))
    }

    /// The recipients for a person with these ids, `both` if there are two: their stored conversation with the bucket's bot, or the
    /// person.
    pub(crate) async fn of_person(
        &self,
        names: Vec<UserRef>,
        both: Option<Feedback>,
        bucket: Option<&Bucket>,
    ) -> Result<Found, store::Error> {
        let mut found = Found::default();
        let (matcher, nowhere) = (&self.matcher, |person: &UserRef| {
            self.person(None, person.clone()).1
        });
        if !names
            .iter()
            .all(|person| matcher.admits_unknown(&nowhere(person)))
        {
            return Ok(found);
        }
        // A conversation may be stored with one of the two ids.
        for (person, bucket) in names.iter().filter_map(|person| Some((person, bucket?))) {
            // Conversations with another bot or tenant do not count.
            let known = companions::of_person(&self.context.conversations, person, bucket).await?;
            if !known.is_empty() {
                let half = known
                    .iter()
                    .filter(|known| known.attributes.user.is_none() || known.attributes.account.is_none());
                found.named = both.map_or(Vec::new(), |both| {
                    half.map(|known| (known.key.clone(), both.clone())).collect()
                });
                found.matched = true;
                self.take(self.preferred_companion(&known), &mut found);
                return Ok(found);
            }
        }
        if names
            .iter()
            .any(|person| matcher.is_named_before(&nowhere(person)))
        {
            found.matched = true;
            return Ok(found);
        }
        if let Some(person) = names.into_iter().next() {
            let unknown = self.person(bucket, person);
            if unknown.0.is_none() {
                found.unreachable.count(SkipReason::NoConversation);
            }
            found.recipients.push(unknown);
        }
        Ok(found)
    }

    /// The preferred one of a person's conversations; none if an earlier selector selects one that the bot was not removed from.
    fn preferred_companion(&self, known: &[ConversationSummary]) -> Vec<ConversationSummary> {
        let matcher = &self.matcher;
        let is_of_earlier = |known: &ConversationSummary| {
            known.state != State::Removed && matcher.belongs_to_earlier(&known.key, &known.attributes)
        };
        if known.iter().any(is_of_earlier) {
            return Vec::new();
        }
        let admitted = known
            .iter()
            .filter(|known| matcher.admits(&known.key, &known.attributes));
        companions::preferred(admitted).cloned().into_iter().collect()
    }

    /// Adds conversations that belong to this selector.
    pub(crate) fn take(&self, candidates: Vec<ConversationSummary>, found: &mut Found) {
        let matcher = &self.matcher;
        for candidate in candidates {
            let (conversation, attributes) = (&candidate.key, &candidate.attributes);
            if !matcher.admits(conversation, attributes) {
                continue;
            }
            found.matched = true;
            if matcher.belongs_to_earlier(conversation, attributes) {
                continue;
            }
            if let Some(reason) = self.skip_reason(&candidate) {
                found.unreachable.count(reason);
            }
            found.recipients.push(self.conversation(candidate));
        }
    }
}
