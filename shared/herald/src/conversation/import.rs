//! Import and export of conversations: from the classic SDKs, and between deployments.
//!
//! Imported data is older than stored data. It fills gaps and overwrites nothing: a removed conversation stays removed.

use botframework::activity::{self, Activity};
use botframework::id::TenantId;
use botframework::lossless::LosslessJson;
use botframework::reference::ConversationReference;
use botframework::service_url::{TrustRule, Untrusted};
use botframework::teams::is_teams;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::observation::{Observation, Unstorable, is_storable};
use super::record::overlay;
use super::{
    Attributes, Conversation, ConversationKey, Product, SERVICE_URLS_KEPT, Scope, State, TAGS_MAX, is_id,
    normalize_tag,
};

mod spelling;

pub use spelling::wire_name;

/// A conversation as a document for the import of another deployment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Export<'a> {
    reference: &'a ConversationReference,
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    service_urls: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<&'static str>,
}

impl<'a> From<&'a Conversation> for Export<'a> {
    fn from(record: &'a Conversation) -> Self {
        let attributes = &record.attributes;
        let (state, code) = match &record.state {
            State::Active => (ACTIVE, None),
            State::Blocked { code } => (BLOCKED, Some(code.as_str())),
            State::Removed => (REMOVED, None),
        };
        Self {
            reference: &record.reference,
            scope: attributes.scope.as_str(),
            tenant: attributes.tenant.as_deref(),
            user: attributes.user.as_ref().map(AsRef::as_ref),
            account: attributes.account.as_ref().map(AsRef::as_ref),
            team: attributes.team.as_deref(),
            tags: &attributes.tags,
            state,
            code,
            service_urls: &record.service_urls,
            product: (record.product == Product::Copilot).then_some(COPILOT),
        }
    }
}

const ACTIVE: &str = "active";
const BLOCKED: &str = "blocked";
const REMOVED: &str = "removed";
const COPILOT: &str = "copilot";

/// One conversation to import.
#[derive(Clone, Debug)]
pub struct Import {
    /// The key of the imported conversation.
    pub key: ConversationKey,
    reference: ConversationReference,
    attributes: Attributes,
    service_urls: Vec<String>,
    state: State,
    product: Product,
}

