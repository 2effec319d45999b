//! One delivery, as lists and reports show it.

use std::collections::HashMap;

use botframework::id::EntraObjectId;
use herald::audience::Recipient;
use herald::conversation::{Conversation, ConversationKey};
use herald::delivery::{Outcome, Row, SkipReason, State};
use herald::id::NotificationId;
use herald::rate_limit::Bucket;
use herald::store::DatedRow;
use herald::subject::SubjectCopy;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// The bytes of a delivery that are no ids or texts: names, numbers, times and punctuation.
const ROW_BYTES: usize = 400;

/// Whose a delivery is, and where.
#[derive(Debug, Default)]
pub(super) struct Place {
    entra_object_id: Option<String>,
    tenant: Option<String>,
    /// The newest notification of its subject there, if it is a newer one.
    superseded_by: Option<NotificationId>,
}

impl Place {
    /// The place of a recipient in a chunk of this bucket, with the conversations that are stored now.
    pub(super) fn of(
        recipient: &Recipient,
        bucket: Option<&Bucket>,
        stored: &HashMap<ConversationKey, Conversation>,
    ) -> Self {
        let conversation = match recipient {
            Recipient::Conversation(key) => stored.get(key),
            Recipient::User(_)
            | Recipient::Account(_)
            | Recipient::UnknownConversation(_)
            | Recipient::Missed(_) => None,
        };
        let attributes = conversation.map(|conversation| &conversation.attributes);
        let entra_object_id = match recipient {
            Recipient::User(id) => Some(id.as_str()),
            Recipient::Conversation(_)
            | Recipient::Account(_)
            | Recipient::UnknownConversation(_)
            | Recipient::Missed(_) => {
                attributes.and_then(|attributes| attributes.user.as_ref().map(EntraObjectId::as_str))
            }
        };
        let tenant = attributes.and_then(|attributes| attributes.tenant.as_deref());
        let tenant = tenant.or_else(|| bucket.and_then(Bucket::tenant));
        Self {
            entra_object_id: entra_object_id.map(str::to_owned),
            tenant: tenant.map(str::to_owned),
            superseded_by: None,
        }
    }

    /// The place of a delivery whose subject has this copy there.
    pub(super) fn with_copy(self, notification: &NotificationId, copy: Option<SubjectCopy>) -> Self {
        let newest = copy.map(|copy| copy.notification);
        Self {
            superseded_by: newest.filter(|newest| newest > notification),
            ..self
        }
    }
}

/// The state of a delivery, as lists show and filter it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum StateFilter {
    Delivered,
    Rejected,
    Gone,
    Unknown,
    Skipped,
    Expired,
    Cancelled,
    Open,
}

impl StateFilter {
    pub(super) const ALL: [(&'static str, Self); 8] = [
        ("delivered", Self::Delivered),
        ("rejected", Self::Rejected),
        ("gone", Self::Gone),
        ("unknown", Self::Unknown),
        ("skipped", Self::Skipped),
        ("expired", Self::Expired),
        ("cancelled", Self::Cancelled),
        ("open", Self::Open),
    ];

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(name, state)| (name == text).then_some(state))
    }

    fn as_str(self) -> &'static str {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(name, state)| (state == self).then_some(name))
            .unwrap_or_default()
    }

    /// The state of a delivery with this row.
    pub(super) fn of(row: Option<&Row>, without_row: Self) -> Self {
        match row.map(|row| &row.state) {
            None => without_row,
            Some(State::Waiting { .. }) => Self::Open,
            Some(State::Settled(outcome)) => match outcome {
                Outcome::Delivered(_) => Self::Delivered,
                Outcome::Rejected { .. } => Self::Rejected,
                Outcome::Gone { .. } => Self::Gone,
                Outcome::Unknown => Self::Unknown,
                Outcome::Skipped { .. } => Self::Skipped,
                Outcome::Expired { .. } => Self::Expired,
                Outcome::Cancelled => Self::Cancelled,
            },
        }
    }
}

/// One delivery.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delivery {
    /// The conversation, or the name without a conversation, under its kind.
    #[serde(flatten, serialize_with = "by_kind")]
    recipient: Recipient,
    state: StateFilter,
    /// The channel's error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<SkipReason>,
    /// The channel's error message.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activity_id: Option<String>,
    /// The revision that the copy shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u32>,
    /// The notification whose copy it edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    supersedes: Option<NotificationId>,
    /// The newer notification of the subject that the copy belongs to now, or that was sent instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_by: Option<NotificationId>,
    attempts: u32,
    /// Attempts whose response was lost.
    ambiguous_attempts: u32,
    /// The Entra object id of its person, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    entra_object_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// When it came into this state; of an edited copy, when that was edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    /// When it is retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    /// What it waits for, or waited for until it expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

fn by_kind<S: Serializer>(recipient: &Recipient, serializer: S) -> Result<S::Ok, S::Error> {
    let (kind, name) = recipient.name();
    serializer.collect_map([(kind, name)])
}

