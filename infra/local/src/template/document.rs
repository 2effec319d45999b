//! Converts YAML to JSON. CloudFormation's short forms (`!Ref X`) become long ones (`{"Ref": "X"}`).

use saphyr::{LoadableYamlNode, Scalar, Tag, Yaml};
use serde_json::{Map, Number, Value, json};

use super::Error;

/// Parses a YAML document as CloudFormation does.
///
/// # Errors
/// When the text is not YAML, has no or several documents, or a value that JSON does not have.
pub(super) fn parse(text: &str) -> Result<Value, Error> {
    let documents = Yaml::load_from_str(text).map_err(|error| Error::Yaml(error.to_string()))?;
    match documents.as_slice() {
        [document] => value(document),
        other => Err(Error::Yaml(format!(
            "expected one document, found {}",
            other.len()
        ))),
    }
}

fn value(node: &Yaml<'_>) -> Result<Value, Error> {
    match node {
        Yaml::Value(scalar) => Ok(match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(truth) => Value::Bool(*truth),
            Scalar::Integer(number) => Value::from(*number),
            Scalar::FloatingPoint(number) => Number::from_f64(number.into_inner())
                .map(Value::Number)
                .ok_or_else(|| Error::Yaml(format!("{number} is not a JSON number")))?,
            Scalar::String(text) => Value::from(text.as_ref()),
        }),
        Yaml::Sequence(items) => items
            .iter()
            .map(value)
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Yaml::Mapping(entries) => entries
            .iter()
            .map(|(key, entry)| Ok((text(key)?, value(entry)?)))
            .collect::<Result<Map<_, _>, Error>>()
            .map(Value::Object),
        Yaml::Tagged(tag, inner) => tagged(tag, value(inner)?),
        Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => {
            Err(Error::Yaml("a value that CloudFormation rejects".into()))
        }
    }
}

fn text(key: &Yaml<'_>) -> Result<String, Error> {
    match key {
        Yaml::Value(Scalar::String(text)) => Ok(text.to_string()),
        other => Err(Error::Yaml(format!("a key that is not a string: {other:?}"))),
    }
}

fn tagged(tag: &Tag, inner: Value) -> Result<Value, Error> {
    if tag.is_yaml_core_schema() {
        return Ok(inner);
    }
    match (tag.suffix.as_str(), inner) {
        (name @ ("Ref" | "Condition"), inner) => Ok(json!({ name: inner })),
        ("GetAtt", Value::String(path)) => match path.split_once('.') {
            Some((resource, attribute)) => Ok(json!({ "Fn::GetAtt": [resource, attribute] })),
            None => Err(Error::Yaml(format!("!GetAtt {path} names no attribute"))),
        },
        (name, inner) => Ok(json!({ format!("Fn::{name}"): inner })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_become_long_ones_at_any_depth() {
        let document =
            parse("a: [!Ref X, !GetAtt Y.Arn, {b: !Sub 'c-${X}'}]\nd: !GetAtt [Y, Arn]\n").unwrap();
        assert_eq!(
            document,
            json!({
                "a": [{"Ref": "X"}, {"Fn::GetAtt": ["Y", "Arn"]}, {"b": {"Fn::Sub": "c-${X}"}}],
                "d": {"Fn::GetAtt": ["Y", "Arn"]},
            })
        );
    }

    #[test]
    fn a_quoted_number_stays_text() {
        assert_eq!(
            parse("a: '2.0'\nb: 2\nc: 2010-09-09\n").unwrap(),
            json!({"a": "2.0", "b": 2, "c": "2010-09-09"})
        );
    }

    #[test]
    fn broken_yaml_is_an_error_that_says_where() {
        let error = parse("a: [1, 2\nb: 3").unwrap_err().to_string();
        assert!(error.contains("line"), "{error}");
    }
}
