//! What a recipient would get of a request. Nothing is stored, and nothing is sent.

use botframework::activity::Activity;
use botframework::lossless::LosslessJson;
use serde_json::json;

use super::{Acceptor, Error, unrenderable};
use crate::audience::{Audience, Fields, RowColumn, Target};
use crate::backend::Backend;
use crate::category;
use crate::conversation::{Conversation, ConversationKey, ConversationName};
use crate::id::NotificationId;
use crate::notification::request::Request;
use crate::notification::size::as_teams_counts;
use crate::notification::{Notification, StartPolicy, inspect};
use crate::problem::Fault;
use crate::store::{self, ConversationFilter, Conversations};
use crate::template;
use crate::warning::{Warning, WarningCode};

/// A recipient of a preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// The conversation with this name.
    Conversation(ConversationName),
    /// The person with this Entra object id.
    User(String),
    /// The person with this id of the channel.
    Account(String),
}

impl Viewer {
    fn of_row(column: RowColumn, id: &str) -> Self {
        match column {
            RowColumn::User => Self::User(id.to_owned()),
            RowColumn::Account => Self::Account(id.to_owned()),
            RowColumn::Conversation => Self::Conversation(id.into()),
        }
    }
}

/// What a recipient would get.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// The message, with its way out.
    pub message: Activity,
    /// Its size as Teams counts it.
    pub bytes: u64,
    /// The conversation whose recipient it is for; `None` if none is known.
    pub conversation: Option<ConversationKey>,
    /// What the caller may not have meant.
    pub warnings: Vec<Warning>,
}

impl<B: Backend> Acceptor<'_, B> {
    /// What this recipient would get of the request; without one, the first that its audience names.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Forbidden`] as of acceptance; also if there is no such recipient, or the template makes no message
    /// for it.
    pub async fn preview(
        &self,
        document: &LosslessJson,
        caller: &str,
        viewer: Option<Viewer>,
    ) -> Result<Preview, Error> {
        let document = self.with_template(document).await?;
        let now = self.clock.now();
        let mut request = self.valid_request(&document, caller, now)?;
        let is_asked_for = viewer.is_some();
        let viewer = viewer.or_else(|| first_of(&request.audience));
        let conversation = match &viewer {
            Some(viewer) => self.conversation_of(viewer).await?,
            None => None,
        };
        if is_asked_for && conversation.is_none() {
            let detail = "names no conversation that is remembered";
            return Err(Error::Invalid(vec![Fault::new("#/recipient", detail)]));
        }
        let mut warnings = std::mem::take(&mut request.warnings);
        let fields = viewer
            .as_ref()
            .and_then(|viewer| fields_of(&request.audience, viewer));
        let notification = self.previewed(&request, caller).await?;
        let (message, unresolved) = match notification.renderer(&request.message) {
            None => (notification.outgoing(request.message.into_activity()), Vec::new()),
            Some(renderer) => {
                let recipient = conversation
                    .as_ref()
                    .map_or_else(|| json!({}), template::recipient);
                notification
                    .render_with_unresolved(&renderer, recipient, fields)
                    .map_err(|error| unrenderable("#/message", error))?
            }
        };
        warnings.extend(unresolved.into_iter().map(|left| {
            let detail = "This expression has no value for this recipient and is left as text. `coalesce` gives it another.";
            Warning::at(format!("#/message{}", left.pointer), WarningCode::LeftAsText, detail)
        }));
        warnings.extend(inspect(&message, "#/message"));
        Ok(Preview {
            bytes: as_teams_counts(&message),
            message,
            conversation: conversation.map(|conversation| conversation.key),
            warnings,
        })
    }

    /// The notification that the request would be.
    async fn previewed(&self, request: &Request, caller: &str) -> Result<Notification, Error> {
        let now = self.clock.now();
        let id = NotificationId::fresh(now, self.random.bytes());
        let start = StartPolicy::DryRun;
        let mut notification = Notification::begin(id, now, caller.to_owned(), request, start);
        let category = category::declared(self.registry, request.category.as_deref()).await?;
        notification.way_out = self.way_out(request, category.as_ref());
        Ok(notification)
    }

    async fn conversation_of(&self, viewer: &Viewer) -> Result<Option<Conversation>, store::Error> {
        let filter = match viewer {
            Viewer::Conversation(name) => match name.key() {
                Some(key) => return Ok(self.conversations.get_many(&[key]).await?.pop()),
                None => ConversationFilter::Conversation(name.id()),
            },
            Viewer::User(id) => ConversationFilter::User(id.as_str().into()),
            Viewer::Account(id) => ConversationFilter::Account(id.as_str().into()),
        };
        let found = self.conversations.list(&filter, None, 1).await?.items.pop();
        match found {
            Some(found) => Ok(self.conversations.get_many(&[found.key]).await?.pop()),
            None => Ok(None),
        }
    }
}

/// The first recipient that an audience names, if it names any.
fn first_of(audience: &Audience) -> Option<Viewer> {
    let selectors = audience.0.iter();
    let mut named = selectors.filter_map(|selector| match &selector.target {
        Target::Users { ids, .. } => ids.first().map(|id| Viewer::User(id.as_str().to_owned())),
        Target::Accounts(ids) => ids.first().map(|id| Viewer::Account(id.as_str().to_owned())),
        Target::Conversations(names) => names.first().cloned().map(Viewer::Conversation),
        Target::Rows { column, rows, .. } => rows.first().map(|row| Viewer::of_row(*column, &row.id)),
        Target::GroupChat(name) => Some(Viewer::Conversation(name.clone())),
        Target::Everyone
        | Target::Tenant(_)
        | Target::Team { .. }
        | Target::Channel { .. }
        | Target::GroupChatMembers { .. }
        | Target::Tag(_)
        | Target::Directory(_) => None,
    });
    named.next()
}

/// The fields of a recipient's row. Of one without a row, those of the first.
fn fields_of<'a>(audience: &'a Audience, viewer: &Viewer) -> Option<&'a Fields> {
    let Target::Rows { column, rows, .. } = &audience.0.first()?.target else {
        return None;
    };
    let mut all = rows.iter();
    let own = all.find(|row| Viewer::of_row(*column, &row.id) == *viewer);
    own.or(rows.first()).map(|row| &row.fields)
}
