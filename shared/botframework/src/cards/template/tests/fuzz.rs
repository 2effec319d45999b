//! Any template and any data: refused or rendered.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::super::Template;
use super::super::signature::Function;
use super::rendered;

/// Pieces of expressions, so that many of those that are put together are right.
const PIECES: &[&str] = &[
    "a",
    "b.c",
    "$data",
    "$root",
    "$index",
    "x",
    "items",
    "1",
    "0",
    "2.5",
    "99999999999999999999",
    "'t'",
    "\"é😀\"",
    "''",
    "true",
    "null",
    "undefined",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    "?",
    ":",
    "=>",
    " ",
    "+",
    "-",
    "*",
    "/",
    " % ",
    "^",
    "&",
    "&&",
    "||",
    "??",
    "!",
    "==",
    "!=",
    "<",
    ">=",
    "'",
    "\\",
    "\u{a0}",
    "{",
    "}",
    "${",
    "`",
];

fn expression() -> impl Strategy<Value = String> {
    let names: Vec<&'static str> = Function::names()
        .filter(|name| name.starts_with(char::is_alphabetic))
        .collect();
    let leaf = select(
        &[
            "a",
            "b.c",
            "items",
            "$index",
            "1",
            "-1",
            "0.5",
            "1e9",
            "'t'",
            "'é😀'",
            "'2026-12-01'",
            "'yyyy'",
            "$root",
            "null",
        ][..],
    )
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, move |inner| {
        let call = (select(names.clone()), vec(inner.clone(), 0..4));
        prop_oneof![
            4 => call.prop_map(|(name, arguments)| format!("{name}({})", arguments.join(", "))),
            1 => (inner.clone(), inner.clone()).prop_map(|(list, body)| format!("where({list}, x, {body})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(value, index)| format!("{value}[{index}]")),
            1 => (inner.clone(), select(&["+", "-", "*", "/", "^", "==", "<", "&", "??"][..]), inner)
                .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
        ]
    })
}

fn data() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((select(&["a", "b", "c", "B", "items", "é"][..]), inner), 0..4).prop_map(|members| {
                Value::Object(
                    members
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_refused_or_rendered(pieces in vec(select(PIECES), 0..12), data in data()) {
        let text = format!("t ${{{}}}", pieces.concat());
        for template in [json!(text), json!({"$data": text, "$when": text, "a": [text]})] {
            match Template::parse(&template) {
                Ok(template) => prop_assert!(template.render(&data).is_ok()),
                Err(errors) => prop_assert!(errors.iter().all(|error| error.position <= text.chars().count())),
            }
        }
    }

    #[test]
    fn any_expression_is_refused_or_rendered(expression in expression(), data in data()) {
        let lone = json!(format!("${{{expression}}}"));
        if let Ok(template) = Template::parse(&json!({"$data": lone, "items": [lone], "text": format!("t {}", lone.as_str().unwrap())})) {
            // What is rendered is JSON that can be read again.
            let card = template.render(&data);
            if let Ok(card) = card {
                let text = card.to_string();
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            }
        }
    }

    #[test]
    fn a_text_without_expressions_is_kept(text in ".{0,20}") {
        prop_assume!(!text.contains("${"));
        prop_assert_eq!(rendered(json!({"t": text}), &json!(null)), json!({"t": text}));
    }
}
