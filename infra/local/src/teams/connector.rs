//! The Connector's endpoints.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::limits::Limit;
use super::{
    Account, Address, Kind, Member, Operation, Place, Posting, Query, Refusal, Request, Response, Teams,
    UnknownTargetPolicy,
};

/// The error code for a person without an installation of the bot.
const NOT_INSTALLED: Refusal = Refusal::new(403, "ForbiddenOperationException");

/// The error code for a bot whose token is refused.
const NOT_REGISTERED: Refusal = Refusal::new(401, "BotNotRegistered");

/// The result of a request.
#[derive(Clone, Debug)]
pub enum Done {
    /// A conversation was created or found. In a thread, the first message has its own id.
    Created {
        /// The conversation's id.
        id: String,
        /// The first message's id.
        activity: Option<String>,
    },
    /// A message was posted, with this id.
    Shown(String),
    /// The message with this id was updated.
    Changed(String),
    /// A message was deleted.
    Deleted,
    /// The result of a read.
    Told(Value),
}

impl From<Done> for Response {
    fn from(done: Done) -> Response {
        match done {
            Done::Created { id, activity: None } => Response::new(201, json!({ "id": id })),
            Done::Created { id, activity } => Response::new(201, json!({ "id": id, "activityId": activity })),
            Done::Shown(id) => Response::new(201, json!({ "id": id })),
            Done::Changed(id) => Response::new(200, json!({ "id": id })),
            Done::Deleted => Response::empty(200),
            Done::Told(document) => Response::new(200, document),
        }
    }
}

impl Teams {
    /// Executes a request at once.
    pub fn handle(&mut self, request: &Request, now: Timestamp) -> Response {
        if let Operation::Batch(operation) = &request.operation {
            return self.batch(&request.id, operation, now);
        }
        match self.admit(request, now) {
            Ok(place) => {
                let done = self.carry_out(request, place, now);
                self.finish(request, place);
                done.into()
            }
            Err(refusal) => refusal.into(),
        }
    }

