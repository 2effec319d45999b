//! `/api/templates`: messages with expressions, which requests name.

use botframework::lossless::LosslessJson;
use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::notification::request::message_of;
use herald::problem::{Fault, Faults, Problem, pointer, suggestion};
use herald::store::{Collection, Registry};
use herald::template::{TemplateRecord, built_in, is_template_name};
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::json as value;

use crate::Context;
use crate::request::{CursorScope, Query, document};
use crate::response::{ApiError, json, no_content};

/// The fields of a template.
const FIELDS: [&str; 2] = ["description", "message"];

/// A template as answers show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownTemplate<'a> {
    name: &'a str,
    /// Absent of one that is built in.
    #[serde(flatten)]
    written: Option<WrittenBy<'a>>,
    /// As it was written. Absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<&'a LosslessJson>,
}

/// Who wrote a version.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenBy<'a> {
    version: u32,
    caller: &'a str,
    changed_at: Timestamp,
}

/// A page of the list.
#[derive(Debug, Serialize)]
struct ListedTemplates<'a> {
    templates: Vec<ShownTemplate<'a>>,
    /// The cursor of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<'a> ShownTemplate<'a> {
    /// Without its content.
    fn listed(name: &'a str, record: &'a TemplateRecord) -> Self {
        Self {
            name,
            written: Some(WrittenBy {
                version: record.version,
                caller: &record.caller,
                changed_at: record.changed_at,
            }),
            template: None,
        }
    }

    fn of(name: &'a str, record: &'a TemplateRecord) -> Self {
        Self {
            template: Some(&record.template),
            ..Self::listed(name, record)
        }
    }
}

impl<B: Backend> Context<B> {
    /// `GET /api/templates`
    pub(crate) async fn templates(&self, query: &Query) -> Result<Response<Body>, ApiError> {
        let list = CursorScope::new("templates", &[]);
        let cursor = query.cursor(&list)?;
        let page = self
            .registry
            .list_records::<TemplateRecord>(cursor.as_deref(), query.limit()?)
            .await?;
        let templates = page.items.iter();
        let listed = ListedTemplates {
            templates: templates
                .map(|(name, record)| ShownTemplate::listed(name, record))
                .collect(),
            next: page.cursor.map(|cursor| list.cursor(&cursor)),
        };
        Ok(json(StatusCode::OK, &listed))
    }

    /// `GET /api/templates/{name}`
    pub(crate) async fn template(&self, name: &str) -> Result<Response<Body>, ApiError> {
        if let Some(message) = built_in(name) {
            let template = &value!({"message": message.value}).into();
            let shown = ShownTemplate {
                name,
                written: None,
                template: Some(template),
            };
            return Ok(json(StatusCode::OK, &shown));
        }
        let record = self.find_template(name).await?.ok_or_else(no_template)?;
        Ok(json(StatusCode::OK, &ShownTemplate::of(name, &record)))
    }

    /// `PUT /api/templates/{name}`
    pub(crate) async fn put_template(
        &self,
        name: &str,
        request: &Request,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        if !is_template_name(name) || built_in(name).is_some() {
            return Err(ApiError::bad_request(
                "A template is named by 1 to 64 small letters, digits and `-`, and not `notification`, which is built in.",
            ));
        }
        let document = document(request)?;
        check(&document).map_err(Problem::invalid)?;
        let earlier = self.find_template(name).await?;
        if let Some(earlier) = &earlier {
            self.require_own("template", &earlier.caller, caller)?;
        }
        let now = self.clock.now();
        let mut written = None;
        let mut rule = |stored: Option<TemplateRecord>| {
            let record = TemplateRecord::written(stored, caller, &document, now);
            written = Some(record.clone());
            Some(record)
        };
        self.registry.update_record(name, &mut rule).await?;
        let record = written.ok_or_else(no_template)?;
        AuditAction::PutTemplate.of_template(caller, name);
        let status = match earlier {
            Some(_) => StatusCode::OK,
            None => StatusCode::CREATED,
        };
        Ok(json(status, &ShownTemplate::of(name, &record)))
    }

    /// `DELETE /api/templates/{name}`
    pub(crate) async fn delete_template(&self, name: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        let record = self.find_template(name).await?.ok_or_else(no_template)?;
        self.require_own("template", &record.caller, caller)?;
        self.registry.remove_record(Collection::Templates, name).await?;
        AuditAction::DeleteTemplate.of_template(caller, name);
        Ok(no_content())
    }

    async fn find_template(&self, name: &str) -> Result<Option<TemplateRecord>, ApiError> {
        if !is_template_name(name) {
            return Ok(None);
        }
        Ok(self.registry.find_record(name).await?)
    }
}

/// Checks the body of a template: its message as that of a request with data.
fn check(document: &LosslessJson) -> Result<(), Vec<Fault>> {
    let mut faults = Faults::default();
    let Some(object) = document.value.as_object() else {
        faults.note("#", "must be an object with a `message`");
        return faults.none_in(None);
    };
    for name in object.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        let detail = format!("is not a field of a template{}", suggestion(name, &FIELDS));
        faults.note(pointer("#", name), detail);
    }
    if object.get("description").is_some_and(|value| !value.is_string()) {
        faults.note("#/description", "must be a text");
    }
    match document.get("message") {
        None => faults.note("#/message", "is missing: say what the template makes"),
        Some(message) => {
            let request = herald::template::filled_in(&LosslessJson::from(value!({})), &message);
            for fault in message_of(&request).err().into_iter().flatten() {
                faults.note(fault.pointer, fault.detail);
            }
        }
    }
    faults.none_in(Some(()))
}

fn no_template() -> ApiError {
    ApiError::not_found("There is no template of this name.")
}
