//! Prints the CPU of rendering a typical card for one recipient, beside a copy of the card by `serde_json`, and that of parsing it:
//! `cargo bench -p botframework --bench template`. Budget: 10 µs.

#![allow(clippy::print_stdout, reason = "a bench prints what it measures")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use botframework::cards::template::Template;
use serde_json::{Value, json};

/// A notification of a build: title, facts, a repeated list with a condition, and buttons.
fn card() -> Value {
    json!({
        "type": "AdaptiveCard", "version": "1.5", "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "body": [
            {"type": "TextBlock", "size": "large", "weight": "bolder", "wrap": true,
             "text": "${pipeline.name}: ${if(failed > 0, 'failed', 'passed')}"},
            {"type": "TextBlock", "isSubtle": true, "wrap": true, "text": "Hello ${recipient.name}, this is what happened."},
            {"type": "FactSet", "facts": [
                {"title": "Branch", "value": "${pipeline.branch}"},
                {"title": "Started", "value": "${formatDateTime(pipeline.started, 'd MMM yyyy HH:mm')}"},
                {"title": "Tests", "value": "${formatNumber(tests, 0)}"},
                {"title": "By", "value": "${coalesce(author, 'a schedule')}"},
            ]},
            {"type": "Container", "$when": "${failed > 0}", "items": [
                {"type": "TextBlock", "$data": "${failures}", "wrap": true, "text": "${$index + 1}. ${test} (${seconds} s)"},
            ]},
        ],
        "actions": [
            {"type": "Action.OpenUrl", "title": "Open", "url": "https://ci.example/${uriComponent(pipeline.name)}/${number}"},
            {"type": "Action.Execute", "title": "Run again", "verb": "run", "data": {"number": "${number}"}},
        ],
    })
}

fn data() -> Value {
    json!({
        "pipeline": {"name": "main build", "branch": "main", "started": "2026-12-01T09:30:00Z"},
        "number": 4711, "tests": 12_345, "failed": 2, "recipient": {"name": "Ada"},
        "failures": [{"test": "login", "seconds": 1.5}, {"test": "search", "seconds": 12}],
    })
}

/// The time of one call: the least of twenty measurements, each of a thousand calls.
fn measured<T>(mut work: impl FnMut() -> T) -> Duration {
    const CALLS: u32 = 1000;
    let once = || {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(work());
        }
        start.elapsed() / CALLS
    };
    std::iter::repeat_with(once).take(20).min().unwrap_or_default()
}

fn main() {
    let (card, data) = (card(), data());
    let template = match Template::parse(&card) {
        Ok(template) => template,
        Err(errors) => return println!("the card is refused: {errors:?}"),
    };
    let rendered = match template.render(&data) {
        Ok(rendered) => rendered,
        Err(error) => return println!("the card is not rendered: {error}"),
    };
    let copy = measured(|| black_box(&rendered).clone());
    let render = measured(|| template.render(black_box(&data)));
    let parse = measured(|| Template::parse(black_box(&card)));
    let times = render.as_secs_f64() / copy.as_secs_f64();
    println!("card of {} bytes", rendered.to_string().len());
    println!("render {render:.2?}, {times:.1} times a copy of the card ({copy:.2?}); budget 10 µs");
    println!("parse  {parse:.2?}, once");
}
