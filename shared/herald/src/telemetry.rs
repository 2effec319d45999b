//! Logs and metrics: one JSON object a line on standard output, where Lambda collects them.
//!
//! A failure is logged once, where it is handled, with a stable `error_type` that alarms filter on. A field's name ends in
//! its unit. Bodies, tokens, message texts and people's names are never logged.
//!
//! A metric is a line in `CloudWatch`'s embedded metric format. Its one dimension is the function, so that each metric is one
//! series: tenants and codes are in the log line beside it.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use crate::clock::Clock;
use crate::config::Environment;

/// The namespace of all metrics.
const NAMESPACE: &str = "Herald";

/// Set by Lambda.
const FUNCTION_NAME: &str = "AWS_LAMBDA_FUNCTION_NAME";

/// The name of the function, once logging has started. Without it no metric is written.
static FUNCTION: OnceLock<String> = OnceLock::new();

/// A metric that operators set alarms on. Each is a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The bot has no token, or the channel refuses it in every tenant: nothing is sent. Counted about once a minute while that
    /// lasts and deliveries are open.
    BotOutage,
    /// A tenant refuses the bot's token. Counted each time its circuit breaker opens.
    TenantRefusal,
    /// An upstream event was refused. Counted each time that its message is received.
    EventRefused,
    /// An upstream event that nothing takes: it was dropped.
    EventUnmatched,
}

impl Metric {
    const fn name(self) -> &'static str {
        match self {
            Self::BotOutage => "BotOutage",
            Self::TenantRefusal => "TenantRefusal",
            Self::EventRefused => "EventRefused",
            Self::EventUnmatched => "EventUnmatched",
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

/// Starts logging at the level of `AWS_LAMBDA_LOG_LEVEL` (`TRACE` … `ERROR`; `INFO` if unset or unknown). Libraries log from
/// `WARN` on, whatever the level.
pub fn start(environment: &Environment<'_>) {
    let name = environment.optional(FUNCTION_NAME);
    FUNCTION.get_or_init(|| name.unwrap_or_else(|| "unknown".to_owned()));
    let level = match environment.optional(LEVEL).as_deref() {
        Some("TRACE") => LevelFilter::TRACE,
        Some("DEBUG") => LevelFilter::DEBUG,
        Some("WARN") => LevelFilter::WARN,
        Some("ERROR" | "FATAL") => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    };
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_timer(Time(Clock::system()))
        .with_filter(filter(level));
    // A second start in one process (tests) keeps the first subscriber.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines));
}

/// Counts one occurrence.
pub fn count(metric: Metric) {
    if let Some(function) = FUNCTION.get() {
        let line = metric_line(metric, function, Clock::system().now().as_millisecond());
        // Nothing can be reported when standard output is closed.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

fn metric_line(metric: Metric, function: &str, milliseconds: i64) -> Value {
    let name = metric.name();
    json!({
        "_aws": {
            "Timestamp": milliseconds,
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["FunctionName"]],
                "Metrics": [{"Name": name, "Unit": "Count"}],
            }],
        },
        "FunctionName": function,
        name: 1,
    })
}

fn filter(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OURS.map(|ours| (ours, level)))
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
    use tracing::Level;

    use super::*;

    #[test]
    fn a_metric_is_one_line_in_cloudwatchs_embedded_format_with_one_dimension() {
        let line = metric_line(Metric::BotOutage, "sender", 1_800_000_000_000).to_string();
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
    }
}
