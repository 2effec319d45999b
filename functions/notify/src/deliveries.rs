//! `GET /api/notifications/{id}/deliveries`: the state of each delivery.

use std::collections::HashMap;

use herald::audience::Recipient;
use herald::backend::Backend;
use herald::conversation::{Conversation, ConversationKey};
use herald::delivery::DeliveryKey;
use herald::notification::{Notification, Page, State};
use herald::rate_limit::Bucket;
use herald::store::{self, Conversations, DatedRow, Ledger};
use herald::subject::{SubjectCopy, SubjectCopyKey};
use jiff::SignedDuration;
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::plan_pages::{self, Position};
use crate::request::{CursorScope, Query, not_a_cursor};
use crate::response::{ApiError, json, of_type};
use crate::{Context, caller, csv};
use herald::audit::AuditAction;

mod row;

use row::{Delivery, Place, StateFilter};

/// The most pages of the plan that one request for a list scans.
const MAX_PAGES: usize = 20;

/// How much of a report is in one answer, in bytes: Lambda's answers hold 6 MB, in which quotes and line breaks take two bytes.
const REPORT_BYTES: usize = 4 * 1024 * 1024;

/// How long one request reads. API Gateway waits 30 seconds.
const TIME_BUDGET: SignedDuration = SignedDuration::from_secs(15);

/// A page of the list.
#[derive(Debug, Serialize)]
struct Listed {
    deliveries: Vec<Delivery>,
    /// The cursor of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<B: Backend> Context<B> {
    /// `GET /api/notifications/{id}/deliveries`
    pub(crate) async fn deliveries(
        &self,
        id: &str,
        query: &Query,
        request: &Request,
    ) -> Result<Response<Body>, ApiError> {
        let wanted = match query.get("state") {
            None => None,
            Some(text) => Some(StateFilter::parse(text).ok_or_else(|| {
                let names = StateFilter::ALL.map(|(name, _)| name).join("`, `");
                ApiError::bad_request(format!("`state` must be one of `{names}`, or left out."))
            })?),
        };
        let format = Format::of(query, request)?;
        let limits = ReportLimits::of(query, format)?;
        let list = CursorScope::new("deliveries", &[id, query.get("state").unwrap_or_default()]);
        let from = match query.cursor(&list)? {
            Some(text) => text.parse().map_err(|_| not_a_cursor())?,
            None => Position::default(),
        };
        let notification = self.find(id).await?;
        let (deliveries, next) = self.list_deliveries(&notification, wanted, from, limits).await?;
        let count = Some(deliveries.len() as u64);
        AuditAction::Report.of_notification(&caller::of(request), &notification.id, count);
        let next = next.map(|position| list.cursor(&position.text()));
        let listed = Listed { deliveries, next };
        Ok(match format {
            Format::Json => json(StatusCode::OK, &listed),
            Format::Csv => {
                let next = listed.next.as_deref().map(|cursor| query.next_page(cursor));
                let next = next.map(|query| format!("/api/notifications/{id}/deliveries?{query}"));
                csv_response(listed, next, from == Position::default())
            }
        })
    }

    async fn list_deliveries(
        &self,
        notification: &Notification,
        wanted: Option<StateFilter>,
        mut position: Position,
        limits: ReportLimits,
    ) -> Result<(Vec<Delivery>, Option<Position>), ApiError> {
        // A plan that was stopped has deliveries without rows, which have ended.
        let without_row = if notification.state() == State::Cancelled {
            StateFilter::Cancelled
        } else {
            StateFilter::Open
        };
        let began = self.clock.now();
        let (mut deliveries, mut pages, mut bytes) = (Vec::new(), 0, 0);
        let next = loop {
            let Some((here, page)) = plan_pages::at(&self.notifications, notification, position).await?
            else {
                break None;
            };
            let is_late = self.clock.now().duration_since(began) > TIME_BUDGET;
            if pages == limits.pages || deliveries.len() == limits.deliveries || is_late {
                break Some(here);
            }
            pages += 1;
            position = here.next_page();
            for (number, found) in (here.recipient..).zip(self.page_rows(notification, page, here).await?) {
                if deliveries.len() == limits.deliveries || bytes > REPORT_BYTES {
                    position = Position {
                        recipient: number,
                        ..here
                    };
                    break;
                }
                let (recipient, row, place) = found;
                let state = StateFilter::of(row.as_ref().map(|row| &row.row), without_row);
                if wanted.is_none_or(|wanted| wanted == state) {
                    let delivery = Delivery::new(recipient, state, row, place);
                    bytes += delivery.size();
                    deliveries.push(delivery);
                }
            }
            if bytes > REPORT_BYTES {
                break Some(position);
            }
        };
        Ok((deliveries, next))
    }

