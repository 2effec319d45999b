use serde_json::json;

use super::super::Audience;
use super::*;

fn parsed(audience: &Value) -> Result<Audience, Vec<String>> {
    let mut faults = Faults::default();
    let audience = Audience::parse(audience, &mut faults);
    faults
        .none_in(audience)
        .map_err(|faults| faults.into_iter().map(|fault| fault.pointer).collect())
}

#[test]
fn rows_are_recipients_with_fields_and_the_first_of_a_recipient_counts() {
    let rows = json!([{"user": "ada", "n": 1}, {"user": "ben"}, {"user": "ada", "n": 2}]);
    let asked = json!({"rows": rows, "tenant": "t", "except": ["ben"]});
    assert_eq!(repeated_rows(&asked), 1);
    assert_eq!(repeated_rows(&json!([asked])), 1);
    assert_eq!(repeated_rows(&json!({"users": ["a", "a"]})), 0);
    let audience = parsed(&asked).unwrap();
    assert!(audience.has_rows());
    let shown = json!({"rows": [{"user": "ada", "n": 1}, {"user": "ben"}], "tenant": "t", "except": ["ben"]});
    assert_eq!(audience.to_request(), shown);
    assert_eq!(parsed(&shown).unwrap(), audience);
    let stored = serde_json::to_string(&audience).unwrap();
    assert_eq!(serde_json::from_str::<Audience>(&stored).unwrap(), audience);
}

#[test]
fn a_bad_row_is_named_by_its_place() {
    let rows = |rows: Value| json!({ "rows": rows });
    for (audience, pointer) in [
        (rows(json!([])), "#/audience/rows"),
        (rows(json!("rows_1")), "#/audience/rows"),
        (rows(json!([{"user": "a"}, 7])), "#/audience/rows/1"),
        (rows(json!([{"name": "a"}])), "#/audience/rows/0"),
        (rows(json!([{"user": "a", "account": "b"}])), "#/audience/rows/0"),
        (
            rows(json!([{"user": "a"}, {"account": "b"}])),
            "#/audience/rows/1",
        ),
        (rows(json!([{"user": 7}])), "#/audience/rows/0/user"),
        (rows(json!([{"user": ""}])), "#/audience/rows/0/user"),
        (
            rows(json!([{"user": "a", "recipient": 1}])),
            "#/audience/rows/0/recipient",
        ),
        (
            rows(json!([{"user": "a", "long": "x".repeat(ROW_BYTES_MAX)}])),
            "#/audience/rows/0",
        ),
        (rows(json!([{"conversation": "a:1"}])), ""),
        (
            json!([{"rows": [{"user": "a"}]}, {"everyone": true}]),
            "#/audience",
        ),
        (
            json!({"rows": [{"account": "a"}], "tenant": "t"}),
            "#/audience/tenant",
        ),
    ] {
        let found = parsed(&audience).err().unwrap_or_default();
        let expected: Vec<&str> = [pointer]
            .into_iter()
            .filter(|pointer| !pointer.is_empty())
            .collect();
        assert_eq!(found, expected, "{audience}");
    }
}
