//! The variables of the functions, as the template names them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Template;

/// Where the value of a variable comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableSource {
    /// A parameter or a text: a setting.
    Setting,
    /// A resource of the stack, such as a table.
    Resource,
}

impl Template {
    /// The variables of all functions.
    pub fn variables(&self) -> BTreeMap<String, VariableSource> {
        let of_functions = self
            .resources
            .values()
            .filter_map(|resource| resource.get("Properties"));
        let defaults = Value::Object(self.function_defaults.clone());
        let variables = of_functions
            .chain([&defaults])
            .filter_map(|properties| properties.pointer("/Environment/Variables")?.as_object());
        variables
            .flatten()
            .map(|(name, value)| (name.clone(), self.source(value)))
            .collect()
    }

    fn source(&self, value: &Value) -> VariableSource {
        let is_parameter = |name: &str| self.parameters.contains_key(name);
        match value {
            Value::Object(intrinsic) => match intrinsic.get("Ref").and_then(Value::as_str) {
                Some(name) if is_parameter(name) => VariableSource::Setting,
                Some(_) | None => VariableSource::Resource,
            },
            _ => VariableSource::Setting,
        }
    }
}
