//! Reads the pages of one part of an audience.

use std::collections::{HashMap, HashSet};
use std::pin::pin;

use botframework::id::{ChannelAccountId, ConversationId, EntraObjectId, UserRef};
use futures_util::{StreamExt, TryStreamExt, stream};
use herald::audience::{
    Audience, AudienceRow, Fields, Recipient, RowColumn, Target, TeamPart, size_of, thread_name,
};
use herald::backend::Backend;
use herald::conversation::ConversationName;
use herald::delivery::SkipReason;
use herald::notification::{
    IfNoConversation, IfUnreachable, Notification, PAGE_SIZE, Page, Part, SendPath, UnreachableCounts,
};
use herald::rate_limit::Bucket;
use herald::store::{self, ConversationFilter, ConversationSummary, Conversations, cursor};
use herald::timing::Defaults;
use serde::{Deserialize, Serialize};

use crate::bot_identity::BotIdentity;
use crate::directory::{Directory, LatestPeople};
use crate::recipients::{CONCURRENT_READS, PagePosition, Recipients};
use crate::team::Team;
use crate::{Context, Failure};

/// The most bytes of the fields of rows on a page, as JSON. A page is one item of at most 400 KB, with its recipients.
const FIELDS_BYTES_MAX: usize = 128 * 1024;

/// Reads the pages of one part.
pub(crate) struct Reader<'a, B: Backend> {
    recipients: Recipients<'a, B>,
    /// Teams and chats whose rosters the audience names. If they are not stored, `conversations` may name them, too.
    rosters: HashSet<&'a str>,
    part: Part<'a>,
    /// What Graph returned last.
    people: LatestPeople,
}

impl<'a, B: Backend> Reader<'a, B> {
    pub(crate) fn new(
        context: &'a Context<B>,
        notification: &'a Notification,
        audience: &'a Audience,
        part: Part<'a>,
        defaults: Defaults,
    ) -> Option<Self> {
        let rosters = audience.0.iter().filter_map(|selector| match &selector.target {
            Target::Team { id, .. } => Some(id.as_str()),
            Target::GroupChatMembers { id, .. } => Some(id.as_str()),
            Target::Everyone
            | Target::Tenant(_)
            | Target::Users { .. }
            | Target::Accounts(_)
            | Target::Rows { .. }
            | Target::Conversations(_)
            | Target::Channel { .. }
            | Target::GroupChat(_)
            | Target::Tag(_)
            | Target::Directory(_) => None,
        });
        Some(Self {
            recipients: Recipients::new(context, notification, audience, part.selector.0, defaults)?,
            rosters: rosters.collect(),
            part,
            people: LatestPeople::default(),
        })
    }

    pub(crate) async fn read(&self, at: PagePosition<'_>) -> Result<Page, Failure> {
        match &self.part.selector.1.target {
            Target::Everyone => {
                let (segment, segments) = self.part.segment;
                self.listed(&ConversationFilter::Everyone { segment, segments }, at)
                    .await
            }
            Target::Tenant(tenant) => self.listed(&ConversationFilter::Tenant(tenant.clone()), at).await,
            Target::Tag(name) => self.listed(&ConversationFilter::Tag(name.clone()), at).await,
            Target::Users { ids, tenant } => {
                let bucket = self.bucket(tenant.as_deref()).await?;
                let unknown = |id: &EntraObjectId| {
                    self.recipients
                        .person(bucket.as_ref(), UserRef::Entra(id.clone()))
                };
                self.named(ids, at, |id| ConversationFilter::User(id.clone()), unknown)
                    .await
            }
            Target::Accounts(ids) => {
                let bucket = self.bucket(None).await?;
                let unknown = |id: &ChannelAccountId| {
                    self.recipients
                        .person(bucket.as_ref(), UserRef::Account(id.clone()))
                };
                self.named(ids, at, |id| ConversationFilter::Account(id.clone()), unknown)
                    .await
            }
            Target::Conversations(ids) => self.named(ids, at, by_name, unknown_conversation).await,
            Target::Rows { column, rows, tenant } => self.rows(*column, rows, tenant.as_deref(), at).await,
            Target::GroupChat(name) => self.one(name.clone(), at).await,
            Target::GroupChatMembers { id, guests } => {
                Team::around(&self.recipients, id)
                    .await?
                    .members(at, *guests)
                    .await
            }
            Target::Channel {
                id: name,
                thread,
                team,
            } => {
                let id = &name.id();
                if let Some(team) = team {
                    Team::new(&self.recipients, team)
                        .await?
                        .ensure_channel_known(id)
                        .await?;
                }
                let conversation = thread_name(name, thread.as_deref());
                let team = Team::around(&self.recipients, id).await?;
                team.ensure_known(&conversation.id()).await?;
                self.one(conversation, at).await
            }
            Target::Team { id, to, guests } => match to {
                TeamPart::General => {
                    Team::new(&self.recipients, id)
                        .await?
                        .ensure_known(&id.as_str().into())
                        .await?;
                    self.one(id.as_str().into(), at).await
                }
                TeamPart::Channels => Team::new(&self.recipients, id).await?.channels(at).await,
                TeamPart::Members => Team::new(&self.recipients, id).await?.members(at, *guests).await,
            },
            Target::Directory(target) => {
                Directory::new(&self.recipients, target, &self.people)
                    .await?
                    .page(at)
                    .await
            }
        }
    }

