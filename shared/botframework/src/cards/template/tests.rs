mod fuzz;

use serde_json::{Value, json};

use super::number::float_text;
use super::signature::Function;
use super::*;

fn rendered(template: impl Into<Value>, data: &Value) -> Value {
    parsed(template).render(data).unwrap()
}

fn parsed(template: impl Into<Value>) -> Template {
    Template::parse(&template.into()).unwrap()
}

/// What is wrong with a template, as it is shown.
fn refusals(template: impl Into<Value>) -> Vec<String> {
    let errors = Template::parse(&template.into()).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

/// Why an expression is refused, and where in the string `${…}`.
fn refusal(expression: &str) -> String {
    let refusals = refusals(json!(format!("${{{expression}}}")));
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals[0]
        .strip_prefix("the template, character ")
        .unwrap()
        .to_owned()
}

#[test]
fn an_error_names_pointer_and_character() {
    let template =
        json!({"body": [{"a/b~c": "ok"}, {"a/b~c": "é ${title} ${nope(1)}", "$when": "${1 +}"}], "x": "${"});
    assert_eq!(
        refusals(template),
        [
            "/body/1/$when, character 5: expected a value, found the end",
            "/body/1/a~1b~0c, character 13: there is no function `nope`",
            "/x, character 0: `${` is not closed; `\\${` is text",
        ]
    );
    let error = Template::parse(&json!({"t": "${nope()}"})).unwrap_err().remove(0);
    assert_eq!((error.pointer.as_str(), error.position), ("/t", 2));
    assert_eq!(error.kind, TemplateErrorKind::UnknownFunction("nope".to_owned()));
}

#[test]
fn what_the_language_does_not_have_is_refused_by_its_name() {
    for (expression, expected) in [
        ("", "2: the expression is empty"),
        ("a b", "4: expected an operator, found `b`"),
        ("a +", "5: expected a value, found the end"),
        ("(a", "4: expected `)`, found the end"),
        ("a[1", "5: expected `]`, found the end"),
        ("a.", "4: expected the name of a property, found the end"),
        ("f(a", "2: there is no function `f`"),
        ("if(a", "6: expected `,` or `)`, found the end"),
        ("a.b(1)", "2: there is no function `a.b`"),
        (
            "(a)(1)",
            "2: expected the name of a function, found a call of a value",
        ),
        ("a ? b", "7: expected `:` and the other value, found the end"),
        ("5 %2", "4: expected a space after the operator `%`, found `%2`"),
        ("#a", "2: a name with `#`, `#a`, cannot be used in a template"),
        ("a ; b", "4: expected an expression, found `;`"),
        ("'a", "0: `${` is not closed; `\\${` is text"),
        (
            "`a`",
            "2: a text with expressions, `` `…` ``, cannot be used in a template",
        ),
        ("{a: 1}", "2: an object, `{…}`, cannot be used in a template"),
        (
            "formatDateTime(a, 'dd o''clock')",
            "26: expected `,` or `)`, found a text",
        ),
        ("a\nb", "0: `${` is not closed; `\\${` is text"),
    ] {
        assert_eq!(refusal(expression), expected, "{expression}");
    }
    let digits = "9".repeat(400);
    assert!(refusal(&digits).contains("expected a number below 1.8e308"));
}

#[test]
fn names_and_arguments_that_do_not_fit_are_refused() {
    for (expression, expected) in [
        (
            "$host.a",
            "2: there is no `$host`; there are `$data`, `$root` and `$index`",
        ),
        ("length()", "2: `length` takes 1 arguments, and has 0"),
        ("toUpper('a', 'tr')", "2: `toUpper` takes 1 arguments, and has 2"),
        ("round(1, 2, 3)", "2: `round` takes 1 to 2 arguments, and has 3"),
        ("add(1)", "2: `add` takes 2 or more arguments, and has 1"),
        ("length(1)", "2: argument 1 of `length` has to be a string"),
        ("'a' - 1", "6: argument 1 of `-` has to be a number"),
        ("true + 1", "7: argument 1 of `+` has to be a number or a string"),
        (
            "where(a, 1, 2)",
            "11: expected the name of the variable, found `1`",
        ),
        (
            "formatDateTime(a, 'g')",
            "2: `g` cannot be used in a pattern for dates",
        ),
        (
            "formatDateTime(a, 'D', 'de')",
            "2: the locale `de` cannot be used here",
        ),
        (
            "formatNumber(a, 2, b)",
            "2: the locale that is not written in quotes cannot be used here",
        ),
        (
            "formatNumber(a, 2, 'xx-XX')",
            "2: the locale `xx-XX` cannot be used here",
        ),
    ] {
        assert_eq!(refusal(expression), expected, "{expression}");
    }
}

#[test]
fn the_first_errors_of_many_are_named() {
    let refusals = refusals(json!(["${a b} ".repeat(1000), "${c d}"]));
    assert_eq!(refusals.len(), MAX_ERRORS);
    assert_eq!(
        refusals[MAX_ERRORS - 1],
        "/0, character 137: expected an operator, found `b`"
    );
}

#[test]
fn conditions_and_inline_data_have_one_form() {
    for when in [
        json!(true),
        json!("yes"),
        json!("${a} and ${b}"),
        json!(null),
        json!({"a": 1}),
    ] {
        let refusals = refusals(json!({"body": [{"$when": when}]}));
        assert_eq!(refusals.len(), 1);
        assert!(
            refusals[0].starts_with("/body/0/$when, character 0: `$when` has to be"),
            "{refusals:?}"
        );
    }
    let inline = json!({"$data": [{"name": "${title}"}]});
    assert_eq!(
        refusals(inline),
        ["/$data/0/name, character 0: an expression in an inline `$data` cannot be used in a template"]
    );
}

#[test]
fn data_never_becomes_structure() {
    let data = json!({
        "text": "${secret} {\"$data\": 1} \"}",
        "secret": "s",
        "member": {"$when": "${false}", "$data": [1, 2], "text": "${secret}"},
        "list": ["${secret}", {"$data": []}],
    });
    let card = rendered(
        json!({"lone": "${text}", "inner": "a ${text}", "member": "${member}", "list": ["${list}"], "json": "${json('\"${secret}\"')}"}),
        &data,
    );
    assert_eq!(card["lone"], data["text"]);
    assert_eq!(
        card["inner"],
        json!(format!("a {}", data["text"].as_str().unwrap()))
    );
    assert_eq!(card["member"], data["member"]);
    assert_eq!(card["list"], data["list"]);
    assert_eq!(card["json"], json!("${secret}"));
}

#[test]
fn names_are_found_in_any_case_the_same_case_first() {
    let data = json!({"NAME": 1, "Name": 2, "name": 3, "Größe": 4});
    assert_eq!(
        rendered(
            json!("${Name} ${name} ${nAmE} ${$data['GRÖSSE']} ${$data['größe']}"),
            &data
        ),
        "2 3 1 ${$data['GRÖSSE']} 4"
    );
}

#[test]
fn a_value_keeps_its_type_and_its_digits() {
    let data = json!({"id": 9_007_199_254_740_993_u64, "max": u64::MAX, "min": i64::MIN, "price": 1.0});
    assert_eq!(rendered(json!("${id}"), &data), data["id"]);
    assert_eq!(
        rendered(json!("${id} ${max} ${min} ${price}"), &data),
        "9007199254740993 18446744073709551615 -9223372036854775808 1"
    );
    assert_eq!(
        rendered(json!("${id == 9007199254740993}"), &json!({"id": 1})),
        json!(false)
    );
}

#[test]
fn numbers_have_the_texts_of_javascript() {
    for (number, text) in [
        (0.0, "0"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (-1.5, "-1.5"),
        (0.1 + 0.2, "0.30000000000000004"),
        (123_456_789_012_345_680_000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (-1.5e300, "-1.5e+300"),
        (0.000_001, "0.000001"),
        (0.000_000_15, "1.5e-7"),
        (5e-324, "5e-324"),
        (8_000_000_000_000_013.0 / 4.0, "2000000000000003.2"),
    ] {
        assert_eq!(float_text(number), text);
    }
}

#[test]
fn variables_of_iterations_hide_names_of_the_data_and_nest() {
    let data = json!({"x": "outer", "rows": [{"cells": [1, 2]}, {"cells": [3]}]});
    let template = json!([
        "${join(select(rows, x, join(select(x.cells, y, y * 10 + count(x.cells)), '+')), ' ')} ${x}",
        "${select(rows, row => select(row.cells, row => row))}",
    ]);
    assert_eq!(rendered(template, &data), json!(["12+22 31 outer", [1, 2], [3]]));
}

#[test]
fn a_card_is_parsed_once_and_rendered_for_each_recipient() {
    let template = parsed(json!({"text": "Hello ${name}"}));
    for name in ["Ada", "Bo"] {
        let card = template.clone().render(&json!({"name": name})).unwrap();
        assert_eq!(card, json!({"text": format!("Hello {name}")}));
    }
}

#[test]
fn each_function_has_a_name_of_its_own() {
    let mut names: Vec<_> = Function::names().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn every_function_is_in_the_documentation() {
    let documentation = include_str!("mod.rs");
    for name in Function::names() {
        let is_listed = [format!("`{name}`"), format!("`{name}("), format!("`{name}` ")]
            .iter()
            .any(|form| documentation.contains(form.as_str()));
        assert!(is_listed || name.starts_with(['&', '|']), "{name}");
    }
}

#[test]
fn the_size_of_a_card_is_bounded() {
    let rows: Vec<u32> = (0..2000).collect();
    let row = json!({"$data": "${$root}", "text": "${$index}"});
    let nested = json!([{"$data": "${$root}", "items": [row]}]);
    assert_eq!(parsed(nested).render(&json!(rows)), Err(RenderError::TooLarge));

    let long = json!({"text": "x".repeat(2000)});
    let copies: Vec<Value> = (0..600).map(|_| json!("${$root}")).collect();
    assert_eq!(parsed(json!(copies)).render(&long), Err(RenderError::TooLarge));
    let fits: Vec<Value> = (0..400).map(|_| json!("${$root}")).collect();
    assert_eq!(
        parsed(json!(fits))
            .render(&long)
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        400
    );
}

#[test]
fn the_work_for_a_card_is_bounded() {
    let rows: Vec<u32> = (0..1000).collect();
    let loops = json!("${count(where($root, a, any($root, b, any($root, c, c == 1000))))}");
    assert_eq!(parsed(loops).render(&json!(rows)), Err(RenderError::TooMuchWork));

    let searched = json!("${count(where($root, a, contains($root, -1)))}");
    let rows: Vec<u32> = (0..3000).collect();
    assert_eq!(
        parsed(searched).render(&json!(rows)),
        Err(RenderError::TooMuchWork)
    );

    // Each step makes the text a thousand times as long.
    let long = json!("a".repeat(1000));
    let text = json!("${length(replace(replace($root, 'a', $root), 'a', replace($root, 'a', $root)))}");
    assert_eq!(parsed(text).render(&long), Err(RenderError::TooMuchWork));

    let joined = json!("${length(join(split($root, ''), replace($root, 'a', $root)))}");
    assert_eq!(parsed(joined).render(&long), Err(RenderError::TooMuchWork));
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize, value: Value| (0..levels).fold(value, |value, _| json!({ "a": value }));
    assert!(Template::parse(&nested(MAX_DEPTH, json!("${x}"))).is_ok());
    let refusals = refusals(nested(MAX_DEPTH + 1, json!("${x}")));
    assert!(refusals[0].ends_with("it is nested too deeply"), "{refusals:?}");

    let template = parsed(nested(60, json!("${x}")));
    assert!(template.render(&json!({"x": nested(40, json!(1))})).is_ok());
    assert_eq!(
        template.render(&json!({"x": nested(41, json!(1))})),
        Err(RenderError::TooDeep)
    );

    for expression in [
        format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        "!".repeat(10_000) + "a",
        "1".to_owned() + &" + 1".repeat(10_000),
        "a".to_owned() + &".a".repeat(10_000),
        "a[".repeat(10_000),
        "[".repeat(10_000),
        "if(".repeat(10_000),
        "a ? b : ".repeat(10_000),
        "where(a, x, ".repeat(10_000),
        "1 ^ ".repeat(10_000),
    ] {
        assert!(refusal(&expression).ends_with("it is nested too deeply"));
    }
    let deep = format!(
        "{}1{}",
        "(".repeat(MAX_EXPRESSION_DEPTH - 1),
        ")".repeat(MAX_EXPRESSION_DEPTH - 1)
    );
    assert_eq!(rendered(json!(format!("${{{deep}}}")), &json!(null)), json!(1));
}

#[test]
fn what_stops_a_rendering_is_told_with_its_bound() {
    assert_eq!(
        RenderError::TooLarge.to_string(),
        "the result has more than 1048576 bytes"
    );
    assert_eq!(
        RenderError::TooDeep.to_string(),
        "the result has more than 100 levels of arrays and objects"
    );
    assert_eq!(
        RenderError::TooMuchWork.to_string(),
        "the expressions take more than 1048576 steps"
    );
}

#[test]
fn what_is_left_as_text_is_named_with_its_place_and_once() {
    let template = Template::parse(&json!({"body": [
        {"$data": "${items}", "text": "${name}: ${price}"},
        {"text": "${nobody.home}"},
        {"text": "${known}", "$when": "${missing}"},
    ]}))
    .unwrap();
    let data = json!({"items": [{"name": "a"}, {"name": "b"}], "known": 1});
    let (rendered, unresolved) = template.render_with_unresolved(&data).unwrap();
    assert_eq!(rendered, template.render(&data).unwrap());
    let unresolved: Vec<_> = unresolved
        .into_iter()
        .map(|it| (it.pointer, it.expression))
        .collect();
    let expected = [("/body/0/text", "${price}"), ("/body/1/text", "${nobody.home}")];
    assert_eq!(
        unresolved,
        expected.map(|(at, text)| (at.to_owned(), text.to_owned()))
    );
}

#[test]
fn only_what_stands_for_an_expression_is_escaped() {
    let text = |template: &str| {
        let template = Template::parse(&json!(template)).unwrap();
        let data = json!({"name": "R&D", "list": ["<", 1]});
        template.render_text(&data, |text| text.replace('&', "&amp;").replace('<', "&lt;"))
    };
    assert_eq!(
        text("<b>${name}</b> & ${list}").unwrap().unwrap(),
        "<b>R&amp;D</b> & &lt;,1"
    );
    assert_eq!(text("${name}").unwrap().unwrap(), "R&amp;D");
    assert_eq!(text("<b>").unwrap().unwrap(), "<b>");
    assert_eq!(
        text("${if(name == 'R&D', 'a&b', '')}${x}").unwrap().unwrap(),
        "a&amp;b${x}"
    );
    let object = Template::parse(&json!({"text": "${name}"})).unwrap();
    assert_eq!(object.render_text(&json!({}), str::to_owned), Ok(None));
}

#[test]
fn the_names_that_a_template_may_read_are_known_before() {
    let may_read = |template: &str| {
        Template::parse(&json!({"body": [{"text": template}]}))
            .unwrap()
            .may_read(&["recipient"])
    };
    for template in [
        "${recipient.name}",
        "${if(a, Recipient.name, b)}",
        "${$root.recipient}",
        "${$root['recip' + 'ient']}",
        "${json($root)}",
        "${$data}",
        "${select(a, x, recipient)}",
        "${a[recipient.x]}",
        "${first(recipient).y}",
    ] {
        assert!(may_read(template), "{template}");
    }
    for template in [
        "plain",
        "${a.recipient}",
        "${select(a, recipient, recipient.x)}",
        "${a[0]}",
        "${$root.a}",
        "${'recipient'}",
    ] {
        assert!(!may_read(template), "{template}");
    }
    let nested = json!({"$data": "${recipient.list}", "$when": "${a}", "b": 1});
    assert!(Template::parse(&nested).unwrap().may_read(&["recipient"]));
    let nested = json!({"$data": [1], "$when": "${recipient.a}"});
    assert!(Template::parse(&nested).unwrap().may_read(&["recipient"]));
}
