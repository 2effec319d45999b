//! Templates of cards beside the reference implementation.
//!
//! `fixtures.json` has templates with what the reference makes of them, and why it is something else here where it is.
//! `reference/compare` renders generated templates with the reference, which it installs from npm, and compares.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod generate;

use std::io::Write as _;
use std::process::{Command, Stdio};

use botframework::cards::template::Template;
use generate::Random;
use serde_json::{Value, json};

fn fixtures() -> Vec<Value> {
    serde_json::from_str(include_str!("fixtures.json")).unwrap()
}

/// What is made of a template, in the form of `evaluate.cjs`.
fn rendered(template: &Value, data: &Value) -> Value {
    match Template::parse(template) {
        Ok(template) => json!({"value": template.render(data).unwrap()}),
        Err(errors) => json!({"refused": errors.iter().map(ToString::to_string).collect::<Vec<_>>()}),
    }
}

#[test]
fn templates_render_as_the_reference_does_or_differ_for_a_reason() {
    let mut wrong = Vec::new();
    for fixture in fixtures() {
        let found = known(&rendered(&fixture["template"], &fixture["data"]));
        let reference = &fixture["reference"];
        let expected = match fixture.get("difference") {
            None => reference,
            Some(difference) => {
                assert!(
                    difference["reason"]
                        .as_str()
                        .is_some_and(|reason| !reason.is_empty())
                );
                assert_ne!(
                    &difference["here"], reference,
                    "no difference: {}",
                    fixture["template"]
                );
                &difference["here"]
            }
        };
        if !same(&found, expected) {
            wrong.push(format!(
                "{}\nfound    {found}\nexpected {expected}",
                fixture["template"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each text that an expression was left as becomes `${}`: the reference writes it in another form.
fn without_left_texts(value: &mut Value) {
    match value {
        Value::String(text) => *text = left_texts_emptied(text),
        Value::Array(items) => items.iter_mut().for_each(without_left_texts),
        Value::Object(members) => members.values_mut().for_each(without_left_texts),
        _ => {}
    }
}

fn left_texts_emptied(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, inner)) = rest.split_once("${") {
        result.push_str(before);
        result.push_str("${}");
        let mut quote = None;
        let mut escaped = false;
        let end = inner.char_indices().find(|(_, character)| {
            match (quote, character) {
                (Some(_), _) if escaped => escaped = false,
                (Some(_), '\\') => escaped = true,
                (Some(open), close) if open == *close => quote = None,
                (None, '\'' | '"') => quote = Some(*character),
                (None, '}') => return true,
                _ => {}
            }
            false
        });
        rest = end.map_or("", |(at, _)| &inner[at + 1..]);
    }
    result + rest
}

/// Whether two results are the same: numbers by value, and refusals whatever they say.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            // `serde_json` may read the last bit of a number in another way.
            let (left, right) = (left.as_f64().unwrap(), right.as_f64().unwrap());
            (left - right).abs() <= left.abs() * f64::EPSILON
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| {
                    right
                        .get(name)
                        .is_some_and(|right| name == "refused" || same(left, right))
                })
        }
        _ => left == right,
    }
}

fn cases(first_seed: u64, count: u64) -> Vec<(u64, Value, Value)> {
    let case = |seed| {
        let mut random = Random(seed);
        (seed, generate::template(&mut random), generate::data(&mut random))
    };
    (first_seed..first_seed + count).map(case).collect()
}

#[test]
fn generated_templates_are_rendered_and_the_same_each_time() {
    let mut refused = 0;
    let cases = cases(0, 500);
    for (seed, template, data) in &cases {
        let found = rendered(template, data);
        assert_eq!(found, rendered(template, data), "seed {seed}");
        refused += u32::from(found.get("refused").is_some());
    }
    assert!(
        refused < 250,
        "{refused} of 500 are refused: little is compared with the reference"
    );
}

/// Run by `reference/compare`: `TEMPLATE_REFERENCE` is the command that renders lines of templates.
#[test]
fn generated_templates_render_as_the_reference_does() {
    let Ok(reference) = std::env::var("TEMPLATE_REFERENCE") else {
        return;
    };
    let variable = |name: &str, default| std::env::var(name).ok().map_or(default, |it| it.parse().unwrap());
    let cases = cases(variable("SEED", 0), variable("TEMPLATES", 10_000));
    let fixtures = fixtures();
    let mut lines = Vec::new();
    for fixture in &fixtures {
        lines.push(json!({"template": fixture["template"], "data": fixture["data"]}).to_string());
    }
    for (_, template, data) in &cases {
        lines.push(json!({"template": template, "data": data}).to_string());
    }
    // The reference takes ten milliseconds for a template: as many processes as there are processors.
    let processes = std::thread::available_parallelism().unwrap().get();
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let chunks = lines.chunks(lines.len().div_ceil(processes));
        let threads: Vec<_> = chunks
            .map(|chunk| scope.spawn(|| answers(&reference, &chunk.join("\n"))))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(answers.len(), fixtures.len() + cases.len());

    for (fixture, answer) in fixtures.iter().zip(&answers) {
        assert!(
            same(&fixture["reference"], &known(&answer["plain"])),
            "{} is now {}",
            fixture,
            answer["plain"]
        );
    }
    compare(&cases, &answers[fixtures.len()..]);
}

/// What the command answers to the lines.
fn answers(command: &str, lines: &str) -> Vec<Value> {
    let mut words = command.split(' ');
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        // Dates without an offset and numbers are then read and written in one way on all machines.
        .envs([("TZ", "UTC"), ("LC_ALL", "en_US.UTF-8")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A result as a fixture has it: without the messages of a refusal.
fn known(result: &Value) -> Value {
    match result
        .as_object()
        .and_then(|result| result.keys().next())
        .map(String::as_str)
    {
        Some("value") => result.clone(),
        Some(other) => json!({other: true}),
        None => Value::Null,
    }
}

#[allow(clippy::print_stdout, reason = "how much was compared")]
fn compare(cases: &[(u64, Value, Value)], answers: &[Value]) {
    let (mut plain, mut refused, mut whole, mut failed, mut different) = (0, 0, 0, 0, Vec::new());
    for ((seed, template, data), answer) in cases.iter().zip(answers) {
        let mut found = rendered(template, data);
        plain += u32::from(same(&found, &answer["plain"]));
        refused += u32::from(found.get("refused").is_some());
        failed += u32::from(answer["plain"].get("failed").is_some());
        whole += u32::from(!found.to_string().contains("${"));
        without_left_texts(&mut found);
        if !same(&found, &answer["adjusted"]) {
            different.push(format!(
                "SEED={seed} {template}\n{data}\nhere      {found}\nreference {}",
                answer["adjusted"]
            ));
        }
    }
    println!(
        "{} templates: {} as the reference with the differences that are documented, {plain} as the reference itself, which throws \
         {failed} away; {refused} are refused by both, {whole} have no expression that is left as text",
        cases.len(),
        cases.len() - different.len(),
    );
    assert!(
        different.is_empty(),
        "{} differ:\n{}",
        different.len(),
        different[..different.len().min(5)].join("\n\n")
    );
}