/// Why a document is refused. The message quotes nothing of the document.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not a reference, or a property has the wrong type.
    #[error(transparent)]
    Shape(#[from] activity::Error),
    /// Properties that a later message needs are missing.
    #[error("{}: missing", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// The reference cannot be stored.
    #[error(transparent)]
    Unstorable(#[from] Unstorable),
    /// The service URL is not trusted with the bot's token.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A property of an exported record has an invalid value.
    #[error("{0}: must be {1}")]
    Wrong(&'static str, &'static str),
}

impl Import {
    /// Reads the conversations of a document: a conversation reference as the classic SDKs store it (two for a thread in a
    /// channel: the channel, then the thread), with names in camel, snake or Pascal case; or one record as [`Export`] writes it.
    ///
    /// # Errors
    /// When the document cannot serve a later message; every service URL in it must be trusted.
    pub fn read(document: LosslessJson, trust: &TrustRule) -> Result<Vec<Self>, ImportError> {
        let reference = document.get("reference").filter(|it| it.value.is_object());
        match (reference, &document.value) {
            (Some(reference), Value::Object(record)) => {
                let reference = ConversationReference::from_lossless(reference)?;
                Ok(vec![Self::exported(reference, record, trust)?])
            }
            _ => {
                let LosslessJson { value, numbers } = document;
                let value = spelling::normalize(value);
                let reference = ConversationReference::from_lossless(LosslessJson { value, numbers })?;
                let observation = observation(reference, trust)?;
                Ok(observation
                    .with_parent_channel()
                    .into_iter()
                    .map(Self::from)
                    .collect())
            }
        }
    }

    fn exported(
        reference: ConversationReference,
        record: &Map<String, Value>,
        trust: &TrustRule,
    ) -> Result<Self, ImportError> {
        let in_teams = is_teams(reference.channel_id.as_deref());
        let mut import = Self::from(observation(reference, trust)?);
        // The attributes of an export are complete: nothing is derived from the reference.
        if let Some(scope) = scope(record)? {
            let is_thread = import.key.conversation.thread_root().is_some();
            let scope = if is_thread { Scope::Channel } else { scope };
            let is_personal = scope == Scope::Personal;
            let id = |name| Ok::<_, ImportError>(text(record, name, "an id")?.filter(|id| is_id(id)));
            import.attributes = Attributes {
                scope,
                tenant: id("tenant")?.map(str::to_owned),
                user: id("user")?.filter(|_| in_teams && is_personal).map(Into::into),
                account: id("account")?
                    .filter(|id| is_personal && (in_teams || !id.starts_with("29:")))
                    .map(Into::into),
                team: id("team")?.filter(|_| in_teams).map(str::to_owned),
                tags: Vec::new(),
            };
        }
        import.attributes.tags = tags(record)?;
        import.state = state(record)?;
        if text(record, "product", "`copilot`, or absent")? == Some(COPILOT) {
            import.product = Product::Copilot;
        }
        if in_teams && let Some(conversation) = import.reference.conversation.take() {
            let tenant = import.attributes.tenant.as_deref().map(TenantId::from);
            import.reference.conversation = Some(conversation.in_tenant(tenant));
        }
        let urls = texts(record, "serviceUrls", "a list of service URLs")?;
        for url in &urls {
            trust.check(url)?;
        }
        if !urls.is_empty() {
            import.service_urls = urls;
            import.service_urls.truncate(SERVICE_URLS_KEPT);
        }
        Ok(import)
    }
}

impl From<Observation> for Import {
    fn from(observation: Observation) -> Self {
        let mut reference = observation.reference;
        reference.activity_id = None;
        Self {
            key: observation.key,
            service_urls: reference.service_url.iter().cloned().collect(),
            reference,
            attributes: observation.attributes,
            state: State::Active,
            product: observation.product.unwrap_or_default(),
        }
    }
}

/// Merges an import into a record; `None` when nothing changes. Idempotent.
///
/// Of a known conversation the import fills gaps: properties of the reference, attributes, fallback service URLs. Its tags
/// stay: an imported tag may have been removed since.
pub fn import(existing: Option<&Conversation>, import: Import, now: Timestamp) -> Option<Conversation> {
    let Import {
        key,
        reference,
        attributes,
        service_urls,
        state,
        product,
    } = import.in_scope_of(existing);
    let is_personal = attributes.scope == Scope::Personal;
    let Some(old) = existing else {
        return Some(Conversation {
            service_urls,
            state,
            product,
            ..Conversation::new(key, reference, attributes, now)
        });
    };
    let mut new = old.clone();
    let filled = overlay(&reference, old.reference.clone());
    if is_storable(&filled) {
        new.reference = filled;
    }
    new.attributes.tenant = new.attributes.tenant.or(attributes.tenant);
    new.attributes.team = new.attributes.team.or(attributes.team);
    new.attributes.user = new.attributes.user.or(attributes.user.filter(|_| is_personal));
    new.attributes.account = new
        .attributes
        .account
        .or(attributes.account.filter(|_| is_personal));
    for url in service_urls {
        if !new.service_urls.contains(&url) && new.service_urls.len() < SERVICE_URLS_KEPT {
            new.service_urls.push(url);
        }
    }
    new.if_changed(old, now)
}

impl Import {
    /// Whether the record stays small enough to be stored with the properties of this import.
    pub fn fits(&self, existing: Option<&Conversation>) -> bool {
        let Some(old) = existing else { return true };
        let reference = self.clone().in_scope_of(existing).reference;
        is_storable(&overlay(&reference, old.reference.clone()))
    }

    /// The import for the stored conversation, whose scope counts. The record of a group or a channel holds no person.
    fn in_scope_of(mut self, existing: Option<&Conversation>) -> Self {
        if let Some(old) = existing {
            self.attributes.scope = old.attributes.scope;
        }
        if self.attributes.scope != Scope::Personal {
            (self.reference.user, self.reference.locale) = (None, None);
        }
        self
    }
}

/// The observation that an activity with this reference would make.
fn observation(reference: ConversationReference, trust: &TrustRule) -> Result<Observation, ImportError> {
    let required = [
        ("conversation.id", reference.conversation_id().is_some()),
        ("channelId", is_filled(reference.channel_id.as_deref())),
        (
            "bot.id",
            reference.bot.as_ref().is_some_and(|bot| !bot.id.is_empty()),
        ),
        ("serviceUrl", is_filled(reference.service_url.as_deref())),
    ];
    let missing: Vec<&str> = required
        .into_iter()
        .filter_map(|(name, is_there)| (!is_there).then_some(name))
        .collect();
    if !missing.is_empty() {
        return Err(ImportError::Missing(missing));
    }
    if let Some(url) = &reference.service_url {
        trust.check(url)?;
    }
    // Some SDKs store the channel data beside the reference; old payloads of Teams name tenant and team there only.
    let mut activity = Activity {
        channel_data: reference.extra.get("channelData").cloned(),
        ..Activity::default()
    };
    reference.apply_incoming(&mut activity);
    Ok(Observation::from_reference(&activity, reference)?)
}

fn is_filled(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

fn scope(record: &Map<String, Value>) -> Result<Option<Scope>, ImportError> {
    const EXPECTED: &str = "`personal`, `groupChat` or `channel`";
    let scope = text(record, "scope", EXPECTED)?.map(str::parse).transpose();
    scope.map_err(|_| ImportError::Wrong("scope", EXPECTED))
}

fn tags(record: &Map<String, Value>) -> Result<Vec<String>, ImportError> {
    const EXPECTED: &str = "a list of tags, at most 20 of 1 to 64 bytes without control characters";
    let tags = texts(record, "tags", EXPECTED)?;
    let tags: Option<Vec<String>> = tags.iter().map(|tag| normalize_tag(tag)).collect();
    let mut tags = tags.ok_or(ImportError::Wrong("tags", EXPECTED))?;
    tags.sort();
    tags.dedup();
    if tags.len() > TAGS_MAX {
        return Err(ImportError::Wrong("tags", EXPECTED));
    }
    Ok(tags)
}

fn state(record: &Map<String, Value>) -> Result<State, ImportError> {
    const EXPECTED: &str = "`active`, `blocked` (with the channel's `code`) or `removed`";
    let word = text(record, "state", EXPECTED)?;
    let code = text(record, "code", "the channel's code")?.filter(|code| is_id(code));
    match (word, code) {
        (None | Some(ACTIVE), _) => Ok(State::Active),
        (Some(REMOVED), _) => Ok(State::Removed),
        (Some(BLOCKED), Some(code)) => Ok(State::Blocked {
            code: code.to_owned(),
        }),
        (Some(_), _) => Err(ImportError::Wrong("state", EXPECTED)),
    }
}

fn text<'a>(
    record: &'a Map<String, Value>,
    name: &'static str,
    expected: &'static str,
) -> Result<Option<&'a str>, ImportError> {
    match record.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(ImportError::Wrong(name, expected))
        }
    }
}

fn texts(
    record: &Map<String, Value>,
    name: &'static str,
    expected: &'static str,
) -> Result<Vec<String>, ImportError> {
    let wrong = || ImportError::Wrong(name, expected);
    let values = match record.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(values) => values.as_array().ok_or_else(wrong)?,
    };
    let texts = values.iter().map(|value| value.as_str().map(str::to_owned));
    texts.collect::<Option<_>>().ok_or_else(wrong)
}