    /// The last page of a part whose roster the channel did not return in time, or Graph the people: the team, chat or group itself is
    /// a recipient, so that the sender reports it.
    pub(crate) async fn give_up_page(&self, at: PagePosition<'_>) -> Result<Page, store::Error> {
        let of_conversation = |id| Recipient::UnknownConversation(id);
        let unknown = match &self.part.selector.1.target {
            Target::Team { id, .. } => of_conversation(id.as_str().into()),
            Target::GroupChatMembers { id, .. } => of_conversation(id.clone()),
            Target::Channel { id, thread, .. } => of_conversation(thread_name(id, thread.as_deref()).id()),
            Target::Directory(target) => {
                return Directory::new(&self.recipients, target, &self.people)
                    .await?
                    .unavailable_page(at)
                    .await;
            }
            Target::Everyone
            | Target::Tenant(_)
            | Target::Users { .. }
            | Target::Accounts(_)
            | Target::Rows { .. }
            | Target::Conversations(_)
            | Target::GroupChat(_)
            | Target::Tag(_) => return Ok(Page::default()),
        };
        let repeated = self.recipients.already_planned(at, &unknown).await?;
        Ok(Page::group(
            (!repeated).then_some((None::<SendPath>, unknown)),
            None,
        ))
    }

    /// One conversation, stored or not.
    async fn one(&self, name: ConversationName, at: PagePosition<'_>) -> Result<Page, Failure> {
        self.named(&[name], at, by_name, unknown_conversation).await
    }

    /// The bucket of the bot in a tenant, if conversations may be created.
    async fn bucket(&self, tenant: Option<&str>) -> Result<Option<Bucket>, store::Error> {
        match self.recipients.notification.if_no_conversation {
            IfNoConversation::Skip => Ok(None),
            IfNoConversation::Create | IfNoConversation::Install => {
                BotIdentity(self.recipients.context).bucket_in(tenant).await
            }
        }
    }

    /// A page of rows, each with its fields.
    async fn rows(
        &self,
        column: RowColumn,
        rows: &[AudienceRow],
        tenant: Option<&str>,
        at: PagePosition<'_>,
    ) -> Result<Page, Failure> {
        let bucket = match column {
            RowColumn::User | RowColumn::Account => self.bucket(tenant).await?,
            RowColumn::Conversation => None,
        };
        let person = |person| self.recipients.person(bucket.as_ref(), person);
        let unknown = |row: &AudienceRow| match column {
            RowColumn::User => person(UserRef::Entra(row.id.as_str().into())),
            RowColumn::Account => person(UserRef::Account(row.id.as_str().into())),
            RowColumn::Conversation => unknown_conversation(&row.id.as_str().into()),
        };
        let filter = |row: &AudienceRow| match column {
            RowColumn::User => ConversationFilter::User(row.id.as_str().into()),
            RowColumn::Account => ConversationFilter::Account(row.id.as_str().into()),
            RowColumn::Conversation => by_name(&row.id.as_str().into()),
        };
        self.named_with(rows, at, filter, unknown, |row| Some(&row.fields))
            .await
    }

    fn is_roster(&self, unknown: &Recipient) -> bool {
        matches!(unknown, Recipient::UnknownConversation(id) if self.rosters.contains(name_of(id).id().as_str()))
    }

    /// A page of a filter: conversations that do not belong to an earlier selector, and are to be sent to or reported.
    async fn listed(&self, filter: &ConversationFilter, at: PagePosition<'_>) -> Result<Page, Failure> {
        let listing = self
            .recipients
            .context
            .conversations
            .list(filter, at.cursor, PAGE_SIZE)
            .await?;
        let matcher = &self.recipients.matcher;
        let found = listing.items.into_iter();
        let found = found.filter(|found| matcher.means(&found.key, &found.attributes));
        let found: Vec<ConversationSummary> = found.collect();
        let any = !found.is_empty();
        let meant = found
            .into_iter()
            .filter(|found| !matcher.belongs_to_earlier(&found.key, &found.attributes));
        let meant = self.recipients.preferred(meant.collect(), at).await?;
        let mut unreachable = UnreachableCounts::default();
        let mut recipients = Vec::new();
        for candidate in meant {
            if let Some(reason) = self.recipients.skip_reason(&candidate) {
                unreachable.count(reason);
                if self.recipients.notification.if_unreachable == IfUnreachable::LeaveOut {
                    continue;
                }
            }
            recipients.push(self.recipients.conversation(candidate));
        }
        Ok(Page {
            unreachable,
            matched: any,
            ..Page::group(recipients, listing.cursor)
        })
    }

