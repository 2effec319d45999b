//! Pages of people whom only a tenant's directory knows: groups, the whole organization, addresses, reports.
//!
//! A page of Graph holds up to 999 people, and a page of the plan 96. So the people of a page of Graph are taken in the order of
//! their ids, and the cursor holds the last one: a planner that reads the page again goes on behind that id, whatever has changed
//! before it. What a page holds is frozen like a page of a roster (`DESIGN.md#frozen-pages`).

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use botframework::graph::directory::{DirectoryUser, PageLink, PeoplePage, PeopleQuery, UserNameKind};
use botframework::graph::limits;
use botframework::id::{EntraObjectId, UserRef};
use futures_util::{StreamExt, TryStreamExt, stream};
use herald::audience::{
    DirectoryMiss, DirectoryNameKind, DirectoryPeople, DirectoryTarget, Guests, MissReason, Recipient,
};
use herald::backend::Backend;
use herald::conversation::is_id;
use herald::delivery::SkipReason;
use herald::id::normalize_guid;
use herald::notification::{PAGE_SIZE, Page, SendPath};
use herald::rate_limit::Bucket;
use herald::store::{self, cursor};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::bot_identity::BotIdentity;
use crate::graph_requests::{GraphRefusal, GraphRequests};
use crate::people::Found;
use crate::recipients::{CONCURRENT_READS, PagePosition, Recipients};

/// The page of Graph that was read last, under its link. One page of Graph makes up to eleven pages of the plan. It is kept
/// for one invocation and stored nowhere.
#[derive(Debug, Default)]
pub(crate) struct LatestPeople(Mutex<Option<LatestPage>>);

#[derive(Clone, Debug)]
struct LatestPage {
    link: Option<PageLink>,
    page: Arc<SortedPage>,
}

/// A page of Graph, in the order of ids.
#[derive(Debug)]
struct SortedPage {
    ids: Vec<EntraObjectId>,
    next: Option<PageLink>,
}

/// The cursor of a page of people.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct DirectoryCursor {
    /// The group that a mail address led to.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// The page of Graph; `None` for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<PageLink>,
    /// The last id of it that was planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<EntraObjectId>,
    /// Of a list, how many names were planned.
    index: usize,
    /// Whether the people are read for the second time.
    again: bool,
}

impl DirectoryCursor {
    fn read(at: PagePosition<'_>) -> Result<Self, store::Error> {
        at.cursor.map_or_else(
            || Ok(Self::default()),
            |cursor| cursor::decode("plan a page", cursor),
        )
    }
}

/// The people of one selector.
pub(crate) struct Directory<'a, B: Backend> {
    recipients: &'a Recipients<'a, B>,
    target: &'a DirectoryTarget,
    latest: &'a LatestPeople,
    /// The bot in the tenant; `None` while no conversation or configuration names it.
    bucket: Option<Bucket>,
    /// Or why Graph cannot be asked: the tenant is not known, or the deployment does not name the bot's app.
    requests: Result<GraphRequests<'a, B>, MissReason>,
}

impl<'a, B: Backend> Directory<'a, B> {
    pub(crate) async fn new(
        recipients: &'a Recipients<'a, B>,
        target: &'a DirectoryTarget,
        latest: &'a LatestPeople,
    ) -> Result<Self, store::Error> {
        let own = recipients.context.bot.as_ref();
        let own = own.and_then(|bot| bot.tenant.as_deref());
        let tenant = target.tenant.as_deref().or(own);
        let bucket = BotIdentity(recipients.context).bucket_in(tenant).await?;
        let requests = match tenant {
            Some(tenant) => {
                GraphRequests::new(recipients, tenant, bucket.as_ref()).ok_or(MissReason::Forbidden)
            }
            None => Err(MissReason::TenantUnknown),
        };
        Ok(Self {
            recipients,
            target,
            latest,
            bucket,
            requests,
        })
    }

    /// A page of its people, each in their chat with the bot.
    pub(crate) async fn page(&self, at: PagePosition<'_>) -> Result<Page, Failure> {
        let here = DirectoryCursor::read(at)?;
        let read = match (&self.requests, &self.target.people) {
            (Err(reason), _) => self.missed(*reason, here.index),
            (Ok(requests), DirectoryPeople::Named(kind, names)) => {
                self.named(requests, *kind, names, here.index).await?
            }
            (Ok(requests), _) => self.listed(requests, here).await?,
        };
        Ok(self.recipients.freeze(at, &read).await?)
    }

    /// The page of people whom Graph did not return in time.
    pub(crate) async fn unavailable_page(&self, at: PagePosition<'_>) -> Result<Page, store::Error> {
        let here = DirectoryCursor::read(at)?;
        let read = self.missed(MissReason::Unavailable, here.index);
        self.recipients.freeze(at, &read).await
    }

