//! Log lines of one thread, recorded for a test.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, Once, PoisonError};

use herald::telemetry::Metric;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, Interest};
use tracing::{Event, Metadata, Subscriber};

/// The fields of a line.
pub type Line = BTreeMap<String, String>;

/// The lines that this thread logs while the recording lasts.
#[derive(Clone, Debug, Default)]
pub struct Logs(Arc<Mutex<Vec<Line>>>);

impl Logs {
    /// Starts a recording, which ends with the guard.
    pub fn record() -> (Self, DefaultGuard) {
        static SILENT: Once = Once::new();
        SILENT.call_once(|| drop(tracing::subscriber::set_global_default(Silent)));
        let logs = Self::default();
        let guard = tracing::subscriber::set_default(logs.clone());
        tracing::callsite::rebuild_interest_cache();
        (logs, guard)
    }

    /// The sum of a metric so far.
    pub fn metric(&self, metric: Metric) -> u64 {
        let lines = self.with("metric");
        let of_metric = lines.iter().filter(|line| line["metric"] == metric.name());
        of_metric.map(|line| line["value"].parse::<u64>().unwrap()).sum()
    }

    /// The lines so far that have this field.
    pub fn with(&self, field: &str) -> Vec<Line> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .filter(|line| line.contains_key(field))
            .cloned()
            .collect()
    }
}

impl Subscriber for Logs {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(Line::new());
        event.record(&mut fields);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fields.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The subscriber of threads that record nothing. It keeps every callsite on: without it, one that another thread registers
/// while a recording begins is off for good, and its lines are missing.
struct Silent;

impl Subscriber for Silent {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Fields(Line);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}