    /// A page of a list of ids. Ids that are not stored, or not active, are recipients too: the sender reports why it skips
    /// them.
    async fn named<T: Send + Sync>(
        &self,
        ids: &[T],
        at: PagePosition<'_>,
        filter: fn(&T) -> ConversationFilter,
        unknown: impl Fn(&T) -> (Option<SendPath>, Recipient),
    ) -> Result<Page, Failure> {
        self.named_with(ids, at, filter, unknown, |_| None).await
    }

    /// The same, with the fields that an id brings. The page ends before it has more of them than [`FIELDS_BYTES_MAX`].
    async fn named_with<T: Send + Sync>(
        &self,
        ids: &[T],
        at: PagePosition<'_>,
        filter: impl Fn(&T) -> ConversationFilter,
        unknown: impl Fn(&T) -> (Option<SendPath>, Recipient),
        fields_of: fn(&T) -> Option<&Fields>,
    ) -> Result<Page, Failure> {
        let start = Position::read(at.cursor)?;
        let (conversations, matcher) = (&self.recipients.context.conversations, &self.recipients.matcher);
        let look_ups = ids.iter().enumerate().skip(start.index).map(|(index, id)| {
            let after = start.after.as_deref().filter(|_| index == start.index);
            let filter = filter(id);
            async move {
                let listing = conversations.list(&filter, after, PAGE_SIZE).await?;
                Ok::<_, store::Error>((index, id, after.is_some(), listing))
            }
        });
        let mut look_ups = pin!(stream::iter(look_ups).buffered(CONCURRENT_READS));
        let (mut recipients, mut unreachable, mut next) = (Vec::new(), UnreachableCounts::default(), None);
        let (mut fields, mut bytes) = (HashMap::new(), 0);
        while let Some((index, id, continued, listing)) = look_ups.try_next().await? {
            let mut found = listing.items;
            let own = fields_of(id);
            bytes += own.map_or(0, |own| size_of(own) * found.len().max(1));
            let is_full = bytes > FIELDS_BYTES_MAX && !recipients.is_empty();
            if is_full || recipients.len() + found.len().max(1) > PAGE_SIZE {
                next = Some(Position { index, after: None });
                break;
            }
            let known = recipients.len();
            let excepted = |found: &ConversationSummary| !matcher.admits(&found.key, &found.attributes);
            let excepted = found.iter().any(excepted);
            found.retain(|found| matcher.means(&found.key, &found.attributes));
            if found.is_empty()
                && !continued
                && listing.cursor.is_none()
                && !excepted
                && let Some(unknown) = self.unknown_recipient(at, unknown(id)).await?
            {
                if unknown.0.is_none() {
                    unreachable.count(SkipReason::NoConversation);
                }
                recipients.push(unknown);
            }
            found.retain(|found| !matcher.belongs_to_earlier(&found.key, &found.attributes));
            let found = self.recipients.preferred(found, at).await?;
            for reason in found
                .iter()
                .filter_map(|found| self.recipients.skip_reason(found))
            {
                unreachable.count(reason);
            }
            recipients.extend(found.into_iter().map(|found| self.recipients.conversation(found)));
            let new = recipients.iter().skip(known);
            fields.extend(new.filter_map(|(_, recipient)| Some((recipient.clone(), own?.clone()))));
            if listing.cursor.is_some() {
                let after = listing.cursor;
                next = Some(Position { index, after });
                break;
            }
        }
        Ok(Page {
            unreachable,
            // Each id is a recipient, excluded, or a recipient of another selector.
            matched: true,
            ..Page::group(recipients, next.as_ref().map(cursor::encode)).with_fields(fields)
        })
    }

    /// The recipient for an id without a stored conversation; `None` if the selector excludes it, or it belongs to another
    /// selector or page.
    async fn unknown_recipient(
        &self,
        at: PagePosition<'_>,
        unknown: (Option<SendPath>, Recipient),
    ) -> Result<Option<(Option<SendPath>, Recipient)>, store::Error> {
        let (recipients, id) = (&self.recipients, &unknown.1);
        let is_wanted = recipients.matcher.admits_unknown(id)
            && !recipients.matcher.is_named_before(id)
            && !(self.is_roster(id) && recipients.already_planned(at, id).await?);
        Ok(is_wanted.then_some(unknown))
    }
}

/// Where the conversations with a name are: under its id, in any channel and bot.
fn by_name(name: &ConversationName) -> ConversationFilter {
    ConversationFilter::Conversation(name.id())
}

/// The recipient for a name without a stored conversation, as the caller wrote it.
fn unknown_conversation(name: &ConversationName) -> (Option<SendPath>, Recipient) {
    (None, Recipient::UnknownConversation(name.as_str().into()))
}

fn name_of(unknown: &ConversationId) -> ConversationName {
    unknown.as_str().into()
}

/// The cursor of a page of a list of ids.
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
