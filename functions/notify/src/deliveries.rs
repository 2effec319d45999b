//! `GET /api/notifications/{id}/deliveries`: the state of each delivery.

use herald::audience::Recipient;
use herald::backend::Backend;
use herald::delivery::{Outcome, Row, SkipReason, State};
use herald::notification::Notification;
use jiff::Timestamp;
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::audit::Action;
use crate::plan_pages::{self, Position};
use crate::request::{List, Query, not_a_cursor};
use crate::response::{ApiError, json, of_type};
use crate::{Context, caller, csv};

/// The most pages of the plan that one request scans.
const MAX_PAGES: usize = 20;

/// The state of a delivery, as lists show and filter it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum StateFilter {
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
    const ALL: [(&'static str, Self); 8] = [
        ("delivered", Self::Delivered),
        ("rejected", Self::Rejected),
        ("gone", Self::Gone),
        ("unknown", Self::Unknown),
        ("skipped", Self::Skipped),
        ("expired", Self::Expired),
        ("cancelled", Self::Cancelled),
        ("open", Self::Open),
    ];

    fn parse(text: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(name, state)| (name == text).then_some(state))
    }

    fn as_str(self) -> &'static str {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(name, state)| (state == self).then_some(name))
            .unwrap_or_default()
    }

    fn of(row: Option<&Row>) -> Self {
        match row.map(|row| &row.state) {
            None | Some(State::Waiting { .. }) => Self::Open,
            Some(State::Settled(outcome)) => match outcome {
                Outcome::Delivered(_) => Self::Delivered,
                Outcome::Rejected { .. } => Self::Rejected,
                Outcome::Gone { .. } => Self::Gone,
                Outcome::Unknown => Self::Unknown,
                Outcome::Skipped { .. } => Self::Skipped,
                Outcome::Expired => Self::Expired,
                Outcome::Cancelled => Self::Cancelled,
            },
        }
    }
}

/// One delivery.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    /// The conversation, or the name without a conversation.
    #[serde(flatten)]
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
    attempts: u32,
    /// Attempts whose response was lost.
    doubts: u32,
    /// When it is retried, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Delivery {
    fn new(recipient: Recipient, row: Option<Row>) -> Self {
        let mut delivery = Self {
            recipient,
            state: StateFilter::of(row.as_ref()),
            code: None,
            reason: None,
            detail: None,
            activity_id: None,
            revision: None,
            attempts: row.as_ref().map_or(0, |row| row.attempt),
            doubts: row.as_ref().map_or(0, |row| row.ambiguous_attempts),
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
                }
                Outcome::Rejected { code, detail } => {
                    delivery.code = Some(code);
                    delivery.detail = detail;
                }
                Outcome::Gone { code } => delivery.code = Some(code),
                Outcome::Skipped { reason } => delivery.reason = Some(reason),
                Outcome::Unknown | Outcome::Expired | Outcome::Cancelled => {}
            },
        }
        delivery
    }

    /// The names of the columns, in the order of [`cells`](Self::cells).
    const COLUMNS: [&'static str; 12] = [
        "recipient",
        "kind",
        "state",
        "code",
        "reason",
        "detail",
        "activityId",
        "revision",
        "attempts",
        "ambiguousAttempts",
        "until",
        "why",
    ];

    fn cells(self) -> [String; 12] {
        let (kind, name) = self.recipient.name();
        let reason = self.reason.map(|reason| match reason {
            SkipReason::NoConversation => "noConversation",
            SkipReason::NotInstalled => "notInstalled",
            SkipReason::Removed => "removed",
            SkipReason::Blocked => "blocked",
            SkipReason::InstallForbidden => "installForbidden",
            SkipReason::AppNotInCatalog => "appNotInCatalog",
            SkipReason::NoSuchPerson => "noSuchPerson",
            SkipReason::NotInTenant => "notInTenant",
            SkipReason::TenantUnknown => "tenantUnknown",
        });
        [
            name,
            kind.to_owned(),
            self.state.as_str().to_owned(),
            self.code.unwrap_or_default(),
            reason.unwrap_or_default().to_owned(),
            self.detail.unwrap_or_default(),
            self.activity_id.unwrap_or_default(),
            self.revision
                .map(|revision| revision.to_string())
                .unwrap_or_default(),
            self.attempts.to_string(),
            self.doubts.to_string(),
            self.until.map(|until| until.to_string()).unwrap_or_default(),
            self.why.unwrap_or_default(),
        ]
    }
}

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
        let limit = query.limit()?;
        let list = List::new("deliveries", &[id, query.get("state").unwrap_or_default()]);
        let from = match query.cursor(&list)? {
            Some(text) => text.parse().map_err(|_| not_a_cursor())?,
            None => Position::default(),
        };
        let notification = self.find(id).await?;
        let (deliveries, next) = self.list_deliveries(&notification, wanted, from, limit).await?;
        let count = Some(deliveries.len() as u64);
        Action::Report.of_notification(&caller::of(request), &notification.id, count);
        let next = next.map(|position| list.cursor(&position.text()));
        let listed = Listed { deliveries, next };
        Ok(match format {
            Format::Json => json(StatusCode::OK, &listed),
            Format::Csv => {
                let next = listed.next.as_deref().map(|cursor| query.next_page(cursor));
                let next = next.map(|query| format!("/api/notifications/{id}/deliveries?{query}"));
                csv_response(listed, next)
            }
        })
    }

    async fn list_deliveries(
        &self,
        notification: &Notification,
        wanted: Option<StateFilter>,
        mut position: Position,
        limit: usize,
    ) -> Result<(Vec<Delivery>, Option<Position>), ApiError> {
        let mut deliveries = Vec::new();
        let mut pages = 0;
        let next = loop {
            let Some((here, page)) = plan_pages::at(&self.notifications, notification, position).await?
            else {
                break None;
            };
            if pages == MAX_PAGES || deliveries.len() == limit {
                break Some(here);
            }
            pages += 1;
            let recipients = page.chunks.into_iter().flat_map(|chunk| chunk.recipients);
            let recipients: Vec<_> = recipients.skip(here.recipient).collect();
            let rows = plan_pages::rows(&self.ledger, notification, &recipients).await?;
            position = here.next_page();
            for (number, (recipient, row)) in (here.recipient..).zip(recipients.into_iter().zip(rows)) {
                if deliveries.len() == limit {
                    position = Position {
                        recipient: number,
                        ..here
                    };
                    break;
                }
                if wanted.is_none_or(|wanted| wanted == StateFilter::of(row.as_ref())) {
                    deliveries.push(Delivery::new(recipient, row));
                }
            }
        };
        Ok((deliveries, next))
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

/// The page as CSV, with the address of the next page in a `Link` header.
fn csv_response(listed: Listed, next: Option<String>) -> Response<Body> {
    let mut text = String::new();
    csv::line(&mut text, Delivery::COLUMNS);
    for delivery in listed.deliveries {
        let cells = delivery.cells();
        csv::line(&mut text, cells.iter().map(String::as_str));
    }
    let mut response = of_type(StatusCode::OK, "text/csv; charset=utf-8; header=present", text);
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
