//! What the role of a function grants: its own policies, and the managed policies of the template.

use serde_json::Value;

use super::{Error, Grant, intrinsic::Resolver};

impl Resolver<'_> {
    /// The grants of a function's role; none if the function has no role of the template.
    pub(super) fn grants(&self, function: &str, properties: &Value) -> Result<Option<Vec<Grant>>, Error> {
        let role = properties.pointer("/Role/Fn::GetAtt/0").and_then(Value::as_str);
        let Some(role) = role else {
            return Ok(None);
        };
        let part = |id: &str, pointer: &str| {
            let resource = self.resources.get(id)?;
            resource.pointer(&format!("/Properties/{pointer}")).cloned()
        };
        let mut documents = Vec::new();
        for policy in part(role, "Policies").iter().flat_map(listed) {
            documents.push(policy["PolicyDocument"].clone());
        }
        for managed in part(role, "ManagedPolicyArns").iter().flat_map(listed) {
            let Some(managed) = self.chosen(function, managed)? else {
                continue;
            };
            let policy = managed.get("Ref").and_then(Value::as_str).unwrap_or_default();
            let document = part(policy, "PolicyDocument");
            let unknown = || Error::unsupported(role, format!("the managed policy {managed}"));
            documents.push(document.ok_or_else(unknown)?);
        }
        let mut grants = Vec::new();
        for document in &documents {
            for statement in listed(&document["Statement"]) {
                if let Some(statement) = self.chosen(function, statement)? {
                    self.grant(role, &statement, &mut grants)?;
                }
            }
        }
        Ok(Some(grants))
    }

    fn grant(&self, role: &str, statement: &Value, grants: &mut Vec<Grant>) -> Result<(), Error> {
        if statement["Effect"] != "Allow" {
            return Err(Error::unsupported(role, "a statement that allows nothing"));
        }
        let leading_keys = statement.pointer("/Condition/ForAllValues:StringLike/dynamodb:LeadingKeys");
        let leading_keys = leading_keys.into_iter().flat_map(listed);
        let leading_keys: Vec<String> = leading_keys
            .map(|pattern| pattern.as_str().unwrap_or_default().to_owned())
            .collect();
        for resource in listed(&statement["Resource"]) {
            let resource = self.resolve(role, resource)?;
            for action in listed(&statement["Action"]) {
                grants.push(Grant {
                    action: action.as_str().unwrap_or_default().to_owned(),
                    resource: resource.as_str().unwrap_or_default().to_owned(),
                    leading_keys: leading_keys.clone(),
                });
            }
        }
        Ok(())
    }

    /// The branch of `Fn::If`, or the value itself; none for `AWS::NoValue`.
    fn chosen(&self, id: &str, value: &Value) -> Result<Option<Value>, Error> {
        let chosen = match value.get("Fn::If").and_then(Value::as_array).map(Vec::as_slice) {
            Some([Value::String(condition), yes, no]) => {
                if self.condition(id, condition)? {
                    yes
                } else {
                    no
                }
            }
            _ => value,
        };
        Ok((chosen.get("Ref").and_then(Value::as_str) != Some("AWS::NoValue")).then(|| chosen.clone()))
    }
}

/// The items of a list, or the one item.
fn listed(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        one => std::slice::from_ref(one),
    }
}
