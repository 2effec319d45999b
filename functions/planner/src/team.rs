//! What only the channel knows: the channels of a team, and its members.
//!
//! Each question that was not answered lately is a request to the Connector, and takes a permit of its tenant like every
//! other. What cannot be asked now makes the plan wait, not fail.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use botframework::connector::{self, Class};
use botframework::id::ConversationId;
use futures_util::{StreamExt, TryStreamExt, stream};
use herald::audience::{Guests, Recipient};
use herald::conversation::{Conversation, Person, Sighting};
use herald::delivery::SkipReason;
use herald::notification::{Lane, PAGE_SIZE, Page, Unreachable};
use herald::pace::{self, Bucket, Pace, Wish};
use herald::retry::{Reaction, reaction};
use herald::roster::{Answer, Member, Question};
use herald::store::{self, Candidate, Conversations, Notifications, Paces, Selection};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::home::{Home, Homes};
use crate::reader::{LOOK_UPS, Place, Reader, out_of_reach};
use crate::roster::Freshness;

/// How many conversations of one person are looked at.
const OF_ONE_PERSON: usize = 10;

/// How long the plan waits for a channel that does not answer, if it names no time.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// Recipients that one member came to, and who of them cannot be reached.
type Found = (Vec<(Option<Lane>, Recipient)>, Unreachable);

/// Where a page of a roster begins.
#[derive(Debug, Default, Serialize, Deserialize)]
struct RosterPlace {
    /// What the page before said; the beginning without it.
    token: Option<String>,
    /// Whether the roster is read for the second time.
    again: bool,
}

impl RosterPlace {
    const AGAIN: Self = Self {
        token: None,
        again: true,
    };

    fn read(cursor: Option<&str>) -> Result<Self, store::Error> {
        let corrupt = |_| store::Error::Corrupt {
            verb: "plan a page",
            what: "cursor".to_owned(),
        };
        cursor.map_or_else(
            || Ok(Self::default()),
            |text| serde_json::from_str(text).map_err(corrupt),
        )
    }

