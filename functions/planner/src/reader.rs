//! The pages of one part of an audience.

use std::collections::HashSet;
use std::pin::pin;

use futures_util::{StreamExt, TryStreamExt, stream};
use herald::audience::{Audience, Recipient, SelectorMatcher, Target, TeamPart, thread_id};
use herald::conversation::{Person, State};
use herald::delivery::SkipReason;
use herald::id::NotificationId;
use herald::notification::{
    IfNoConversation, Notification, PAGE_SIZE, Page, Part, SendMode, SendPath, Unreachable,
};
use herald::rate_limit::Bucket;
use herald::store::{
    self, ConversationFilter, ConversationSummary, Conversations, Notifications, Paces, cursor,
};
use serde::{Deserialize, Serialize};

use crate::home::{Home, Homes};
use crate::team::Team;
use crate::{Context, Failure};

/// How many look-ups are under way at once.
pub(crate) const LOOK_UPS: usize = 16;

/// Reads the pages of one part.
pub(crate) struct Reader<'a, C, N, P, Q, E> {
    pub(crate) context: &'a Context<C, N, P, Q, E>,
    pub(crate) id: &'a NotificationId,
    pub(crate) matcher: SelectorMatcher<'a>,
    audience: &'a Audience,
    /// The teams and chats whose rosters the audience names: one of which nothing is known may be named as a conversation, too.
    teams: HashSet<&'a str>,
    part: Part<'a>,
    if_no_conversation: IfNoConversation,
    send_mode: SendMode,
}

/// Which page is read.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The part, and the page's number.
    pub(crate) page: (u16, u32),
    /// Where it begins.
    pub(crate) cursor: Option<&'a str>,
}

