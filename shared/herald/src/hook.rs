//! Hooks: addresses that take what tools post to incoming webhooks, each for one audience.
//!
//! The address holds the hook's secret. The table holds its digest only, so that who reads the table cannot post. A secret for
//! GitHub's signatures has to be known as it is: it is stored encrypted under the secret of the address, which a request
//! brings.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use botframework::lossless::LosslessJson;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::sha256_hex;
use crate::notification::Priority;
use crate::notification::request::Request;
use crate::problem::{Fault, Faults, pointer, suggestion};
use crate::store::{Collection, Record};

mod card;
pub mod payload;
mod signature;

pub use signature::{SealedSecret, is_signed};

/// The largest payload, in bytes.
pub const PAYLOAD_MAX_BYTES: usize = 256 * 1024;

/// The payloads of a hook in a minute, unless it says otherwise, and at most.
const PER_MINUTE: u32 = 60;
const PER_MINUTE_MAX: u32 = 600;

/// The longest name and GitHub secret, in bytes.
const NAME_BYTES_MAX: usize = 64;
const GITHUB_SECRET_BYTES_MAX: usize = 256;

/// The fields of a request for a hook.
const FIELDS: [&str; 7] = [
    "name",
    "audience",
    "category",
    "priority",
    "ifNoConversation",
    "perMinute",
    "githubSecret",
];

/// The fields that its notifications have.
const NOTIFICATION_FIELDS: [&str; 4] = ["audience", "category", "priority", "ifNoConversation"];

/// A hook as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// What it is for, in its maker's words.
    pub name: String,
    /// Who made it.
    pub caller: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its secret was replaced last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Timestamp>,
    /// The fields of its notifications, but for the message.
    pub notification: Map<String, Value>,
    /// The payloads that it takes in a minute.
    pub per_minute: u32,
    /// The digest of its secret.
    secret_digest: String,
    /// The secret of GitHub's signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github_secret: Option<SealedSecret>,
}

impl Record for Hook {
    const COLLECTION: Collection = Collection::Hooks;
}

/// A valid request for a hook.
#[derive(Clone, Debug, PartialEq)]
pub struct HookRequest {
    name: String,
    notification: Map<String, Value>,
    per_minute: u32,
    github_secret: Option<String>,
}

/// The secret of an address. It is shown once, and cannot be printed by accident.
#[derive(Clone)]
pub struct HookSecret(String);

impl std::fmt::Debug for HookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookSecret")
    }
}

impl HookSecret {
    /// A new secret of 256 random bits.
    pub fn fresh(random: [[u8; 16]; 2]) -> Self {
        Self(BASE64_URL_SAFE_NO_PAD.encode(random.concat()))
    }

    /// The secret as it stands in the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl HookRequest {
    /// Parses the body of `POST /api/hooks`.
    ///
    /// # Errors
    /// Every invalid field. The audience and the policy are checked as those of a notification.
    pub fn parse(body: &LosslessJson, now: Timestamp) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        let Value::Object(object) = &body.value else {
            faults.note("#", "must be an object");
            return faults.none_in(None);
        };
        for name in object.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
            let detail = format!("is not a field of a hook{}", suggestion(name, &FIELDS));
            faults.note(pointer("#", name), detail);
        }
        let name = object.get("name").and_then(Value::as_str);
        let name = name.filter(|name| is_name(name));
        if name.is_none() {
            faults.note("#/name", "must be 1 to 64 bytes that say what the hook is for");
        }
        let per_minute = match object.get("perMinute").map(Value::as_u64) {
            None => Some(PER_MINUTE),
            Some(number) => number
                .and_then(|number| u32::try_from(number).ok())
                .filter(|number| (1..=PER_MINUTE_MAX).contains(number)),
        };
        if per_minute.is_none() {
            faults.note(
                "#/perMinute",
                format!("must be a number from 1 to {PER_MINUTE_MAX}"),
            );
        }
        let github_secret = github_secret(object, &mut faults);
        let notification = notification(object, now, &mut faults);
        let request = name.zip(per_minute).map(|(name, per_minute)| Self {
            name: name.to_owned(),
            notification,
            per_minute,
            github_secret,
        });
        faults.none_in(request)
    }

    /// The hook of this request, made now.
    pub fn hook(self, caller: &str, secret: &HookSecret, nonce: [u8; 16], now: Timestamp) -> Hook {
        Hook {
            name: self.name,
            caller: caller.to_owned(),
            created_at: now,
            rotated_at: None,
            notification: self.notification,
            per_minute: self.per_minute,
            secret_digest: sha256_hex(secret.0.as_bytes()),
            github_secret: self
                .github_secret
                .and_then(|github| SealedSecret::seal(&github, secret.as_str(), nonce)),
        }
    }
}

