//! `/api/people/{id}/preferences` and `/api/conversations/{key}/preferences`: what a person, a group chat or a channel opted out of,
//! their time zone and quiet hours.

use std::collections::{BTreeMap, BTreeSet};

use botframework::id::UserRef;
use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::conversation::{
    self, CHOICES_MAX, Choice, ConversationKey, PersonId, PreferenceChange, Preferences, Scope,
};
use herald::id::normalize_guid;
use herald::notification::request::is_category;
use herald::preferences;
use herald::problem::{Faults, Problem, pointer, suggestion};
use herald::schedule::{self, QuietChoice, Zone};
use herald::store::{ConversationFilter, Conversations};
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Context;
use crate::conversations;
use crate::request::{Query, document};
use crate::response::{ApiError, json};

/// How many conversations of a person are looked at to find the person's tenant.
const PAGE: usize = 100;

/// The channel of people that the bot does not know.
const TEAMS: &str = "msteams";

const FIELDS: [&str; 4] = ["all", "categories", "zone", "quietHours"];

/// The preferences as answers show them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownPreferences {
    #[serde(flatten)]
    owner: Owner,
    all: Choice,
    categories: BTreeMap<String, Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<Zone>,
    /// Absent if nothing was chosen; `null` if no hours are quiet.
    #[serde(skip_serializing_if = "Option::is_none")]
    quiet_hours: Option<QuietChoice>,
    /// Absent if nothing was ever chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_at: Option<Timestamp>,
}

/// Whose preferences they are.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Owner {
    Person {
        channel: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        tenant: Option<String>,
    },
    Conversation {
        conversation: ConversationKey,
    },
}

impl From<PersonId> for Owner {
    fn from(person: PersonId) -> Self {
        let PersonId { channel, tenant, .. } = person;
        Self::Person { channel, tenant }
    }
}

impl ShownPreferences {
    fn of(owner: impl Into<Owner>, stored: Option<Preferences>) -> Self {
        let changed_at = stored.as_ref().map(|stored| stored.changed_at);
        let Preferences {
            all,
            categories,
            zone,
            quiet_hours,
            changed_at: _,
        } = stored.unwrap_or_default();
        Self {
            owner: owner.into(),
            all,
            categories,
            zone,
            quiet_hours,
            changed_at,
        }
    }
}

impl<B: Backend> Context<B> {
    /// `GET /api/people/{id}/preferences`
    pub(crate) async fn preferences(&self, id: &str, query: &Query) -> Result<Response<Body>, ApiError> {
        let person = self.person(id, query).await?;
        let preferences = preferences::find(&self.conversations, &person).await?;
        Ok(json(StatusCode::OK, &ShownPreferences::of(person, preferences)))
    }

    /// `PUT /api/people/{id}/preferences`
    pub(crate) async fn put_preferences(
        &self,
        id: &str,
        query: &Query,
        request: &Request,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        let change = parse(&document(request)?.value).map_err(Problem::invalid)?;
        let person = self.person(id, query).await?;
        let now = self.clock.now();
        let preferences = preferences::change(&self.conversations, &person, None, &change, now)
            .await
            .map_err(|error| ApiError::from(error).after_a_change())?;
        AuditAction::PutPreferences.of_person(caller);
        Ok(json(StatusCode::OK, &ShownPreferences::of(person, preferences)))
    }

    /// `GET /api/conversations/{key}/preferences`
    pub(crate) async fn conversation_preferences(&self, key: &str) -> Result<Response<Body>, ApiError> {
        self.of_conversation(key, None).await
    }

    /// `PUT /api/conversations/{key}/preferences`
    pub(crate) async fn put_conversation_preferences(
        &self,
        key: &str,
        request: &Request,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        let change = parse(&document(request)?.value).map_err(Problem::invalid)?;
        let answer = self.of_conversation(key, Some(&change)).await?;
        AuditAction::PutPreferences.of_conversations(caller, 1);
        Ok(answer)
    }

    /// What counts in a conversation, after a change or now. Of a personal one it is what the person chose.
    async fn of_conversation(
        &self,
        key: &str,
        change: Option<&PreferenceChange>,
    ) -> Result<Response<Body>, ApiError> {
        let conversation = self.conversation_named(key).await?;
        let now = self.clock.now();
        let counts = preferences::in_conversation(&self.conversations, &conversation, change, now).await;
        let counts = counts.map_err(|error| {
            let error = ApiError::from(error);
            if change.is_some() {
                error.after_a_change()
            } else {
                error
            }
        })?;
        let counts = counts.ok_or_else(conversations::not_found)?;
        // Preferences that were never changed are the default ones.
        let chosen = Some(counts).filter(|counts| *counts != Preferences::default());
        let shown = ShownPreferences::of(Owner::Conversation { conversation }, chosen);
        Ok(json(StatusCode::OK, &shown))
    }

