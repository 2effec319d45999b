//! Logs and metrics: one JSON object a line on standard output, where Lambda collects them.
//!
//! Each line names what was under way, in `spans`: the invocation (`requestId`, as in the lines that Lambda writes about it), the
//! request of the API (`request`, as in the API's access log) or the message of the queue (`id`), and the notification that it is
//! about. So the lines of one notification are found in the logs of all functions.
//!
//! A failure is logged once, where it is handled, with a stable `error_type` that alarms filter on. A field's name ends in
//! its unit. Bodies, tokens, message texts and people's names are never logged.
//!
//! A metric is a line in `CloudWatch`'s embedded metric format, whatever the log level. Its one dimension is the function, so that
//! each metric is one series: tenants and codes are in the log line beside it.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value, json};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;
use crate::config::Environment;
use crate::delivery::OutcomeCounts;

/// The namespace of all metrics.
const NAMESPACE: &str = "Herald";

/// Set by Lambda.
const FUNCTION_NAME: &str = "AWS_LAMBDA_FUNCTION_NAME";

/// The target of the events that become metrics.
const METRICS: &str = "herald::metrics";

/// A metric that operators set alarms on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// A function started in a new process.
    ColdStart,
    /// Notifications that were accepted.
    Accepted,
    /// Notifications that were accepted and go also to those who opted out.
    Mandatory,
    /// Deliveries that ended as delivered. An edit of a sent message is no delivery.
    Delivered,
    /// Deliveries that ended as rejected.
    Rejected,
    /// Deliveries that ended as gone.
    Gone,
    /// Deliveries that ended as unknown.
    Unknown,
    /// Deliveries that ended as skipped.
    Skipped,
    /// Deliveries that ended as expired.
    Expired,
    /// Deliveries that ended as cancelled.
    Cancelled,
    /// Deliveries that went back to the queue: they wait for permits, for their next attempt or for the bot. A delivery is
    /// counted each time.
    Waiting,
    /// How long ago the notification was accepted of which deliveries wait, in seconds.
    OldestOpen,
    /// Requests that the channel or Graph answered with 429.
    Throttled,
    /// Claims of a delivery that found its lease, or that of its conversation, held by another worker.
    ClaimConflict,
    /// Messages of a queue that were given up.
    DeadLettered,
    /// Events that the event bus refused for good: they were dropped.
    EventsDropped,
    /// The bot has no token, or the channel refuses it in every tenant: nothing is sent. Counted about once a minute while that
    /// lasts and deliveries are open.
    BotOutage,
    /// A tenant refuses the bot's token. Counted each time its circuit breaker opens.
    TenantRefusal,
    /// An upstream event became a notification, or edited one.
    EventAccepted,
    /// An upstream event was refused. Counted each time that its message is received.
    EventRefused,
    /// An upstream event that nothing takes: it was dropped.
    EventUnmatched,
}

impl Metric {
    /// The name in `CloudWatch`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ColdStart => "ColdStart",
            Self::Accepted => "Accepted",
            Self::Mandatory => "Mandatory",
            Self::Delivered => "Delivered",
            Self::Rejected => "Rejected",
            Self::Gone => "Gone",
            Self::Unknown => "Unknown",
            Self::Skipped => "Skipped",
            Self::Expired => "Expired",
            Self::Cancelled => "Cancelled",
            Self::Waiting => "Waiting",
            Self::OldestOpen => "OldestOpen",
            Self::Throttled => "Throttled",
            Self::ClaimConflict => "ClaimConflict",
            Self::DeadLettered => "DeadLettered",
            Self::EventsDropped => "EventsDropped",
            Self::BotOutage => "BotOutage",
            Self::TenantRefusal => "TenantRefusal",
            Self::EventAccepted => "EventAccepted",
            Self::EventRefused => "EventRefused",
            Self::EventUnmatched => "EventUnmatched",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::OldestOpen => "Seconds",
            _ => "Count",
        }
    }
}

/// Set by Lambda's advanced logging controls.
const LEVEL: &str = "AWS_LAMBDA_LOG_LEVEL";

/// The crates that log below `WARN`. What libraries log there may hold whole requests, with texts and tokens; it is dropped
/// here, at run time, whatever the level.
const OURS: [&str; 7] = [
    "herald",
    "botframework",
    "events",
    "messages",
    "notify",
    "planner",
    "sender",
];

/// The spans of invocations, with their request ids.
const INVOCATIONS: &str = "lambda_runtime::layers::trace";

/// Starts logging at the level of `AWS_LAMBDA_LOG_LEVEL` (`TRACE` … `ERROR`; `INFO` if unset or unknown). Libraries log from
/// `WARN` on, whatever the level.
pub fn start(environment: &Environment<'_>) {
    let level = match environment.optional(LEVEL).as_deref() {
        Some("TRACE") => LevelFilter::TRACE,
        Some("DEBUG") => LevelFilter::DEBUG,
        Some("WARN") => LevelFilter::WARN,
        Some("ERROR" | "FATAL") => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    };
    let lines = log_lines(std::io::stdout).with_filter(filter(level));
    let function = environment.optional(FUNCTION_NAME);
    let metrics = MetricLines {
        function: function.unwrap_or_else(|| "unknown".to_owned()),
    };
    let metrics = metrics.with_filter(Targets::new().with_target(METRICS, LevelFilter::INFO));
    // A second start in one process (tests) keeps the first subscriber.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines).with(metrics));
    count(Metric::ColdStart);
}

/// Writes log lines.
fn log_lines<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(true)
        .with_target(false)
        .with_timer(Time(Clock::system()))
        .with_writer(writer)
}

/// Counts one occurrence.
pub fn count(metric: Metric) {
    record(metric, 1);
}