/// The `githubSecret` of a body.
pub fn github_secret(object: &Map<String, Value>, faults: &mut Faults) -> Option<String> {
    match object.get("githubSecret")? {
        Value::String(secret) if (1..=GITHUB_SECRET_BYTES_MAX).contains(&secret.len()) => {
            Some(secret.clone())
        }
        _ => {
            faults.note("#/githubSecret", "must be a text of 1 to 256 bytes");
            None
        }
    }
}

fn is_name(text: &str) -> bool {
    let is_blank = text.trim().is_empty();
    text.len() <= NAME_BYTES_MAX && !is_blank && !text.chars().any(char::is_control)
}

/// The fields that notifications of the hook have, checked as a request with them is.
fn notification(object: &Map<String, Value>, now: Timestamp, faults: &mut Faults) -> Map<String, Value> {
    let fields = NOTIFICATION_FIELDS.iter();
    let fields = fields.filter_map(|name| Some(((*name).to_owned(), object.get(*name)?.clone())));
    let fields: Map<String, Value> = fields.collect();
    let mut request = fields.clone();
    request.insert("message".to_owned(), serde_json::json!({"text": "a message"}));
    if let Err(found) = Request::parse(&Value::Object(request).into(), now) {
        for fault in found {
            faults.note(fault.pointer, fault.detail);
        }
    }
    fields
}

impl Hook {
    /// Whether this is the secret of its address. Takes the same time for every wrong one.
    pub fn has_secret(&self, secret: &str) -> bool {
        let digest = sha256_hex(secret.as_bytes());
        let pairs = digest.bytes().zip(self.secret_digest.bytes());
        let differences = pairs.fold(0, |all, (one, other)| std::hint::black_box(all | (one ^ other)));
        differences == 0 && digest.len() == self.secret_digest.len()
    }

    /// The hook with another secret; the present one is of no use any more.
    #[must_use]
    pub fn rotated(
        self,
        secret: &HookSecret,
        github_secret: Option<&str>,
        nonce: [u8; 16],
        now: Timestamp,
    ) -> Self {
        Self {
            rotated_at: Some(now),
            secret_digest: sha256_hex(secret.0.as_bytes()),
            github_secret: github_secret
                .and_then(|github| SealedSecret::seal(github, secret.as_str(), nonce)),
            ..self
        }
    }

    /// The request for the notification of a message.
    pub fn request(&self, message: &LosslessJson, priority: Option<Priority>) -> LosslessJson {
        let mut fields = self.notification.clone();
        if let Some(priority) = priority {
            // A hook that says how urgent its messages are knows better.
            fields
                .entry("priority")
                .or_insert_with(|| serde_json::to_value(priority).unwrap_or_default());
        }
        let members = fields
            .iter()
            .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())));
        // As text, so that the message keeps its numbers as they were written.
        let members = members.chain([format!("\"message\":{message}")]);
        let text = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
        LosslessJson::from_slice(text.as_bytes()).unwrap_or_else(|_| message.clone())
    }
}

/// How fast a hook is posted to: a record of its own, which each payload changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookRate {
    /// When the payloads so far are paid for.
    paid_until: Timestamp,
}

impl Record for HookRate {
    const COLLECTION: Collection = Collection::HookRates;

    fn expires_at(&self) -> Option<Timestamp> {
        self.paid_until.checked_add(SignedDuration::from_hours(24)).ok()
    }
}

impl HookRate {
    /// Takes one payload at `per_minute`, or says how long to wait (GCRA). Those of ten seconds may come at once.
    ///
    /// # Errors
    /// With the wait.
    pub fn take(earlier: Option<Self>, per_minute: u32, now: Timestamp) -> Result<Self, Duration> {
        let interval = SignedDuration::from_secs(60) / i32::try_from(per_minute.max(1)).unwrap_or(i32::MAX);
        let burst = interval * i32::try_from((per_minute / 6).max(1) - 1).unwrap_or_default();
        let paid_until = earlier.map_or(now, |earlier| earlier.paid_until.max(now));
        let ahead = paid_until.duration_since(now);
        if ahead > burst {
            return Err(Duration::try_from(ahead - burst).unwrap_or_default());
        }
        Ok(Self {
            paid_until: paid_until.saturating_add(interval).unwrap_or(paid_until),
        })
    }
}

#[cfg(test)]
mod tests;