    /// A page of the people whom Graph lists.
    async fn listed(
        &self,
        requests: &GraphRequests<'a, B>,
        mut here: DirectoryCursor,
    ) -> Result<Page, Failure> {
        let query = match self.query(requests, &mut here).await? {
            Ok(query) => query,
            Err(refusal) => return Ok(self.missed(self.reason_of(refusal), here.index)),
        };
        let page = match self.people(requests, &query, here.link.as_ref()).await? {
            Ok(page) => page,
            // A link expires. The people are read again from the first page, once; those who are planned are not planned again.
            Err(GraphRefusal::Invalid) if here.link.is_some() && !here.again => {
                self.latest.put(None);
                let again = DirectoryCursor {
                    group: here.group,
                    again: true,
                    ..DirectoryCursor::default()
                };
                return Ok(Page::group::<SendPath>([], Some(cursor::encode(&again))));
            }
            Err(refusal) => return Ok(self.missed(self.reason_of(refusal), here.index)),
        };
        let start = here
            .after
            .as_ref()
            .map_or(0, |after| page.ids.partition_point(|id| id <= after));
        let rest = &page.ids[start..];
        let ids = &rest[..rest.len().min(PAGE_SIZE)];
        let next = if ids.len() < rest.len() {
            Some(DirectoryCursor {
                after: ids.last().cloned(),
                ..here
            })
        } else {
            // A link that repeats itself would never end.
            let link = page.next.clone().filter(|link| here.link.as_ref() != Some(link));
            link.map(|link| DirectoryCursor {
                link: Some(link),
                after: None,
                ..here
            })
        };
        let found = self.look_up(ids).await?;
        Ok(found.page(next.as_ref().map(cursor::encode)))
    }

    /// What is asked of Graph. A group that is named by its mail address is looked up once.
    async fn query(
        &self,
        requests: &GraphRequests<'a, B>,
        here: &mut DirectoryCursor,
    ) -> Result<Result<PeopleQuery, GraphRefusal>, Failure> {
        let group = match &self.target.people {
            DirectoryPeople::Group(group) => here.group.as_ref().unwrap_or(group),
            DirectoryPeople::Organization(filter) => return Ok(Ok(PeopleQuery::Users(filter.clone()))),
            DirectoryPeople::Reports(manager, depth) => {
                return Ok(Ok(PeopleQuery::Reports(manager.clone(), *depth)));
            }
            DirectoryPeople::Named(..) => return Ok(Err(GraphRefusal::Invalid)),
        };
        if !group.contains('@') {
            return Ok(Ok(PeopleQuery::Members(group.as_str().into())));
        }
        let found = requests
            .ask(async |graph| graph.group_by_mail(group).await)
            .await?;
        Ok(match found {
            Ok(Some(group)) => {
                here.group = Some(group.to_string());
                Ok(PeopleQuery::Members(group))
            }
            Ok(None) => Err(GraphRefusal::NotFound),
            Err(refusal) => Err(refusal),
        })
    }

    /// A page of Graph, which may have been read for the page before.
    async fn people(
        &self,
        requests: &GraphRequests<'a, B>,
        query: &PeopleQuery,
        link: Option<&PageLink>,
    ) -> Result<Result<Arc<SortedPage>, GraphRefusal>, Failure> {
        let latest = self.latest.get();
        if let Some(latest) = latest.filter(|latest| latest.link.as_ref() == link) {
            return Ok(Ok(latest.page));
        }
        let read = requests
            .ask(async |graph| graph.people(query, link).await)
            .await?;
        Ok(read.map(|page| {
            let page = Arc::new(SortedPage::of(page, self.target.guests));
            self.latest.put(Some(LatestPage {
                link: link.cloned(),
                page: Arc::clone(&page),
            }));
            page
        }))
    }

    async fn look_up(&self, ids: &[EntraObjectId]) -> Result<Found, store::Error> {
        let bucket = self.bucket.as_ref();
        let look_ups = ids.iter().map(|id| {
            let names = vec![UserRef::Entra(id.clone())];
            self.recipients.of_person(names, None, bucket)
        });
        let mut look_ups = pin!(stream::iter(look_ups).buffered(CONCURRENT_READS));
        let mut found = Found::default();
        while let Some(of_one) = look_ups.try_next().await? {
            found.add(of_one);
        }
        Ok(found)
    }