    /// The person of an id: by Entra object id or channel id, in the tenant and channel of the query, or in those in which the bot knows
    /// the person.
    async fn person(&self, id: &str, query: &Query) -> Result<PersonId, ApiError> {
        if !conversation::is_id(id) {
            return Err(ApiError::bad_request(
                "A person is named by one id, percent-encoded.",
            ));
        }
        let tenant = query.get("tenant").map(normalize_guid);
        let channel = query.get("channel");
        let mut known = BTreeSet::new();
        for id in [
            UserRef::Entra(normalize_guid(id).into()),
            UserRef::Account(id.into()),
        ] {
            let filter = match &id {
                UserRef::Entra(id) => ConversationFilter::User(id.clone()),
                UserRef::Account(id) => ConversationFilter::Account(id.clone()),
            };
            let listed = self.conversations.list(&filter, None, PAGE).await?;
            let found = listed.items.into_iter();
            let found = found.filter(|found| found.attributes.scope == Scope::Personal);
            known.extend(found.map(|found| PersonId {
                channel: found.key.channel,
                tenant: found.attributes.tenant,
                id: id.clone(),
            }));
        }
        known.retain(|person| {
            (tenant.is_none() || person.tenant == tenant)
                && channel.is_none_or(|channel| person.channel == channel)
        });
        let mut known = known.into_iter();
        match (known.next(), known.next()) {
            (Some(person), None) => Ok(person),
            (Some(_), Some(_)) => Err(ApiError::bad_request(
                "The bot knows this person in several tenants or channels. Name the `tenant` in the query, or the `channel`.",
            )),
            (None, _) => unknown_person(id, tenant, channel),
        }
    }
}

/// A person that the bot does not know yet. What they chose counts from the first moment on.
fn unknown_person(id: &str, tenant: Option<String>, channel: Option<&str>) -> Result<PersonId, ApiError> {
    let channel = channel.unwrap_or(TEAMS).to_owned();
    if tenant.is_none() && channel == TEAMS {
        return Err(ApiError::bad_request(
            "The bot does not know this person. Name the person's `tenant` in the query.",
        ));
    }
    let is_account = channel != TEAMS || id.contains(':');
    let id = if is_account {
        UserRef::Account(id.into())
    } else {
        UserRef::Entra(normalize_guid(id).into())
    };
    Ok(PersonId { channel, tenant, id })
}

/// Reads the preferences in a body.
fn parse(document: &Value) -> Result<PreferenceChange, Vec<herald::problem::Fault>> {
    let mut faults = Faults::default();
    let Value::Object(object) = document else {
        faults.note("#", "must be an object");
        return faults.none_in(None);
    };
    for unknown in object.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        let detail = format!("is not a field of preferences{}", suggestion(unknown, &FIELDS));
        faults.note(pointer("#", unknown), detail);
    }
    let all = object
        .get("all")
        .map_or(Choice::OptedIn, |all| choice(all, "#/all", &mut faults));
    let empty = Map::new();
    let categories = match object.get("categories") {
        None => &empty,
        Some(Value::Object(categories)) => categories,
        Some(_) => {
            faults.note("#/categories", "must be an object of categories and choices");
            &empty
        }
    };
    if categories.len() > CHOICES_MAX {
        let detail = format!("may name {CHOICES_MAX} categories, found {}", categories.len());
        faults.note("#/categories", detail);
    }
    let mut chosen = BTreeMap::new();
    for (name, value) in categories {
        let at = pointer("#/categories", name);
        if !is_category(name) {
            let detail =
                "is not the name of a category: 1 to 64 bytes, not blank and without control characters";
            faults.note(at.clone(), detail);
        }
        chosen.insert(name.clone(), choice(value, &at, &mut faults));
    }
    let zone = zone(object, &mut faults);
    let quiet_hours = object
        .get("quietHours")
        .and_then(|value| QuietChoice::parse(value, "#/quietHours", &mut faults));
    faults.none_in(Some(PreferenceChange::Replace(Preferences {
        all,
        categories: chosen,
        zone,
        quiet_hours,
        ..Preferences::default()
    })))
}

/// The field `zone` of preferences.
pub(crate) fn zone(object: &Map<String, Value>, faults: &mut Faults) -> Option<Zone> {
    let zone = object.get("zone")?.as_str().and_then(Zone::named);
    if zone.is_none() {
        faults.note("#/zone", schedule::Error::Zone.to_string());
    }
    zone
}

fn choice(value: &Value, at: &str, faults: &mut Faults) -> Choice {
    serde_json::from_value(value.clone()).unwrap_or_else(|_| {
        faults.note(at.to_owned(), "must be \"optedIn\" or \"optedOut\"");
        Choice::OptedIn
    })
}
