//! The bill of counted requests at list price, as benches print it.

#![allow(clippy::print_stdout, reason = "a bench is read on the terminal")]
#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::time::Duration;

use herald::cost::{PRICES, Usage};

use crate::counter::Counts;

/// The memory of every function.
const GIGABYTES: f64 = 0.25;

/// A bill that is printed line by line.
#[derive(Debug)]
pub struct Bill {
    factor: f64,
    sum: Usage,
}

impl Bill {
    /// Begins a bill for this many times what is counted.
    pub fn new(factor: f64) -> Self {
        println!(
            "  {:<52} {:>10} {:>9} {:>9} {:>8}",
            "", "requests", "RRU", "WRU", "USD"
        );
        Self {
            factor,
            sum: Usage::default(),
        }
    }

    /// A line for each kind of request to the tables.
    pub fn tables(&mut self, step: &str, counts: &Counts) {
        for (name, count) in counts {
            let usage = Usage {
                read_units: count.read_units,
                write_units: count.write_units,
                ..Usage::default()
            };
            self.line(&format!("{step}: {name}"), count.requests, usage);
        }
    }

    /// Requests to queues.
    pub fn queue(&mut self, step: &str, requests: u64) {
        let usage = Usage {
            queue_requests: requests as f64,
            ..Usage::default()
        };
        self.line(&format!("{step}: SQS"), requests, usage);
    }

    /// Time of functions.
    pub fn lambda(&mut self, step: &str, awake: Duration, invocations: u64) {
        let usage = Usage {
            gigabyte_seconds: awake.as_secs_f64() * GIGABYTES,
            invocations: invocations as f64,
            ..Usage::default()
        };
        self.line(&format!("{step}: Lambda"), invocations, usage);
    }

    /// Events on `EventBridge`.
    pub fn events(&mut self, step: &str, events: u64) {
        let usage = Usage {
            events: events as f64,
            ..Usage::default()
        };
        self.line(&format!("{step}: EventBridge"), events, usage);
    }

    fn line(&mut self, name: &str, requests: u64, usage: Usage) {
        let usage = Usage::default().plus(usage, self.factor);
        println!(
            "  {name:<52} {:>10.0} {:>9.0} {:>9.0} {:>8.4}",
            requests as f64 * self.factor,
            usage.read_units,
            usage.write_units,
            usage.dollars(&PRICES)
        );
        self.sum = self.sum.plus(usage, 1.0);
    }

    /// Prints the sum in US dollars beside its budget, and returns it.
    pub fn total(&self, budget: f64) -> f64 {
        let dollars = self.sum.dollars(&PRICES);
        println!(
            "  {:<52} {:>10} {:>9.0} {:>9.0} {dollars:>8.4}   budget {budget:.2} {}",
            "sum",
            "",
            self.sum.read_units,
            self.sum.write_units,
            if dollars <= budget { "ok" } else { "MISSED" }
        );
        dollars
    }
}

/// How many requests were counted.
pub fn requests(counts: &Counts) -> u64 {
    counts.values().map(|count| count.requests).sum()
}
