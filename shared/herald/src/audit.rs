//! Audit lines: who changed, exported or erased something, when, and how many. One log line for each, with `audit` set.
//!
//! They name the caller and the notification, and nothing of the content: no message, no person, no conversation.

use crate::id::NotificationId;
use crate::rate_limit::Bucket;

/// What a caller did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// A notification was accepted.
    Accept,
    /// A notification was accepted that goes also to those who opted out.
    PassOptOuts,
    /// A notification was cancelled.
    Cancel,
    /// A wave of a notification was cancelled.
    CancelWave,
    /// The message of a notification was edited.
    Edit,
    /// The message of a notification was retracted.
    Retract,
    /// The deliveries of a notification were read.
    Report,
    /// A tag was added to a conversation.
    Tag,
    /// A tag was removed from a conversation.
    Untag,
    /// Conversations were imported.
    Import,
    /// Conversations were exported.
    Export,
    /// A conversation was erased.
    EraseConversation,
    /// All conversations of a person were erased.
    EraseUser,
    /// The rate limit of a bucket was reset.
    ResetRate,
    /// The dead-letter queue of upstream events was redriven.
    RedriveEvents,
    /// A hook was made.
    CreateHook,
    /// A hook was given a new address.
    RotateHook,
    /// A hook was deleted.
    DeleteHook,
    /// A route was written.
    PutRoute,
    /// A route was deleted.
    DeleteRoute,
    /// A schedule was written.
    PutSchedule,
    /// A schedule was deleted.
    DeleteSchedule,
    /// A schedule was paused.
    PauseSchedule,
    /// A paused schedule was resumed.
    ResumeSchedule,
    /// An occurrence of a schedule is skipped.
    SkipOccurrence,
    /// A template was written.
    PutTemplate,
    /// A template was deleted.
    DeleteTemplate,
    /// A category was written.
    PutCategory,
    /// A category was deleted.
    DeleteCategory,
    /// The preferences of a person were written.
    PutPreferences,
    /// The preferences of a tenant were written.
    PutTenantPreferences,
    /// The preferences of a tenant were deleted.
    DeleteTenantPreferences,
}

impl AuditAction {
    /// Its word in an audit line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::PassOptOuts => "passOptOuts",
            Self::Cancel => "cancel",
            Self::CancelWave => "cancelWave",
            Self::Edit => "edit",
            Self::Retract => "retract",
            Self::Report => "report",
            Self::Tag => "tag",
            Self::Untag => "untag",
            Self::Import => "import",
            Self::Export => "export",
            Self::EraseConversation => "eraseConversation",
            Self::EraseUser => "eraseUser",
            Self::ResetRate => "resetRate",
            Self::RedriveEvents => "redriveEvents",
            Self::CreateHook => "createHook",
            Self::RotateHook => "rotateHook",
            Self::DeleteHook => "deleteHook",
            Self::PutRoute => "putRoute",
            Self::DeleteRoute => "deleteRoute",
            Self::PutSchedule => "putSchedule",
            Self::DeleteSchedule => "deleteSchedule",
            Self::PauseSchedule => "pauseSchedule",
            Self::ResumeSchedule => "resumeSchedule",
            Self::SkipOccurrence => "skipOccurrence",
            Self::PutTemplate => "putTemplate",
            Self::DeleteTemplate => "deleteTemplate",
            Self::PutCategory => "putCategory",
            Self::DeleteCategory => "deleteCategory",
            Self::PutPreferences => "putPreferences",
            Self::PutTenantPreferences => "putTenantPreferences",
            Self::DeleteTenantPreferences => "deleteTenantPreferences",
        }
    }

    /// Logs what was done to a notification; `count` is the number of its deliveries that it is about, if that is known.
    pub fn of_notification(self, caller: &str, notification: &NotificationId, count: Option<u64>) {
        tracing::info!(audit = true, action = self.as_str(), caller, %notification, count, "audit");
    }

    /// Logs what was done to the rate limit of a bot in a tenant.
    pub fn of_bucket(self, caller: &str, bucket: &Bucket) {
        let bucket = bucket.as_str();
        tracing::info!(audit = true, action = self.as_str(), caller, bucket, "audit");
    }

    /// Logs what was done to a hook.
    pub fn of_hook(self, caller: &str, hook: &str) {
        tracing::info!(audit = true, action = self.as_str(), caller, hook, "audit");
    }

    /// Logs what was done to a route.
    pub fn of_route(self, caller: &str, route: &str) {
        tracing::info!(audit = true, action = self.as_str(), caller, route, "audit");
    }

    /// Logs what was done to a schedule.
    pub fn of_schedule(self, caller: &str, schedule: &str) {
        tracing::info!(audit = true, action = self.as_str(), caller, schedule, "audit");
    }

    /// Logs what was done to a template.
    pub fn of_template(self, caller: &str, template: &str) {
        tracing::info!(audit = true, action = self.as_str(), caller, template, "audit");
    }

    /// Logs what was done to a category.
    pub fn of_category(self, caller: &str, category: &str) {
        tracing::info!(audit = true, action = self.as_str(), caller, category, "audit");
    }

    /// Logs what was done to the preferences of a tenant.
    pub fn of_tenant(self, caller: &str, tenant: &str) {
        tracing::info!(audit = true, action = self.as_str(), caller, tenant, "audit");
    }

    /// Logs what was done to a person, who is not named.
    pub fn of_person(self, caller: &str) {
        tracing::info!(audit = true, action = self.as_str(), caller, "audit");
    }

    /// Logs what was done to this many upstream events.
    pub fn of_events(self, caller: &str, count: u64) {
        tracing::info!(audit = true, action = self.as_str(), caller, count, "audit");
    }

    /// Logs what was done to this many conversations.
    pub fn of_conversations(self, caller: &str, count: usize) {
        tracing::info!(audit = true, action = self.as_str(), caller, count, "audit");
    }

    /// Logs that this was refused, because the notification is another caller's.
    pub fn refused(self, caller: &str, notification: &NotificationId) {
        tracing::warn!(error_type = "ChangeRefused", action = self.as_str(), caller, %notification, "the notification is another caller's; nothing was changed");
    }
}
