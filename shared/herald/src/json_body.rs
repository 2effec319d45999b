//! Reads the JSON body of an API request, and says in plain words why a body cannot be read.

use std::collections::HashSet;
use std::fmt;

use botframework::lossless::LosslessJson;
use http::StatusCode;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::problem::{Faults, Problem, pointer};

/// The start of files that Windows tools write.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The document in a body. A byte order mark before it is ignored.
///
/// # Errors
/// A 400 for what is no JSON, and for objects that name a member twice: which of the two is meant cannot be known.
pub fn parse(body: &[u8]) -> Result<LosslessJson, Problem> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "The body is empty. It must be JSON.",
        ));
    }
    let document = LosslessJson::from_slice(body).map_err(|error| unreadable(&error))?;
    let mut faults = Faults::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    // It was read once, so it is JSON. The reading ends at a number that no type holds.
    let _ = DuplicateMembers {
        at: "#",
        faults: &mut faults,
    }
    .deserialize(&mut json);
    faults.none_in(Some(document)).map_err(Problem::invalid)
}

fn unreadable(error: &serde_json::Error) -> Problem {
    let place = format!("line {}, column {}", error.line(), error.column());
    let detail = if error.to_string().starts_with("recursion limit exceeded") {
        format!("The body is nested too deep: at most 127 levels, see {place}.")
    } else if error.is_eof() {
        format!("The body is not JSON: it ends too early, at {place}.")
    } else {
        format!("The body is not JSON: see {place}.")
    };
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// Notes the members that an object has twice, in a whole document.
struct DuplicateMembers<'f> {
    at: &'f str,
    faults: &'f mut Faults,
}

impl<'de> DeserializeSeed<'de> for DuplicateMembers<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DuplicateMembers<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let at = pointer(self.at, &name);
            map.next_value_seed(DuplicateMembers {
                at: &at,
                faults: self.faults,
            })?;
            if !seen.insert(name) {
                self.faults
                    .note(at, "is given twice; an object names each member once");
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let mut index = 0_usize;
        loop {
            let at = format!("{}/{index}", self.at);
            let next = DuplicateMembers {
                at: &at,
                faults: self.faults,
            };
            if sequence.next_element_seed(next)?.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        de::Deserialize::deserialize(deserializer).map(|IgnoredAny| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(body: &str) -> String {
        parse(body.as_bytes()).unwrap_err().detail
    }

    #[test]
    fn a_document_is_read_whatever_its_numbers_are() {
        let body = "\u{feff} {\"a\": [1, -2, 1.10, 123456789012345678901234567890, null, true, \"x\", {}]}";
        assert!(
            parse(body.as_bytes())
                .unwrap()
                .to_string()
                .contains("1.10,123456789012345678901234567890")
        );
        assert_eq!(
            parse(b"{\"a\": [1, 1.5, null]}").unwrap().value,
            json!({"a": [1, 1.5, null]})
        );
        assert_eq!(parse("\u{feff}[]".as_bytes()).unwrap().value, json!([]));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for body in ["", " \n", "\u{feff}"] {
            assert!(said(body).starts_with("The body is empty"), "{body:?}");
        }
        assert!(said(&"[".repeat(200)).contains("nested too deep"));
        assert!(said("{\"a\":").contains("ends too early"));
        assert!(said("{\n\"a\": secret}").contains("line 2") && !said("{\"a\": secret}").contains("secret"));
        assert!(said("{} {}").starts_with("The body is not JSON"));
    }

    #[test]
    fn a_member_that_is_given_twice_is_refused_wherever_it_is() {
        let pointers = |body: &str| -> Vec<String> {
            let errors = parse(body.as_bytes()).unwrap_err().errors;
            errors.into_iter().map(|fault| fault.pointer).collect()
        };
        assert_eq!(
            pointers(r#"{"a": 1, "b": {"c": [0, {"d/e": 1, "d/e": 1}]}, "a": 2}"#),
            ["#/b/c/1/d~1e", "#/a"]
        );
        // The same name, written in two ways.
        assert_eq!(pointers("{\"a\": 1, \"\\u0061\": 1}"), ["#/a"]);
        assert_eq!(
            pointers(&format!("[{}]", vec![r#"{"x":1,"x":1}"#; 50].join(","))).len(),
            Faults::MAX
        );
        assert!(parse(br#"{"a": {"x": 1}, "b": {"x": 1}}"#).is_ok());
    }
}