    /// A page of a list of addresses. Each is a recipient: a person, or an address that leads to none.
    async fn named(
        &self,
        requests: &GraphRequests<'a, B>,
        kind: UserNameKind,
        names: &[String],
        index: usize,
    ) -> Result<Page, Failure> {
        let (names, next) = self.names_from(names, index);
        let look_ups = names.chunks(limits::FILTER_VALUES).map(|some| {
            requests.ask(async |graph: &botframework::graph::Graph| graph.users_by_name(kind, some).await)
        });
        let look_ups: Vec<_> = look_ups.collect();
        let mut look_ups = pin!(stream::iter(look_ups).buffered(CONCURRENT_READS));
        let mut users = HashMap::new();
        while let Some(answer) = look_ups.try_next().await? {
            match answer {
                Ok(some) => users.extend(
                    some.into_iter()
                        .filter_map(|user| Some((name_of(&user, kind)?, user))),
                ),
                Err(refusal) => return Ok(self.missed(self.reason_of(refusal), index)),
            }
        }
        let (mut ids, mut misses) = (Vec::new(), Found::default());
        for name in &names {
            match self.person_of(users.get(*name)) {
                Ok(id) => ids.push(id),
                Err(reason) => add_miss(self.miss_of(name, reason), &mut misses),
            }
        }
        ids.sort();
        ids.dedup();
        let mut found = self.look_up(&ids).await?;
        found.add(misses);
        Ok(found.page(next.as_ref().map(cursor::encode)))
    }

    /// The person whom an address leads to, if the selector selects them.
    fn person_of(&self, user: Option<&DirectoryUser>) -> Result<EntraObjectId, MissReason> {
        let user = user.ok_or(MissReason::NoSuchPerson)?;
        if user.is_disabled() {
            return Err(MissReason::AccountDisabled);
        }
        if user.is_guest() && self.target.guests == Guests::Skipped {
            return Err(MissReason::Guest);
        }
        object_id(user).ok_or(MissReason::NoSuchPerson)
    }

    fn miss_of(&self, name: &str, reason: MissReason) -> DirectoryMiss {
        DirectoryMiss {
            kind: self.target.kind(),
            name: name.to_owned(),
            reason,
        }
    }

    /// The names of a page of a list that the selector does not exclude, and the cursor of the next page.
    fn names_from<'n>(&self, names: &'n [String], index: usize) -> (Vec<&'n str>, Option<DirectoryCursor>) {
        let rest = names.get(index..).unwrap_or_default();
        let names = &rest[..rest.len().min(PAGE_SIZE)];
        let next = (names.len() < rest.len()).then(|| DirectoryCursor {
            index: index + names.len(),
            ..DirectoryCursor::default()
        });
        let wanted = |name: &&String| {
            let miss = self.miss_of(name, MissReason::NoSuchPerson);
            self.recipients.matcher.admits_unknown(&Recipient::Missed(miss))
        };
        (names.iter().filter(wanted).map(String::as_str).collect(), next)
    }

    /// The page when Graph returns no people: the names of the selector are its recipients, and the sender skips them with the reason. Of a
    /// list of names it holds the next ones; of any other selector it is the last page.
    fn missed(&self, reason: MissReason, index: usize) -> Page {
        let mut found = Found::default();
        let mut next = None;
        if let DirectoryPeople::Named(_, names) = &self.target.people {
            let names = self.names_from(names, index);
            for name in names.0 {
                add_miss(self.miss_of(name, reason), &mut found);
            }
            next = names.1;
        } else {
            add_miss(self.target.miss(reason), &mut found);
        }
        found.page(next.as_ref().map(cursor::encode))
    }

    fn reason_of(&self, refusal: GraphRefusal) -> MissReason {
        match (refusal, self.target.kind()) {
            (GraphRefusal::Forbidden, _)
            | (
                GraphRefusal::NotFound | GraphRefusal::Invalid,
                DirectoryNameKind::Directory | DirectoryNameKind::Mail | DirectoryNameKind::Upn,
            ) => MissReason::Forbidden,
            (_, DirectoryNameKind::Group) => MissReason::NoSuchGroup,
            (_, DirectoryNameKind::Manager) => MissReason::NoSuchPerson,
        }
    }
}

impl LatestPeople {
    fn get(&self) -> Option<LatestPage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, latest: Option<LatestPage>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = latest;
    }
}

impl SortedPage {
    /// The enabled people of a page, without guests if the selector leaves them out.
    fn of(page: PeoplePage, guests: Guests) -> Self {
        let is_selected =
            |user: &DirectoryUser| !user.is_disabled() && (guests == Guests::Included || !user.is_guest());
        let users = page.users.iter().filter(|user| is_selected(user));
        let ids: HashSet<EntraObjectId> = users.filter_map(object_id).collect();
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort();
        Self { ids, next: page.next }
    }
}

fn add_miss(miss: DirectoryMiss, found: &mut Found) {
    found.unreachable.count(SkipReason::from(miss.reason));
    found.recipients.push((None, Recipient::Missed(miss)));
}

/// The person's id as it is stored.
fn object_id(user: &DirectoryUser) -> Option<EntraObjectId> {
    let id = user.id.as_str();
    is_id(id).then(|| normalize_guid(id).into())
}

/// The name that a person was looked up by, as a list has it.
fn name_of(user: &DirectoryUser, kind: UserNameKind) -> Option<String> {
    let name = match kind {
        UserNameKind::Mail => &user.mail,
        UserNameKind::UserPrincipalName => &user.user_principal_name,
    };
    name.as_deref().map(str::to_lowercase)
}
