//! `GET /api/notifications/{id}/deliveries`: what became of each recipient.

use herald::audience::Recipient;
use herald::delivery::{Outcome, Row, SkipReason, State};
use herald::store::{Ledger, Notifications};
use jiff::Timestamp;
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::answer::{Refusal, json, of_type};
use crate::pages::{self, Place};
use crate::query::{self, Query, not_a_cursor};
use crate::{Context, csv};

/// How many pages of the plan one request walks: a rare state is found in several requests.
const PAGES_WALKED_MAX: usize = 20;

/// What a delivery is at, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Word {
    Delivered,
    Rejected,
    Gone,
    Unknown,
    Skipped,
    Expired,
    Cancelled,
    Open,
}

impl Word {
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

    fn read(text: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(word, state)| (word == text).then_some(state))
    }

    fn as_str(self) -> &'static str {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(word, state)| (state == self).then_some(word))
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

/// What a caller reads of one delivery.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    /// The conversation, or the name that led to none.
    #[serde(flatten)]
    recipient: Recipient,
    state: Word,
    /// The channel's code for a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<SkipReason>,
    /// The channel's words for a rejection.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activity_id: Option<String>,
    /// The revision that its copy shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u32>,
    attempts: u32,
    /// Attempts that may have arrived though nobody knows.
    doubts: u32,
    /// When it is tried again, and what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Delivery {
    fn new(recipient: Recipient, row: Option<Row>) -> Self {
        let mut delivery = Self {
            recipient,
            state: Word::of(row.as_ref()),
            code: None,
            reason: None,
            detail: None,
            activity_id: None,
            revision: None,
            attempts: row.as_ref().map_or(0, |row| row.attempt),
            doubts: row.as_ref().map_or(0, |row| row.doubts),
            until: None,
            why: None,
        };
        match row.map(|row| row.state) {
            None => {}
            Some(State::Waiting { until, why }) => {
                delivery.until = Some(until);
                delivery.why = Some(why);
            }
            Some(State::Settled(outcome)) => match outcome {
                Outcome::Delivered(copy) => {
                    delivery.activity_id = copy.activity.map(|id| id.as_str().to_owned());
                    delivery.revision = Some(copy.shows);
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
        "doubts",
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
    /// Where to go on; there is no more without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<S: Notifications, C, L: Ledger, Q, E> Context<S, C, L, Q, E> {
    /// `GET /api/notifications/{id}/deliveries`
    pub(crate) async fn deliveries(&self, id: &str, request: &Request) -> Result<Response<Body>, Refusal> {
        let query = Query::read(request, &["state", "cursor", "limit", "format"])?;
        let wanted = match query.get("state") {
            None => None,
            Some(text) => Some(Word::read(text).ok_or_else(|| {
                let words = Word::ALL.map(|(word, _)| word).join("`, `");
                Refusal::bad_request(format!("`state` must be one of `{words}`, or left out."))
            })?),
        };
        let format = Format::of(&query, request)?;
        let limit = query.limit()?;
        let from = match query.cursor()? {
            Some(text) => text.parse().map_err(|_| not_a_cursor())?,
            None => Place::default(),
        };
        let listed = self.listed(id, wanted, from, limit).await?;
        Ok(match format {
            Format::Json => json(StatusCode::OK, &listed),
            Format::Csv => comma_separated(listed, request),
        })
    }

    async fn listed(
        &self,
        id: &str,
        wanted: Option<Word>,
        mut place: Place,
        limit: usize,
    ) -> Result<Listed, Refusal> {
        let notification = self.known(id).await?;
        let mut deliveries = Vec::new();
        let mut walked = 0;
        let next = loop {
            let Some((here, page)) = pages::at(&self.store, &notification, place).await? else {
                break None;
            };
            if walked == PAGES_WALKED_MAX || deliveries.len() == limit {
                break Some(here);
            }
            walked += 1;
            let recipients = page.chunks.into_iter().flat_map(|chunk| chunk.recipients);
            let recipients: Vec<_> = recipients.skip(here.recipient).collect();
            let rows = pages::rows(&self.ledger, &notification, &recipients).await?;
            place = here.next_page();
            for (number, (recipient, row)) in (here.recipient..).zip(recipients.into_iter().zip(rows)) {
                if deliveries.len() == limit {
                    place = Place {
                        recipient: number,
                        ..here
                    };
                    break;
                }
                if wanted.is_none_or(|wanted| wanted == Word::of(row.as_ref())) {
                    deliveries.push(Delivery::new(recipient, row));
                }
            }
        };
        Ok(Listed {
            deliveries,
            next: next.map(|place| query::cursor(place.text())),
        })
    }
}

/// What the list is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

impl Format {
    /// As the query says, else as the request accepts.
    fn of(query: &Query, request: &Request) -> Result<Self, Refusal> {
        match query.get("format") {
            Some("csv") => Ok(Self::Csv),
            Some("json") => Ok(Self::Json),
            Some(_) => Err(Refusal::bad_request("`format` must be `json` or `csv`.")),
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

/// The page as CSV. Where to go on stands in a `Link` header, the only place there is for it.
fn comma_separated(listed: Listed, request: &Request) -> Response<Body> {
    let mut text = String::new();
    csv::line(&mut text, Delivery::COLUMNS);
    for delivery in listed.deliveries {
        let cells = delivery.cells();
        csv::line(&mut text, cells.iter().map(String::as_str));
    }
    let mut response = of_type(StatusCode::OK, "text/csv; charset=utf-8; header=present", text);
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let kept = pairs.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    if let Some(next) = listed.next {
        let cursor = format!("cursor={next}");
        let query: Vec<_> = kept.chain([cursor.as_str()]).collect();
        let link = format!("<{}?{}>; rel=\"next\"", request.uri().path(), query.join("&"));
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    response
}
