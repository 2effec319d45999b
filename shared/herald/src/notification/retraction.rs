//! A retraction that the request asks for in advance: at a moment the copies are deleted, or show another message.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::request::Request;
use super::{Content, Notification};
use crate::template::MessageSource;

/// What becomes of the copies of a notification at a later time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledRetraction {
    /// When.
    pub at: Timestamp,
    /// What becomes of them.
    pub kind: RetractionKind,
    /// The revision that it made; `None` until it is made.
    pub revision: Option<u32>,
}

/// Whether copies are deleted or edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RetractionKind {
    /// They are deleted.
    Delete,
    /// They show the replacement, which is stored beside the message.
    Replace,
}

impl ScheduledRetraction {
    /// The retraction that a request asks for.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let kind = match request.replacement {
            None => RetractionKind::Delete,
            Some(_) => RetractionKind::Replace,
        };
        let revision = None;
        request.retract_at.map(|at| Self { at, kind, revision })
    }
}

impl Notification {
    /// The retraction that is still to come.
    pub fn pending_retraction(&self) -> Option<ScheduledRetraction> {
        self.retraction
            .filter(|retraction| retraction.revision.is_none() && !self.retracted)
    }

    /// The notification after its retraction, with the content that it has then; `None` if the retraction was made.
    ///
    /// Whether it is held decides: nothing of a held notification is sent, and so it ends instead of being replaced.
    pub fn retracted_as_scheduled(
        &self,
        replacement: Option<&MessageSource>,
        now: Timestamp,
    ) -> Option<(Self, Content)> {
        let retraction = self.pending_retraction()?;
        let content = match replacement {
            Some(message) if !self.is_held() => Content::Message(Box::new(message.clone())),
            Some(_) | None => Content::Nothing,
        };
        let mut revised = self.revised(&content, now);
        revised.retraction = Some(ScheduledRetraction {
            revision: Some(revised.revision),
            ..retraction
        });
        Some((revised, content))
    }
}