    fn write(&self) -> String {
        // A string and a flag: nothing JSON cannot hold.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A team, as one of its channels shows it.
pub(crate) struct Team<'a, C, N, P, Q, E> {
    pub(crate) reader: &'a Reader<'a, C, N, P, Q, E>,
    pub(crate) id: ConversationId,
    /// None when the bot was never heard of there.
    shown: Option<Conversation>,
}

impl<'a, C, N, P, Q, E> Team<'a, C, N, P, Q, E>
where
    C: Conversations,
    N: Notifications,
    P: Paces,
    Q: Sync,
    E: Sync,
{
    /// The team with this id.
    pub(crate) async fn new(reader: &'a Reader<'a, C, N, P, Q, E>, id: &str) -> Result<Self, Failure> {
        let shown = Homes(reader.context)
            .example(&Selection::Team(id.to_owned()))
            .await?;
        Ok(Self {
            reader,
            id: id.into(),
            shown,
        })
    }

    /// The team of a channel.
    pub(crate) async fn of_channel(
        reader: &'a Reader<'a, C, N, P, Q, E>,
        id: &ConversationId,
    ) -> Result<Self, Failure> {
        let shown = Homes(reader.context)
            .example(&Selection::Conversation(id.clone()))
            .await?;
        Ok(Self {
            reader,
            id: id.clone(),
            shown,
        })
    }

    /// Makes sure that a place in it is remembered: whoever is in one channel of a team can write to the others.
    pub(crate) async fn discover(&self, id: &ConversationId) -> Result<(), Failure> {
        let Some(shown) = &self.shown else { return Ok(()) };
        if !self.is_known(id).await? {
            let context = self.reader.context;
            let sighting = Sighting::beside(shown, id.clone());
            context
                .conversations
                .remember(sighting, context.clock.now())
                .await?;
        }
        Ok(())
    }

    /// The same of a channel that is only said to be in it: the team's channels are asked for.
    pub(crate) async fn discover_channel(&self, id: &ConversationId) -> Result<(), Failure> {
        let Some(shown) = &self.shown else { return Ok(()) };
        if self.is_known(id).await? {
            return Ok(());
        }
        match self.channel_ids(shown).await? {
            Some(ids) if ids.contains(id) => self.discover(id).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn is_known(&self, id: &ConversationId) -> Result<bool, store::Error> {
        let selection = Selection::Conversation(id.clone());
        let conversations = &self.reader.context.conversations;
        Ok(!conversations.list(&selection, None, 1).await?.found.is_empty())
    }

    /// The ids of its channels, sorted; `None` when the channel will not tell.
    async fn channel_ids(&self, shown: &Conversation) -> Result<Option<Vec<ConversationId>>, Failure> {
        let answer = self.answer(shown, Question::Channels, Freshness::Lately).await?;
        let mut ids = match answer {
            Some(Answer::Channels(ids)) => ids,
            Some(Answer::Members { .. }) | None => return Ok(None),
        };
        ids.sort();
        ids.dedup();
        Ok(Some(ids))
    }

    /// A page of its channels, in the order of their ids.
    pub(crate) async fn channels(&self, at: Place<'_>) -> Result<Page, Failure> {
        let Some(shown) = &self.shown else {
            return Ok(self.unknown());
        };
        let Some(mut ids) = self.channel_ids(shown).await? else {
            return Ok(self.unknown());
        };
        ids.retain(|id| at.cursor.is_none_or(|cursor| id.as_str() > cursor));
        let next = ids
            .get(PAGE_SIZE - 1)
            .filter(|_| ids.len() > PAGE_SIZE)
            .map(ToString::to_string);
        ids.truncate(PAGE_SIZE);
        let (mut found, mut unreachable) = (Vec::new(), Unreachable::default());
        for id in ids {
            self.discover(&id).await?;
            let listing = self
                .reader
                .context
                .conversations
                .list(&Selection::Conversation(id), None, OF_ONE_PERSON)
                .await?;
            self.take(listing.found, &mut found, &mut unreachable);
        }
        Ok(Page {
            unreachable,
            ..Page::group(found, next)
        })
    }

    /// A page of its members, each in their chat with the bot.
    ///
    /// The channel may tell something else when it is asked again: a planner may have died here, or be at the same page now.
    /// So what the page was read as first is what counts; else those who were found on it could be on none.
    pub(crate) async fn members(&self, at: Place<'_>, guests: Guests) -> Result<Page, Failure> {
        let read = self.read_members(at, guests).await?;
        let notifications = &self.reader.context.notifications;
        let page = notifications.draft(self.reader.id, at.page, &read).await?;
        // Pages repeat people, and so do rosters; a person is found on one page of the plan.
        let found = page.chunks.iter().flat_map(|chunk| chunk.recipients.clone());
        let found: Vec<Recipient> = found.collect();
        let repeated = notifications.repeated(self.reader.id, at.page, &found).await?;
        Ok(page.without(&repeated.into_iter().collect()))
    }

    /// A page as the channel tells it now.
    async fn read_members(&self, at: Place<'_>, guests: Guests) -> Result<Page, Failure> {
        let Some(shown) = &self.shown else {
            return Ok(self.unknown());
        };
        let here = RosterPlace::read(at.cursor)?;
        let question = Question::Members {
            after: here.token.clone(),
        };
        // What led to a token that is refused must not lead there again.
        let freshness = if here.again {
            Freshness::Now
        } else {
            Freshness::Lately
        };
        let (members, next) = match self.answer(shown, question, freshness).await? {
            Some(Answer::Members { page, next }) => (page, next),
            // What a roster goes on with may be too old by now. Whoever was found stays found, so it is read from its
            // beginning: once.
            Some(Answer::Channels(_)) | None if here.token.is_some() && !here.again => {
                return Ok(Page::group::<Lane>([], Some(RosterPlace::AGAIN.write())));
            }
            Some(Answer::Channels(_)) | None => return Ok(self.unknown()),
        };
        let bucket = &bucket_of(shown);
        let mut seen = HashSet::new();
        let is_wanted =
            |member: &Member| guests == Guests::Included || member.role.as_deref() != Some("guest");
        let members = members.into_iter();
        let members = members.filter(|member| is_wanted(member) && seen.insert(member.id.clone()));
        let look_ups = members.map(|member| self.member(member, bucket));
        let mut look_ups = pin!(stream::iter(look_ups).buffered(LOOK_UPS));
        let (mut found, mut unreachable) = (Vec::new(), Unreachable::default());
        while let Some((of_one, reasons)) = look_ups.try_next().await? {
            found.extend(of_one);
            unreachable.add(&reasons);
        }
        let next = next.map(|token| {
            let again = here.again;
            let token = Some(token);
            RosterPlace { token, again }.write()
        });
        Ok(Page {
            unreachable,
            ..Page::group(found, next)
        })
    }

    /// One member: the conversations that are known of them, or themselves.
    async fn member(&self, member: Member, bucket: &Bucket) -> Result<Found, store::Error> {
        let (mut found, mut unreachable) = (Vec::new(), Unreachable::default());
        let account = Person::Account(member.id.clone());
        let user = member.user.map(Person::User);
        let names: Vec<Person> = user.into_iter().chain([account]).collect();
        let (matcher, nowhere) = (&self.reader.matcher, |person: &Person| {
            self.reader.person(None, person.clone()).1
        });
        if !names
            .iter()
            .all(|person| matcher.admits_unknown(&nowhere(person)))
        {
            return Ok((found, unreachable));
        }
        // Those that are known by one of their names need not be by the other.
        for person in &names {
            let selection = match person {
                Person::User(id) => Selection::User(id.clone()),
                Person::Account(id) => Selection::Account(id.clone()),
            };
            let conversations = &self.reader.context.conversations;
            let mut listing = conversations.list(&selection, None, OF_ONE_PERSON).await?;
            // A bot of ours that is not in this team may know them, too.
            listing
                .found
                .retain(|known| Bucket::of(&known.key, known.facts.tenant.as_deref()) == *bucket);
            if !listing.found.is_empty() {
                self.take(listing.found, &mut found, &mut unreachable);
                return Ok((found, unreachable));
            }
        }
        if names
            .iter()
            .any(|person| matcher.is_named_before(&nowhere(person)))
        {
            return Ok((found, unreachable));
        }
        let home = Home {
            bucket: bucket.clone(),
        };
        if let Some(person) = names.into_iter().next() {
            let unknown = self.reader.person(Some(&home), person);
            if unknown.0.is_none() {
                unreachable.count(SkipReason::NoConversation);
            }
            found.push(unknown);
        }
        Ok((found, unreachable))
    }

    /// Takes conversations that the team led to, if no other selector has them.
    fn take(
        &self,
        candidates: Vec<Candidate>,
        found: &mut Vec<(Option<Lane>, Recipient)>,
        unreachable: &mut Unreachable,
    ) {
        let matcher = &self.reader.matcher;
        for candidate in candidates {
            let (conversation, facts) = (&candidate.key.conversation, &candidate.facts);
            if !matcher.admits(conversation, facts) || matcher.is_taken(conversation, facts) {
                continue;
            }
            if let Some(reason) = out_of_reach(&candidate) {
                unreachable.count(reason);
            }
            found.push(self.reader.recipient(candidate));
        }
    }

    /// A team that nobody knows of: it is named, so it is a recipient, and the sender says why nothing was sent.
    fn unknown(&self) -> Page {
        let unknown = Recipient::UnknownConversation(self.id.clone());
        let mut unreachable = Unreachable::default();
        unreachable.count(SkipReason::NoConversation);
        Page {
            unreachable,
            ..Page::group::<Lane>([(None, unknown)], None)
        }
    }

    /// The service URL to ask, when there is a permit to.
    pub(crate) async fn ask<'s>(&self, shown: &'s Conversation) -> Result<&'s str, Failure> {
        let context = self.reader.context;
        let now = context.clock.now();
        let wish = Wish {
            block: 1,
            whole: 1,
            turn: Some(now),
        };
        let limit = context.limits.tenant;
        let rule = |pace: &Pace| pace::reserve(pace, limit, wish, now);
        match context.paces.apply(&bucket_of(shown), rule).await? {
            pace::Answer::Permits(permits) => {
                let wait = permits.slot(0).duration_since(now);
                tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
            }
            pace::Answer::Later { until, .. } => return Err(Failure::Later(until.duration_since(now))),
        }
        Ok(shown.service_urls.first().map_or("", String::as_str))
    }

    /// What the channel told; `None` when it never will, and a wait when it may.
    pub(crate) async fn told<T>(
        &self,
        shown: &Conversation,
        answer: Result<T, connector::Error>,
    ) -> Result<Option<T>, Failure> {
        let error = match answer {
            Ok(told) => return Ok(Some(told)),
            Err(error) => error,
        };
        tracing::warn!(
            error_type = "TeamNotTold",
            reason = ?error.reason(),
            code = error.code(),
            status = error.status(),
            correlation = error.correlation(),
            "the channel does not tell of a team"
        );
        let context = self.reader.context;
        let now = context.clock.now();
        let asked = error.retry_after().map(|wait| wait.delay(now.into()));
        let asked = asked.and_then(|wait| SignedDuration::try_from(wait).ok());
        if reaction(error.reason()) == Reaction::Slow {
            let limit = context.limits.tenant;
            let rule = |pace: &Pace| ((), Some(pace::throttle(pace, limit, asked, now)));
            context.paces.apply(&bucket_of(shown), rule).await?;
        }
        match error.class() {
            Class::Rejected | Class::Gone => Ok(None),
            Class::NotSent | Class::Unknown => Err(Failure::Later(asked.unwrap_or(ASK_AGAIN))),
        }
    }
}

/// Whose pace a team is asked at.
fn bucket_of(shown: &Conversation) -> Bucket {
    Bucket::of(&shown.key, shown.facts.tenant.as_deref())
}
