//! Expressions: text, with the names and values it refers to.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::attribute::Item;

/// A condition or an update. Every name in it has a number sign, since `state`, `scope` and many more are reserved words.
#[derive(Clone)]
pub(super) struct Expression {
    pub(super) text: String,
    pub(super) names: HashMap<String, String>,
    values: Item,
}

impl Expression {
    /// An expression with these `#name`s and `:value`s.
    pub(super) fn new<'a>(
        text: impl Into<String>,
        names: impl IntoIterator<Item = &'a str>,
        values: impl IntoIterator<Item = (&'a str, AttributeValue)>,
    ) -> Self {
        let values = values.into_iter();
        Self {
            text: text.into(),
            names: self::names(names),
            values: values.map(|(name, value)| (format!(":{name}"), value)).collect(),
        }
    }

    /// There is no item.
    pub(super) fn absent(key: &str) -> Self {
        Self::new(format!("attribute_not_exists(#{key})"), [key], [])
    }

    /// There is an item.
    pub(super) fn present(key: &str) -> Self {
        Self::new(format!("attribute_exists(#{key})"), [key], [])
    }

    /// The attribute has this value.
    pub(super) fn equal(name: &str, value: AttributeValue) -> Self {
        Self::new(format!("#{name} = :{name}"), [name], [(name, value)])
    }

    /// Joins two conditions by `OR`.
    pub(super) fn or(self, other: Self) -> Self {
        self.join("OR", other)
    }

    /// Joins two conditions by `AND`.
    pub(super) fn and(self, other: Self) -> Self {
        self.join("AND", other)
    }

    /// With one more value.
    pub(super) fn value(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(format!(":{name}"), value);
        self
    }

    fn join(mut self, operator: &str, other: Self) -> Self {
        self.text = format!("{} {operator} {}", self.text, other.text);
        self.names.extend(other.names);
        self.values.extend(other.values);
        self
    }

    /// An update with the names and values of its condition, and the text of that.
    pub(super) fn with(mut self, condition: Option<Self>) -> (Self, Option<String>) {
        let condition = condition.map(|condition| {
            self.names.extend(condition.names);
            self.values.extend(condition.values);
            condition.text
        });
        (self, condition)
    }

    /// The values; DynamoDB refuses an empty map.
    pub(super) fn values(&self) -> Option<Item> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

/// `#name` for each name.
pub(super) fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> HashMap<String, String> {
    names
        .into_iter()
        .map(|name| (format!("#{name}"), name.to_owned()))
        .collect()
}