    /// Counts and checks a request on arrival. Returns the index of its conversation; then call [`finish`](Self::finish)
    /// after the request.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit(&mut self, request: &Request, now: Timestamp) -> Result<usize, Refusal> {
        // A request without access does not count.
        if self.refuses_the_bot {
            return Err(NOT_REGISTERED);
        }
        let place = self.find_or_create(request);
        if place.is_some_and(|place| self.tenants[self.places[place].tenant].refuses_the_bot) {
            return Err(NOT_REGISTERED);
        }
        if let Some(exceeded) = place.and_then(|place| self.count(request, place, now)) {
            return Err(exceeded);
        }
        if self.undecryptable {
            return Err(Refusal::new(403, "BadArgument").saying("Failed to decrypt conversation id"));
        }
        let place = place.ok_or_else(|| not_found(&request.operation))?;
        self.check_address(request.address, place)?;
        let creates = matches!(request.operation, Operation::Create { .. });
        if self.tenants[self.places[place].tenant].disabled && !creates {
            return Err(Refusal::new(403, "BotDisabledByAdmin"));
        }
        if let Some(code) = self.places[place].refusal {
            return Err(Refusal::new(403, code));
        }
        if creates && !self.places[place].installed {
            return Err(NOT_INSTALLED);
        }
        match &request.operation {
            Operation::Update { message, .. } | Operation::Delete(message) => {
                self.check_message(place, message)?;
            }
            Operation::Read(query) => self.check_query(place, query, now)?,
            Operation::Create { .. }
            | Operation::CreateThread(_)
            | Operation::Send(_)
            | Operation::Batch(_) => {}
        }
        if !matches!(request.operation, Operation::Read(_)) {
            let in_flight = &mut self.places[place].in_flight;
            if *in_flight > 0 {
                return Err(Refusal::new(412, "PreconditionFailed"));
            }
            *in_flight += 1;
        }
        Ok(place)
    }

    /// Executes an admitted request in this conversation.
    pub fn carry_out(&mut self, request: &Request, place: usize, now: Timestamp) -> Done {
        match &request.operation {
            Operation::Create { activity, .. } => {
                let id = self.places[place].conversation.clone();
                if let Some(activity) = activity {
                    self.post(place, &id, activity, now);
                }
                Done::Created { id, activity: None }
            }
            Operation::CreateThread(activity) => {
                let id = self.post(place, &request.id, activity, now);
                Done::Created {
                    id: format!("{};messageid={id}", request.id),
                    activity: Some(id),
                }
            }
            Operation::Send(activity) => Done::Shown(self.post(place, &request.id, activity, now)),
            Operation::Update { message, activity } => {
                self.record(place, &request.id, message, Posting::Update, activity);
                Done::Changed(message.clone())
            }
            Operation::Delete(message) => {
                self.record(place, &request.id, message, Posting::Delete, &Value::Null);
                Done::Deleted
            }
            Operation::Read(query) => Done::Told(self.read(place, request, query, now)),
            Operation::Batch(_) => Done::Told(Value::Null),
        }
    }

    /// Ends an admitted request: the conversation accepts the next one.
    pub fn finish(&mut self, request: &Request, place: usize) {
        if !matches!(request.operation, Operation::Read(_)) {
            self.places[place].in_flight -= 1;
        }
    }

    /// The index of the conversation of a request. A former conversation id has none.
    pub fn find(&self, request: &Request) -> Option<usize> {
        match &request.operation {
            Operation::Create { tenant, member, .. } => {
                let is_meant =
                    |place: &Place| place.is_person(member) && self.tenants[place.tenant].id == *tenant;
                return self.places.iter().position(is_meant);
            }
            Operation::Batch(_) => return None,
            Operation::CreateThread(_)
            | Operation::Send(_)
            | Operation::Update { .. }
            | Operation::Delete(_)
            | Operation::Read(_) => {}
        }
        let id = request.id.as_str();
        let is_current = |place: &usize| self.places[*place].conversation == id || self.chats.contains(id);
        let exact = self.named(id).filter(is_current);
        // A thread that was not added belongs to its channel.
        exact.or_else(|| {
            let (channel, _) = id.split_once(";messageid=")?;
            self.named(channel)
        })
    }

    fn find_or_create(&mut self, request: &Request) -> Option<usize> {
        let found = self.find(request);
        if found.is_some() || self.strangers == UnknownTargetPolicy::Refused {
            return found;
        }
        match &request.operation {
            Operation::Create { tenant, member, .. } => {
                let tenant = self.tenant(tenant);
                Some(self.create_person(tenant, member))
            }
            Operation::Read(_) | Operation::Batch(_) => None,
            Operation::CreateThread(_)
            | Operation::Send(_)
            | Operation::Update { .. }
            | Operation::Delete(_) => {
                let id = request.id.clone();
                let kind = if id.starts_with("19:") {
                    Kind::Group
                } else {
                    Kind::Person
                };
                let tenant = self.tenant("");
                Some(self.add(Place::new(kind, tenant, id, Account::default())))
            }
        }
    }

    /// The index of a new person. The conversation id and both ids of the person derive from this one.
    pub fn create_person(&mut self, tenant: usize, id: &str) -> usize {
        let name = id
            .strip_prefix("29:")
            .or_else(|| id.strip_prefix("entra-"))
            .unwrap_or(id);
        let account = Account {
            id: format!("29:{name}"),
            user: format!("entra-{name}"),
            name: String::new(),
        };
        let chat = format!("a:{name}");
        if let Some(known) = self.named(&chat) {
            let place = &mut self.places[known];
            (place.tenant, place.account, place.user) = (tenant, account.id, account.user);
            return known;
        }
        self.add(Place::new(Kind::Person, tenant, chat, account))
    }

    /// Counts a request against the limits. A conversation's limit applies at the address that serves it.
    fn count(&mut self, request: &Request, place: usize, now: Timestamp) -> Option<Refusal> {
        let is_served = self.check_address(request.address, place).is_ok();
        let Teams {
            tenants,
            places,
            limits,
            ..
        } = self;
        let place = &mut places[place];
        let of_tenant = tenants[place.tenant].requests.count(&limits.tenant, now);
        let of_tenant = of_tenant.map(|limit| exceeded(limit, "the tenant's rate limit is exceeded"));
        let writes = is_served && request.operation.writes_message();
        let of_place = writes
            .then(|| place.requests.count(&limits.conversation, now))
            .flatten();
        of_tenant
            .or_else(|| of_place.map(|limit| exceeded(limit, "the conversation's rate limit is exceeded")))
    }

    /// Whether this address serves this conversation.
    fn check_address(&self, address: Address, place: usize) -> Result<(), Refusal> {
        let tenant = &self.tenants[self.places[place].tenant];
        let is_served = match address {
            Address::Gcc => tenant.is_gcc,
            Address::Global | Address::Region(_) if tenant.is_gcc => {
                return Err(Refusal::new(403, "InvalidBotApiHost"));
            }
            Address::Global => tenant.is_global,
            Address::Region(region) => self.places[place].region == region,
        };
        let elsewhere = Refusal::new(403, "BadArgument").saying("User is from different region");
        if is_served { Ok(()) } else { Err(elsewhere) }
    }

    fn check_message(&self, place: usize, id: &str) -> Result<(), Refusal> {
        let is_shown = match self.messages.get(id) {
            Some(message) => message.place == place && message.activity.is_some(),
            None => self.strangers == UnknownTargetPolicy::Created,
        };
        if is_shown {
            Ok(())
        } else {
            Err(Refusal::NO_ACTIVITY)
        }
    }

    fn check_query(&self, place: usize, query: &Query, now: Timestamp) -> Result<(), Refusal> {
        let is_general = || {
            self.team(place)
                .is_some_and(|team| team.channels.first() == Some(&place))
        };
        match query {
            Query::Team | Query::Channels if !is_general() => Err(Refusal::NO_TEAM),
            Query::Team | Query::Channels | Query::Members => Ok(()),
            Query::PagedMembers { token: None, .. } => Ok(()),
            Query::PagedMembers {
                token: Some(token), ..
            } => {
                let expired = Refusal::new(400, "BadArgument").saying("the continuation token has expired");
                let (_, issued) = read_token(token).ok_or(expired.clone())?;
                let is_old = |ttl: &SignedDuration| issued + *ttl < now;
                self.token_ttl.filter(is_old).map_or(Ok(()), |_| Err(expired))
            }
            Query::Member(id) => self.member(place, id).map(|_| ()).ok_or(Refusal::NO_MEMBER),
            Query::ActivityMembers(id) if self.heard.get(id) == Some(&place) => Ok(()),
            Query::ActivityMembers(message) => self.check_message(place, message),
        }
    }

    /// The present member with this account id, Entra object id or user principal name.
    fn member(&self, place: usize, id: &str) -> Option<&Member> {
        let mut present = self.roster(place).iter().filter(|member| member.quit.is_none());
        let has_name = |member: &Member| {
            let name = member.entry.get("userPrincipalName").and_then(Value::as_str);
            name.is_some_and(|name| name.eq_ignore_ascii_case(id))
        };
        present.find(|member| self.places[member.place].is_person(id) || has_name(member))
    }

    /// The members of a conversation; for a channel, those of its team.
    fn roster(&self, place: usize) -> &[Member] {
        let team = self.team(place).map(|team| &team.members);
        team.unwrap_or(&self.places[place].members)
    }

    fn read(&self, place: usize, request: &Request, query: &Query, now: Timestamp) -> Value {
        match query {
            Query::Members | Query::ActivityMembers(_) => {
                let present = self.roster(place).iter().filter(|member| member.quit.is_none());
                present.map(|member| member.entry.clone()).collect()
            }
            Query::PagedMembers { size, token } => {
                let start = token
                    .as_deref()
                    .and_then(read_token)
                    .map_or(0, |(start, _)| start);
                let size = size.unwrap_or(200);
                let size = size.clamp(*self.page_size.start(), *self.page_size.end());
                self.page(place, start, size, now)
            }
            Query::Member(id) => {
                let found = self.member(place, id);
                found.map_or(Value::Null, |member| member.entry.clone())
            }
            Query::Team => {
                let team = self.team(place);
                let channels = team.map_or(0, |team| team.channels.len());
                let members = team.map_or(0, |team| {
                    team.members.iter().filter(|member| member.quit.is_none()).count()
                });
                json!({
                    "id": request.id, "name": "team", "type": "standard",
                    "channelCount": channels, "memberCount": members,
                })
            }
            Query::Channels => {
                // The General channel has the team's own id, and no name.
                let channels = self.team(place).map_or(&[][..], |team| &team.channels);
                let shown = channels.iter().map(|channel| {
                    let id = &self.places[*channel].conversation;
                    json!({ "id": id, "name": (*channel != place).then_some(id) })
                });
                json!({ "conversations": shown.collect::<Vec<_>>() })
            }
        }
    }

    /// A page of a roster. Teams may repeat members: a page begins with the last one of the page before.
    fn page(&self, place: usize, start: usize, size: usize, now: Timestamp) -> Value {
        let roster = self.roster(place);
        let present = |index: &usize| roster[*index].quit.is_none();
        let mut page: Vec<usize> = (start..roster.len()).filter(present).collect();
        let next = page.get(size).copied();
        page.truncate(size);
        let repeated = (0..start.min(roster.len())).rev().find(present);
        let listed = repeated.into_iter().chain(page);
        let members: Vec<Value> = listed.map(|index| roster[index].entry.clone()).collect();
        let token = next.map(|next| format!("{next}@{}", now.as_millisecond()));
        json!({ "members": members, "continuationToken": token })
    }
}

/// The start of the page of a continuation token, and the time at which the token was issued.
fn read_token(token: &str) -> Option<(usize, Timestamp)> {
    let (start, issued) = token.split_once('@')?;
    let issued = Timestamp::from_millisecond(issued.parse().ok()?).ok()?;
    Some((start.parse().ok()?, issued))
}

fn exceeded((_, per): Limit, what: &'static str) -> Refusal {
    let seconds = u64::try_from(per.as_secs()).unwrap_or(1);
    Refusal::new(429, "Throttled").saying(what).retry_after(seconds)
}

/// A malformed account id is a bad argument; an unknown user may exist in another tenant.
fn not_found(operation: &Operation) -> Refusal {
    match operation {
        Operation::Create { member, .. } if member.starts_with("29:") => Refusal::BAD_SYNTAX,
        Operation::Create { .. } => NOT_INSTALLED,
        Operation::CreateThread(_)
        | Operation::Send(_)
        | Operation::Update { .. }
        | Operation::Delete(_)
        | Operation::Read(_)
        | Operation::Batch(_) => Refusal::NO_CONVERSATION,
    }
}
