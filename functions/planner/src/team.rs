//! Pages of the channels and members of a team, which only the channel knows.
//!
//! A query that is not cached is a request to the Connector and needs a permit of the tenant. If it cannot be made now, the
//! plan waits and does not fail.

use std::collections::HashSet;
use std::pin::pin;

use botframework::id::{ConversationId, UserRef};
use futures_util::{StreamExt, TryStreamExt, stream};
use herald::audience::{Guests, Recipient};
use herald::backend::Backend;
use herald::conversation::{Conversation, ConversationKey, Feedback, Observation};
use herald::delivery::SkipReason;
use herald::notification::{PAGE_SIZE, Page, SendPath, UnreachableCounts};
use herald::preferences;
use herald::rate_limit::Bucket;
use herald::roster_cache::{Member, RosterPage, RosterQuery};
use herald::store::{self, ConversationFilter, Conversations, cursor};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::bot_identity::BotIdentity;
use crate::people::Found;
use crate::recipients::{CONCURRENT_READS, PagePosition, Recipients};
use crate::roster_client::{Freshness, RosterClient};

/// How many conversations with the id of one channel are read: those of other bots.
const CHANNEL_PAGE: usize = 10;

/// The cursor of a page of a roster.
#[derive(Debug, Default, Serialize, Deserialize)]
struct RosterCursor {
    /// The channel's continuation token; `None` for the first page.
    token: Option<String>,
    /// Whether the roster is read for the second time.
    again: bool,
}

impl RosterCursor {
    const AGAIN: Self = Self {
        token: None,
        again: true,
    };

    fn read(cursor: Option<&str>) -> Result<Self, store::Error> {
        cursor.map_or_else(
            || Ok(Self::default()),
            |cursor| cursor::decode("plan a page", cursor),
        )
    }
}

/// A team or group chat.
pub(crate) struct Team<'a, B: Backend> {
    recipients: &'a Recipients<'a, B>,
    id: ConversationId,
    /// A conversation of the bot in the team; `None` if none is stored.
    shown: Option<Conversation>,
}

impl<'a, B: Backend> Team<'a, B> {
    /// The team with this id.
    pub(crate) async fn new(recipients: &'a Recipients<'a, B>, id: &str) -> Result<Self, Failure> {
        let shown = BotIdentity(recipients.context)
            .sample_conversation(&ConversationFilter::Team(id.to_owned()))
            .await?;
        Ok(Self {
            recipients,
            id: id.into(),
            shown,
        })
    }

    /// The team of a channel, or a group chat, which also has a roster.
    pub(crate) async fn around(
        recipients: &'a Recipients<'a, B>,
        id: &ConversationId,
    ) -> Result<Self, Failure> {
        let shown = BotIdentity(recipients.context)
            .sample_conversation(&ConversationFilter::Conversation(id.clone()))
            .await?;
        Ok(Self {
            recipients,
            id: id.clone(),
            shown,
        })
    }

    /// Stores a channel of the team unless it is stored: a bot in one channel of a team can write to the others.
    pub(crate) async fn ensure_known(&self, id: &ConversationId) -> Result<(), Failure> {
        let Some(shown) = &self.shown else { return Ok(()) };
        if !self.is_known(id).await? {
            let context = self.recipients.context;
            let observation = Observation::sibling_channel(shown, id.clone());
            context
                .conversations
                .remember(observation, context.clock.now())
                .await?;
        }
        Ok(())
    }

    /// Stores a channel that the caller names, if the channel list of the team contains it.
    pub(crate) async fn ensure_channel_known(&self, id: &ConversationId) -> Result<(), Failure> {
        let Some(shown) = &self.shown else { return Ok(()) };
        if self.is_known(id).await? {
            return Ok(());
        }
        // The channel may be newer than the cached list.
        match self.channel_ids(shown, Freshness::Live).await? {
            Some(ids) if ids.contains(id) => self.ensure_known(id).await,
            Some(_) | None => Ok(()),
        }
    }

    fn roster<'b>(&'b self, shown: &'b Conversation) -> RosterClient<'b, B> {
        RosterClient::new(self.recipients, &self.id, shown)
    }

    async fn is_known(&self, id: &ConversationId) -> Result<bool, store::Error> {
        let selection = ConversationFilter::Conversation(id.clone());
        let conversations = &self.recipients.context.conversations;
        Ok(!conversations.list(&selection, None, 1).await?.items.is_empty())
    }

    /// The ids of its channels, sorted; `None` when the channel refuses the query.
    async fn channel_ids(
        &self,
        shown: &Conversation,
        freshness: Freshness,
    ) -> Result<Option<Vec<ConversationId>>, Failure> {
        let answer = self.roster(shown).page(RosterQuery::Channels, freshness).await?;
        let mut ids = match answer {
            Some(RosterPage::Channels(ids)) => ids,
            Some(RosterPage::Members { .. }) | None => return Ok(None),
        };
        ids.sort();
        ids.dedup();
        Ok(Some(ids))
    }

    /// A page of its channels, in the order of their ids.
    pub(crate) async fn channels(&self, at: PagePosition<'_>) -> Result<Page, Failure> {
        let Some(shown) = &self.shown else {
            return self.unknown_once(at).await;
        };
        let Some(mut ids) = self.channel_ids(shown, Freshness::Cached).await? else {
            return self.unknown_once(at).await;
        };
        ids.retain(|id| at.cursor.is_none_or(|cursor| id.as_str() > cursor));
        let next = ids
            .get(PAGE_SIZE - 1)
            .filter(|_| ids.len() > PAGE_SIZE)
            .map(ToString::to_string);
        ids.truncate(PAGE_SIZE);
        let mut found = Found::default();
        for id in ids {
            self.ensure_known(&id).await?;
            let listing = self
                .recipients
                .context
                .conversations
                .list(&ConversationFilter::Conversation(id), None, CHANNEL_PAGE)
                .await?;
            self.recipients.take(listing.items, &mut found);
        }
        Ok(found.page(next))
    }