impl<'a, C, N, P, Q, E> Reader<'a, C, N, P, Q, E>
where
    C: Conversations,
    N: Notifications,
    P: Paces,
    Q: Sync,
    E: Sync,
{
    pub(crate) fn new(
        context: &'a Context<C, N, P, Q, E>,
        notification: &'a Notification,
        audience: &'a Audience,
        part: Part<'a>,
    ) -> Option<Self> {
        let matcher = SelectorMatcher::new(audience, part.selector.0)?;
        let teams = audience.0.iter().filter_map(|selector| match &selector.target {
            Target::Team { id, .. } => Some(id.as_str()),
            Target::GroupChatMembers { id, .. } => Some(id.as_str()),
            Target::Everyone
            | Target::Tenant(_)
            | Target::Users { .. }
            | Target::Accounts(_)
            | Target::Conversations(_)
            | Target::Channel { .. }
            | Target::GroupChat(_)
            | Target::Tag(_) => None,
        });
        Some(Self {
            context,
            id: &notification.id,
            matcher,
            audience,
            teams: teams.collect(),
            part,
            if_no_conversation: notification.if_no_conversation,
            send_mode: notification.send_mode,
        })
    }

    pub(crate) async fn read(&self, at: Place<'_>) -> Result<Page, Failure> {
        let cursor = at.cursor;
        match &self.part.selector.1.target {
            Target::Everyone => {
                let (segment, segments) = self.part.segment;
                self.listed(&ConversationFilter::Everyone { segment, segments }, cursor)
                    .await
            }
            Target::Tenant(tenant) => {
                self.listed(&ConversationFilter::Tenant(tenant.clone()), cursor)
                    .await
            }
            Target::Tag(name) => self.listed(&ConversationFilter::Tag(name.clone()), cursor).await,
            Target::Users { ids, tenant } => {
                let home = self.home(tenant.as_deref()).await?;
                let unknown = |id| self.person(home.as_ref(), Person::User(id));
                self.named(ids, at, ConversationFilter::User, unknown).await
            }
            Target::Accounts(ids) => {
                let home = self.home(None).await?;
                let unknown = |id| self.person(home.as_ref(), Person::Account(id));
                self.named(ids, at, ConversationFilter::Account, unknown).await
            }
            Target::Conversations(ids) => {
                let unknown = |id| (None, Recipient::UnknownConversation(id));
                self.named(ids, at, ConversationFilter::Conversation, unknown)
                    .await
            }
            Target::GroupChat(id) => self.one(id.clone(), at).await,
            Target::GroupChatMembers { id, guests } => {
                Team::of_place(self, id).await?.members(at, *guests).await
            }
            Target::Channel { id, thread, team } => {
                if let Some(team) = team {
                    Team::new(self, team).await?.discover_channel(id).await?;
                }
                let place = thread_id(id, thread.as_deref());
                Team::of_place(self, id).await?.discover(&place).await?;
                self.one(place, at).await
            }
            Target::Team { id, to, guests } => match to {
                TeamPart::General => {
                    Team::new(self, id).await?.discover(&id.as_str().into()).await?;
                    self.one(id.as_str().into(), at).await
                }
                TeamPart::Channels => Team::new(self, id).await?.channels(at).await,
                TeamPart::Members => Team::new(self, id).await?.members(at, *guests).await,
            },
        }
    }

    /// The last page of a part about which the channel tells nothing, and need not any more: what it was asked about is a
    /// recipient, so that it is said.
    pub(crate) async fn unanswered(&self, at: Place<'_>) -> Result<Page, store::Error> {
        let asked = match &self.part.selector.1.target {
            Target::Team { id, .. } => id.as_str().into(),
            Target::GroupChatMembers { id, .. } => id.clone(),
            Target::Channel { id, thread, .. } => thread_id(id, thread.as_deref()),
            Target::Everyone
            | Target::Tenant(_)
            | Target::Users { .. }
            | Target::Accounts(_)
            | Target::Conversations(_)
            | Target::GroupChat(_)
            | Target::Tag(_) => return Ok(Page::default()),
        };
        let asked = Recipient::UnknownConversation(asked);
        let repeated = self.is_repeated(at, &asked).await?;
        Ok(Page::group(
            (!repeated).then_some((None::<SendPath>, asked)),
            None,
        ))
    }

    /// One conversation, known or not.
    async fn one(&self, id: botframework::id::ConversationId, at: Place<'_>) -> Result<Page, Failure> {
        let unknown = |id| (None, Recipient::UnknownConversation(id));
        self.named(&[id], at, ConversationFilter::Conversation, unknown)
            .await
    }

    /// Where people of this tenant are reached, if conversations are to be made at all.
    async fn home(&self, tenant: Option<&str>) -> Result<Option<Home>, store::Error> {
        match self.if_no_conversation {
            IfNoConversation::Skip => Ok(None),
            IfNoConversation::Create | IfNoConversation::Install => {
                Homes(self.context).of_tenant(tenant).await
            }
        }
    }

    /// A person of whom no conversation is known; with a lane when one can be made.
    pub(crate) fn person(&self, home: Option<&Home>, person: Person) -> (Option<SendPath>, Recipient) {
        let recipient = match person {
            Person::User(id) => Recipient::User(id),
            Person::Account(id) => Recipient::Account(id),
        };
        let home = home.filter(|_| self.if_no_conversation != IfNoConversation::Skip);
        let lane = home.map(|Home { bucket }| SendPath {
            send_mode: self.send_mode.for_person(&recipient, self.audience, bucket),
            bucket: bucket.clone(),
        });
        (lane, recipient)
    }

    /// A conversation that was found.
    pub(crate) fn recipient(&self, found: ConversationSummary) -> (Option<SendPath>, Recipient) {
        let bucket = Bucket::of(&found.key, found.attributes.tenant.as_deref());
        let lane = SendPath {
            send_mode: self.send_mode.for_conversation(&found.attributes, &bucket),
            bucket,
        };
        (Some(lane), Recipient::Conversation(found.key))
    }

    fn is_team(&self, unknown: &Recipient) -> bool {
        matches!(unknown, Recipient::UnknownConversation(id) if self.teams.contains(id.as_str()))
    }

    /// Whether this was found on another page before; it is kept that it was found on this one, if not.
    pub(crate) async fn is_repeated(&self, at: Place<'_>, found: &Recipient) -> Result<bool, store::Error> {
        let notifications = &self.context.notifications;
        let repeated = notifications
            .claim_recipients(self.id, at.page, std::slice::from_ref(found))
            .await?;
        Ok(!repeated.is_empty())
    }

    /// A page of a listing: those that are active and not another selector's.
    async fn listed(&self, selection: &ConversationFilter, cursor: Option<&str>) -> Result<Page, Failure> {
        let listing = self
            .context
            .conversations
            .list(selection, cursor, PAGE_SIZE)
            .await?;
        let meant = listing
            .items
            .into_iter()
            .filter(|found| self.matcher.means(&found.key.conversation, &found.attributes))
            .filter(|found| {
                !self
                    .matcher
                    .belongs_to_earlier(&found.key.conversation, &found.attributes)
            });
        let mut unreachable = Unreachable::default();
        let mut reachable = Vec::new();
        for candidate in meant {
            match out_of_reach(&candidate) {
                None => reachable.push(self.recipient(candidate)),
                Some(reason) => unreachable.count(reason),
            }
        }
        Ok(Page {
            unreachable,
            ..Page::group(reachable, listing.cursor)
        })
    }

    /// A page of a list of ids. Who was named and is not known, or not active, is a recipient too: the sender says
    /// why nothing was sent.
    async fn named<T: Clone + Send + Sync>(
        &self,
        ids: &[T],
        at: Place<'_>,
        selection: fn(T) -> ConversationFilter,
        unknown: impl Fn(T) -> (Option<SendPath>, Recipient),
    ) -> Result<Page, Failure> {
        let start = Position::read(at.cursor)?;
        let look_ups = ids.iter().enumerate().skip(start.index).map(|(index, id)| {
            let after = start.after.as_deref().filter(|_| index == start.index);
            async move {
                let listing = self
                    .context
                    .conversations
                    .list(&selection(id.clone()), after, PAGE_SIZE)
                    .await?;
                Ok::<_, store::Error>((index, id, after.is_some(), listing))
            }
        });
        let mut look_ups = pin!(stream::iter(look_ups).buffered(LOOK_UPS));
        let mut page = Vec::new();
        let mut unreachable = Unreachable::default();
        while let Some((index, id, continued, listing)) = look_ups.try_next().await? {
            if page.len() + listing.items.len().max(1) > PAGE_SIZE {
                let next = cursor::encode(&Position { index, after: None });
                return Ok(Page {
                    unreachable,
                    ..Page::group(page, Some(next))
                });
            }
            let mut found = listing.items;
            let excepted = |found: &ConversationSummary| {
                !self.matcher.admits(&found.key.conversation, &found.attributes)
            };
            let excepted = found.iter().any(excepted);
            found.retain(|found| self.matcher.means(&found.key.conversation, &found.attributes));
            if found.is_empty() && !continued && listing.cursor.is_none() && !excepted {
                let unknown = unknown(id.clone());
                if self.matcher.admits_unknown(&unknown.1)
                    && !self.matcher.is_named_before(&unknown.1)
                    && !(self.is_team(&unknown.1) && self.is_repeated(at, &unknown.1).await?)
                {
                    if unknown.0.is_none() {
                        unreachable.count(SkipReason::NoConversation);
                    }
                    page.push(unknown);
                }
            }
            found.retain(|found| {
                !self
                    .matcher
                    .belongs_to_earlier(&found.key.conversation, &found.attributes)
            });
            for reason in found.iter().filter_map(out_of_reach) {
                unreachable.count(reason);
            }
            page.extend(found.into_iter().map(|found| self.recipient(found)));
            if let Some(after) = listing.cursor {
                let after = Some(after);
                let next = cursor::encode(&Position { index, after });
                return Ok(Page {
                    unreachable,
                    ..Page::group(page, Some(next))
                });
            }
        }
        Ok(Page {
            unreachable,
            ..Page::group(page, None)
        })
    }
}

/// Where a page of a list of ids begins: at which id, and how far into its conversations.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Position {
    index: usize,
    after: Option<String>,
}

impl Position {
    fn read(cursor: Option<&str>) -> Result<Self, store::Error> {
        cursor.map_or_else(
            || Ok(Self::default()),
            |cursor| cursor::decode("plan a page", cursor),
        )
    }
}

/// Why this conversation would be skipped, if it would.
pub(crate) fn out_of_reach(candidate: &ConversationSummary) -> Option<SkipReason> {
    match candidate.state {
        State::Active => None,
        State::Removed => Some(SkipReason::Removed),
        State::Blocked { .. } => Some(SkipReason::Blocked),
    }
}