/// Records a value, or so many occurrences. Zero is not recorded.
pub fn record(metric: Metric, value: u64) {
    if value > 0 {
        tracing::info!(target: METRICS, metric = metric.name(), unit = metric.unit(), value);
    }
}

/// Counts how deliveries ended.
pub fn count_outcomes(counts: &OutcomeCounts) {
    record(Metric::Delivered, counts.delivered);
    record(Metric::Rejected, counts.rejected);
    record(Metric::Gone, counts.gone);
    record(Metric::Unknown, counts.unknown);
    record(Metric::Skipped, counts.skipped);
    record(Metric::Expired, counts.expired);
    record(Metric::Cancelled, counts.cancelled);
}

/// Writes metrics in `CloudWatch`'s embedded metric format.
struct MetricLines {
    function: String,
}

impl<S: Subscriber> Layer<S> for MetricLines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut fields = MetricFields::default();
        event.record(&mut fields);
        let line = metric_line(&fields, &self.function, Clock::system().now().as_millisecond());
        // Nothing can be reported when standard output is closed.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

/// The fields of an event that becomes a metric.
#[derive(Default)]
struct MetricFields {
    metric: String,
    unit: String,
    value: u64,
}

impl Visit for MetricFields {
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "metric" => value.clone_into(&mut self.metric),
            "unit" => value.clone_into(&mut self.unit),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "value" {
            self.value = value;
        }
    }
}

fn metric_line(fields: &MetricFields, function: &str, milliseconds: i64) -> Value {
    let MetricFields { metric, unit, value } = fields;
    json!({
        "_aws": {
            "Timestamp": milliseconds,
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["FunctionName"]],
                "Metrics": [{"Name": metric, "Unit": unit}],
            }],
        },
        "FunctionName": function,
        metric.as_str(): value,
    })
}

fn filter(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OURS.map(|ours| (ours, level)))
        .with_target(INVOCATIONS, LevelFilter::INFO)
        .with_target(METRICS, LevelFilter::OFF)
}

/// Lambda reads a line's level only if the line has a timestamp, and takes it for `INFO` otherwise.
struct Time(Clock);

impl FormatTime for Time {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.3}", self.0.now())
    }
}

/// The exit code of a function's process. It logs the error, so that `main` does not print it in a format of its own.
pub fn exit_code(outcome: Result<(), Box<dyn std::error::Error + Send + Sync>>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error_type = "CannotRun", error = %chain(&*error), "the function exits");
            ExitCode::FAILURE
        }
    }
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        line.push_str(": ");
        line.push_str(&next.to_string());
        cause = next.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{Instrument, Level};

    use super::*;
    use crate::queue::batch;

    #[tokio::test]
    async fn a_line_names_the_invocation_the_message_and_the_notification_that_it_is_about() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let lines = log_lines({
            let written = Arc::clone(&written);
            move || Lines(Arc::clone(&written))
        });
        let filtered = lines.with_filter(filter(LevelFilter::INFO));
        let _recording = tracing::subscriber::set_default(tracing_subscriber::registry().with(filtered));
        let id = crate::id::NotificationId::fresh(jiff::Timestamp::UNIX_EPOCH, [7; 16]);
        let message = batch::Received {
            id: "m-1".to_owned(),
            body: "1".to_owned(),
            receipt: batch::Receipt::default(),
            sender: None,
        };
        let invocation = tracing::info_span!(target: INVOCATIONS, "invoke", requestId = "r-1");
        let handled = batch::handle_each(vec![message], async |_: u8, _| {
            batch::trace_notification(&id);
            tracing::info!("done");
            Ok(())
        });
        handled.instrument(invocation).await;
        let written = written.lock().unwrap();
        let line: Value = serde_json::from_slice(&written).unwrap();
        let spans = line["spans"].as_array().unwrap();
        assert_eq!((&line["message"], spans.len()), (&json!("done"), 2), "{line}");
        assert_eq!(spans[0]["requestId"], "r-1");
        assert_eq!(
            (&spans[1]["id"], &spans[1]["notification"]),
            (&json!("m-1"), &json!(id.as_str()))
        );
    }

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_metric_is_one_line_in_cloudwatchs_embedded_format_with_one_dimension() {
        let fields = MetricFields {
            metric: Metric::BotOutage.name().to_owned(),
            unit: Metric::BotOutage.unit().to_owned(),
            value: 1,
        };
        let line = metric_line(&fields, "sender", 1_800_000_000_000).to_string();
        assert!(!line.contains('\n'));
        let line: Value = serde_json::from_str(&line).unwrap();
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Herald");
        assert_eq!(directive["Dimensions"], json!([["FunctionName"]]));
        assert_eq!(directive["Metrics"][0]["Name"], "BotOutage");
        assert_eq!(
            (&line["FunctionName"], &line["BotOutage"]),
            (&json!("sender"), &json!(1))
        );
        assert_eq!(line["_aws"]["Timestamp"], 1_800_000_000_000_i64);
    }

    #[test]
    fn a_low_level_shows_our_own_lines_and_only_warnings_of_libraries() {
        let filter = filter(LevelFilter::TRACE);
        for ours in ["herald::store", "botframework::connector", "sender"] {
            assert!(filter.would_enable(ours, &Level::TRACE), "{ours}");
        }
        for library in [
            "aws_smithy_runtime::client",
            "aws_sdk_sqs",
            "hyper::client",
            "reqwest",
            "rustls",
        ] {
            assert!(filter.would_enable(library, &Level::WARN), "{library}");
            assert!(!filter.would_enable(library, &Level::INFO), "{library}");
        }
        assert!(!super::filter(LevelFilter::ERROR).would_enable("rustls", &Level::WARN));
        assert!(
            !filter.would_enable(METRICS, &Level::INFO),
            "metrics are lines of their own"
        );
    }
}