    /// A page of its members, each in their chat with the bot.
    ///
    /// The channel may answer otherwise when it is asked again, because a planner crashed here or reads the same page now.
    /// So the first content of the page is frozen (`DESIGN.md#frozen-pages`); otherwise its people could be on no page.
    pub(crate) async fn members(&self, at: PagePosition<'_>, guests: Guests) -> Result<Page, Failure> {
        let (read, named) = self.read_members(at, guests).await?;
        let page = self.recipients.freeze(at, &read).await?;
        // After the page is frozen, because these ids change which selector a conversation belongs to.
        self.name(named).await?;
        Ok(page)
    }

    /// Reads a page from the channel or the cache, and the ids that conversations lack.
    async fn read_members(
        &self,
        at: PagePosition<'_>,
        guests: Guests,
    ) -> Result<(Page, Vec<(ConversationKey, Feedback)>), Failure> {
        let Some(shown) = &self.shown else {
            return Ok((self.unknown(), Vec::new()));
        };
        let here = RosterCursor::read(at.cursor)?;
        let roster = self.roster(shown);
        let query = RosterQuery::Members {
            after: here.token.clone(),
        };
        // On the second reading: the cached pages lead to the token that the channel refused.
        let freshness = if here.again {
            Freshness::Live
        } else {
            Freshness::Cached
        };
        let (members, next) = match roster.page(query, freshness).await? {
            Some(RosterPage::Members { page, next }) => (page, next),
            // A continuation token expires. The roster is read again from its first page, once; people who are planned already
            // are not planned again.
            Some(RosterPage::Channels(_)) | None if here.token.is_some() && !here.again => {
                let again = Page::group::<SendPath>([], Some(cursor::encode(&RosterCursor::AGAIN)));
                return Ok((again, Vec::new()));
            }
            Some(RosterPage::Channels(_)) | None => return Ok((self.unknown(), Vec::new())),
        };
        let bucket = roster.bucket();
        let mut seen = HashSet::new();
        let is_wanted =
            |member: &Member| guests == Guests::Included || member.role.as_deref() != Some("guest");
        let members = members.into_iter();
        let members = members.filter(|member| is_wanted(member) && seen.insert(member.id.clone()));
        let look_ups = members.map(|member| self.member(member, shown, bucket));
        let mut look_ups = pin!(stream::iter(look_ups).buffered(CONCURRENT_READS));
        let mut found = Found::default();
        while let Some(of_one) = look_ups.try_next().await? {
            found.add(of_one);
        }
        // A token that repeats itself would never end.
        let next = next.filter(|token| here.token.as_ref() != Some(token));
        let next = next.map(|token| {
            let again = here.again;
            let token = Some(token);
            cursor::encode(&RosterCursor { token, again })
        });
        let named = std::mem::take(&mut found.named);
        Ok((found.page(next), named))
    }

    /// Stores both ids of people whose conversations have one, so that they are found by either.
    async fn name(&self, named: Vec<(ConversationKey, Feedback)>) -> Result<(), store::Error> {
        let context = self.recipients.context;
        let keys: Vec<ConversationKey> = named.iter().map(|(key, _)| key.clone()).collect();
        for known in context.conversations.get_many(&keys).await? {
            for (_, feedback) in named.iter().filter(|(key, _)| *key == known.key) {
                let now = context.clock.now();
                preferences::name_person(&context.conversations, &known, feedback, now).await?;
            }
        }
        Ok(())
    }

    /// The recipients for one member. A member of another tenant, in a shared channel, has the bot in that tenant, if at all.
    async fn member(
        &self,
        member: Member,
        shown: &Conversation,
        bucket: &Bucket,
    ) -> Result<Found, store::Error> {
        let tenant = member.tenant.as_deref();
        let is_external = tenant.is_some() && shown.attributes.tenant.is_some();
        let own = is_external.then(|| Bucket::of(&shown.key, tenant));
        let both = member
            .user
            .clone()
            .map(|user| Feedback::Identity(user, member.id.clone()));
        let account = UserRef::Account(member.id);
        let user = member.user.map(UserRef::Entra);
        let names = user.into_iter().chain([account]).collect();
        let bucket = own.as_ref().unwrap_or(bucket);
        self.recipients.of_person(names, both, Some(bucket)).await
    }

    /// The page of a team whose roster is not available: the team itself is the recipient, so that the sender reports it.
    fn unknown(&self) -> Page {
        let unknown = Recipient::UnknownConversation(self.id.clone());
        let mut unreachable = UnreachableCounts::default();
        unreachable.count(SkipReason::NoConversation);
        Page {
            unreachable,
            ..Page::group::<SendPath>([(None, unknown)], None)
        }
    }

    /// Like [`unknown`](Self::unknown), on one page only if several selectors name the team.
    async fn unknown_once(&self, at: PagePosition<'_>) -> Result<Page, Failure> {
        let unknown = Recipient::UnknownConversation(self.id.clone());
        let repeated = self.recipients.already_planned(at, &unknown).await?;
        let elsewhere = Page {
            matched: true,
            ..Page::default()
        };
        Ok(if repeated { elsewhere } else { self.unknown() })
    }
}