/// What the bot lacks to read the directory.
fn missing_permission(recipient: &Recipient, reason: SkipReason) -> Option<String> {
    match recipient {
        Recipient::Missed(miss) if reason == SkipReason::DirectoryForbidden => Some(format!(
            "needs the application permission {} in the tenant, with its administrator's consent",
            miss.kind.permission()
        )),
        _ => None,
    }
}

impl Delivery {
    pub(super) fn new(recipient: Recipient, state: StateFilter, row: Option<DatedRow>, place: Place) -> Self {
        let at = row.as_ref().and_then(|row| row.written_at);
        let row = row.map(|row| row.row);
        let mut delivery = Self {
            recipient,
            state,
            code: None,
            reason: None,
            detail: None,
            activity_id: None,
            revision: None,
            supersedes: None,
            superseded_by: None,
            attempts: row.as_ref().map_or(0, |row| row.attempt),
            ambiguous_attempts: row.as_ref().map_or(0, |row| row.ambiguous_attempts),
            entra_object_id: place.entra_object_id,
            tenant: place.tenant,
            at,
            until: None,
            why: None,
        };
        match row.map(|row| row.state) {
            None => {}
            Some(State::Waiting { until, reason }) => {
                delivery.until = Some(until);
                delivery.why = Some(reason);
            }
            Some(State::Settled(outcome)) => match outcome {
                Outcome::Delivered(sent) => {
                    delivery.activity_id = sent.activity.map(|id| id.as_str().to_owned());
                    delivery.revision = Some(sent.revision);
                    delivery.supersedes = sent.supersedes;
                    delivery.superseded_by = place.superseded_by;
                }
                Outcome::Rejected { code, detail } => {
                    delivery.code = Some(code);
                    delivery.detail = detail;
                }
                Outcome::Gone { code } => delivery.code = Some(code),
                Outcome::Skipped { reason } => {
                    delivery.reason = Some(reason);
                    delivery.detail = missing_permission(&delivery.recipient, reason);
                    delivery.superseded_by = place.superseded_by.filter(|_| reason == SkipReason::Superseded);
                }
                Outcome::Expired { why } => delivery.why = why,
                Outcome::Unknown | Outcome::Cancelled => {}
            },
        }
        delivery
    }

    /// About how many bytes it has in an answer.
    pub(super) fn size(&self) -> usize {
        let texts = [&self.code, &self.detail, &self.activity_id, &self.why];
        let texts = texts.into_iter().flatten().map(String::len);
        ROW_BYTES + self.recipient.name().1.len() + texts.sum::<usize>()
    }

    /// The names of the columns, in the order of [`cells`](Self::cells).
    pub(super) const COLUMNS: [&'static str; 17] = [
        "recipient",
        "kind",
        "entraObjectId",
        "tenant",
        "state",
        "at",
        "code",
        "reason",
        "detail",
        "activityId",
        "revision",
        "supersedes",
        "supersededBy",
        "attempts",
        "ambiguousAttempts",
        "until",
        "why",
    ];

    pub(super) fn cells(self) -> [String; 17] {
        let (kind, name) = self.recipient.name();
        let reason = self.reason.map(|reason| match reason {
            SkipReason::NoConversation => "noConversation",
            SkipReason::OptedOut => "optedOut",
            SkipReason::NotInstalled => "notInstalled",
            SkipReason::Removed => "removed",
            SkipReason::Blocked => "blocked",
            SkipReason::InstallForbidden => "installForbidden",
            SkipReason::AppNotInCatalog => "appNotInCatalog",
            SkipReason::NoSuchPerson => "noSuchPerson",
            SkipReason::NoSuchGroup => "noSuchGroup",
            SkipReason::AccountDisabled => "accountDisabled",
            SkipReason::Guest => "guest",
            SkipReason::DirectoryForbidden => "directoryForbidden",
            SkipReason::NotInTenant => "notInTenant",
            SkipReason::TenantUnknown => "tenantUnknown",
            SkipReason::Superseded => "superseded",
        });
        [
            name,
            kind.to_owned(),
            self.entra_object_id.unwrap_or_default(),
            self.tenant.unwrap_or_default(),
            self.state.as_str().to_owned(),
            self.at.map(|at| at.to_string()).unwrap_or_default(),
            self.code.unwrap_or_default(),
            reason.unwrap_or_default().to_owned(),
            self.detail.unwrap_or_default(),
            self.activity_id.unwrap_or_default(),
            self.revision
                .map(|revision| revision.to_string())
                .unwrap_or_default(),
            self.supersedes.map(|id| id.to_string()).unwrap_or_default(),
            self.superseded_by.map(|id| id.to_string()).unwrap_or_default(),
            self.attempts.to_string(),
            self.ambiguous_attempts.to_string(),
            self.until.map(|until| until.to_string()).unwrap_or_default(),
            self.why.unwrap_or_default(),
        ]
    }
}
