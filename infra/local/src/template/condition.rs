//! Conditions: which resources exist with these parameters.

use serde_json::Value;

use super::{Error, intrinsic::Resolver};

impl Resolver<'_> {
    /// Whether a resource exists: without a condition always.
    pub(super) fn exists(&self, id: &str, resource: &Value) -> Result<bool, Error> {
        match resource.get("Condition").and_then(Value::as_str) {
            Some(name) => self.condition(id, name),
            None => Ok(true),
        }
    }

    pub(super) fn condition(&self, id: &str, name: &str) -> Result<bool, Error> {
        let condition = self
            .conditions
            .get(name)
            .ok_or_else(|| Error::invalid(id, format!("there is no condition {name}")))?;
        self.holds(id, condition)
    }

    fn holds(&self, id: &str, condition: &Value) -> Result<bool, Error> {
        let unsupported = || Error::unsupported(id, format!("the condition {condition}"));
        let mut entries = condition.as_object().ok_or_else(unsupported)?.iter();
        let (Some((name, argument)), None) = (entries.next(), entries.next()) else {
            return Err(unsupported());
        };
        match (name.as_str(), argument) {
            ("Condition", Value::String(name)) => self.condition(id, name),
            ("Fn::Not", Value::Array(one)) => match one.as_slice() {
                [condition] => Ok(!self.holds(id, condition)?),
                _ => Err(unsupported()),
            },
            ("Fn::And" | "Fn::Or", Value::Array(several)) => {
                let held = several.iter().map(|condition| self.holds(id, condition));
                let held: Vec<bool> = held.collect::<Result<_, _>>()?;
                Ok(if name == "Fn::And" {
                    held.iter().all(|held| *held)
                } else {
                    held.contains(&true)
                })
            }
            ("Fn::Equals", Value::Array(two)) => match two.as_slice() {
                [one, other] => Ok(self.compared(id, one)? == self.compared(id, other)?),
                _ => Err(unsupported()),
            },
            _ => Err(unsupported()),
        }
    }

    /// A value of `Fn::Equals`: also a list that is joined.
    fn compared(&self, id: &str, value: &Value) -> Result<Value, Error> {
        let Some(argument) = value.get("Fn::Join") else {
            return self.resolve(id, value);
        };
        let joined = argument
            .as_array()
            .and_then(|argument| match argument.as_slice() {
                [Value::String(separator), list] => Some((separator, list)),
                _ => None,
            });
        let (separator, list) =
            joined.ok_or_else(|| Error::unsupported(id, format!("Fn::Join {argument}")))?;
        let list = self.resolve(id, list)?;
        let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(Value::from(texts.collect::<Vec<_>>().join(separator)))
    }
}