    /// The recipients of a page from this position on, with their rows and what is known of their conversations.
    async fn page_rows(
        &self,
        notification: &Notification,
        page: Page,
        from: Position,
    ) -> Result<Vec<(Recipient, Option<DatedRow>, Place)>, store::Error> {
        let chunks = page.chunks.into_iter();
        let recipients = chunks.flat_map(|chunk| {
            let bucket = chunk.bucket;
            let recipients = chunk.recipients.into_iter();
            recipients.map(move |recipient| (recipient, bucket.clone()))
        });
        let recipients: Vec<(Recipient, Option<Bucket>)> = recipients.skip(from.recipient).collect();
        let keys: Vec<ConversationKey> = recipients
            .iter()
            .filter_map(|(recipient, _)| match recipient {
                Recipient::Conversation(key) => Some(key.clone()),
                Recipient::User(_)
                | Recipient::Account(_)
                | Recipient::UnknownConversation(_)
                | Recipient::Missed(_) => None,
            })
            .collect();
        let deliveries: Vec<DeliveryKey> = recipients
            .iter()
            .map(|(recipient, _)| DeliveryKey::new(&notification.id, recipient))
            .collect();
        let (stored, rows, mut copies) = futures_util::try_join!(
            self.conversations.get_many(&keys),
            self.ledger.dated_rows(&deliveries),
            self.subject_copies(notification, &keys)
        )?;
        let stored: HashMap<ConversationKey, Conversation> = stored
            .into_iter()
            .map(|stored| (stored.key.clone(), stored))
            .collect();
        let found = recipients.into_iter().zip(rows);
        let found = found.map(|((recipient, bucket), row)| {
            let place = Place::of(&recipient, bucket.as_ref(), &stored);
            let copy = match &recipient {
                Recipient::Conversation(key) => copies.remove(key),
                Recipient::User(_)
                | Recipient::Account(_)
                | Recipient::UnknownConversation(_)
                | Recipient::Missed(_) => None,
            };
            (recipient, row, place.with_copy(&notification.id, copy))
        });
        Ok(found.collect())
    }

    /// The copies of the notification's subject in these conversations; none without a subject.
    async fn subject_copies(
        &self,
        notification: &Notification,
        conversations: &[ConversationKey],
    ) -> Result<HashMap<ConversationKey, SubjectCopy>, store::Error> {
        let Some(subject) = &notification.subject else {
            return Ok(HashMap::new());
        };
        let key = |conversation| SubjectCopyKey::new(&notification.caller, subject, conversation);
        let keys: Vec<SubjectCopyKey> = conversations.iter().map(key).collect();
        let copies = self.ledger.subject_copies(&keys).await?;
        let each = conversations.iter().cloned().zip(copies);
        Ok(each.filter_map(|(key, copy)| Some((key, copy?))).collect())
    }
}

/// How much one answer has at most.
#[derive(Clone, Copy, Debug)]
struct ReportLimits {
    deliveries: usize,
    /// Pages of the plan that are scanned.
    pages: usize,
}

impl ReportLimits {
    /// CSV without a `limit` is the whole report, as far as one answer can hold it.
    fn of(query: &Query, format: Format) -> Result<Self, ApiError> {
        let limit = query.limit()?;
        Ok(match (query.get("limit"), format) {
            (None, Format::Csv) => Self {
                deliveries: usize::MAX,
                pages: usize::MAX,
            },
            (Some(_), _) | (None, Format::Json) => Self {
                deliveries: limit,
                pages: MAX_PAGES,
            },
        })
    }
}

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

impl Format {
    /// From the query, or else from the `Accept` header.
    fn of(query: &Query, request: &Request) -> Result<Self, ApiError> {
        match query.get("format") {
            Some("csv") => Ok(Self::Csv),
            Some("json") => Ok(Self::Json),
            Some(_) => Err(ApiError::bad_request("`format` must be `json` or `csv`.")),
            None => {
                let accept = request.headers().get(header::ACCEPT);
                let accept = accept.and_then(|accept| accept.to_str().ok()).unwrap_or_default();
                let mut types = accept.split(',').filter_map(|range| range.split(';').next());
                let csv = types.any(|range| range.trim().eq_ignore_ascii_case("text/csv"));
                Ok(if csv { Self::Csv } else { Self::Json })
            }
        }
    }
}

/// The page as CSV, with the address of the next page in a `Link` header. Only the first page has the names of the columns: all pages, one
/// after the other, are the report.
fn csv_response(listed: Listed, next: Option<String>, is_first: bool) -> Response<Body> {
    let mut text = String::new();
    let content_type = if is_first {
        csv::line(&mut text, Delivery::COLUMNS);
        "text/csv; charset=utf-8; header=present"
    } else {
        "text/csv; charset=utf-8; header=absent"
    };
    for delivery in listed.deliveries {
        let cells = delivery.cells();
        csv::line(&mut text, cells.iter().map(String::as_str));
    }
    let mut response = of_type(StatusCode::OK, content_type, text);
    let attachment = HeaderValue::from_static("attachment; filename=\"deliveries.csv\"");
    response
        .headers_mut()
        .insert(header::CONTENT_DISPOSITION, attachment);
    let link = next.and_then(|next| HeaderValue::from_str(&format!("<{next}>; rel=\"next\"")).ok());
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}
