//! Evaluates expressions.

use std::cell::RefCell;

use serde_json::Value as Json;

use super::budget::{Budget, Failure};
use super::error::UnresolvedExpression;
use super::expression::{Call, Expression, Iteration, Path, Root, Segment};
use super::functions;
use super::operand::{Operand, Outcome, equals, order};
use super::signature::Function;

/// What names mean at a place of the template.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) root: &'s Json,
    pub(super) data: &'s Json,
    /// The position of `data` in the array that repeats the element.
    pub(super) index: Option<usize>,
    pub(super) item: Option<&'s Item<'s>>,
    pub(super) budget: &'s Budget,
    /// Where expressions are noted that are left as text.
    pub(super) unresolved: Option<&'s RefCell<Vec<UnresolvedExpression>>>,
}

/// The variable of an iteration, and those of the iterations around it.
pub(super) struct Item<'s> {
    value: &'s Json,
    outer: Option<&'s Item<'s>>,
}

/// What an unknown path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// The expression has no value, and is left as text.
    Unresolved,
    /// No value. So it is in conditions.
    Undefined,
}

impl Expression {
    /// The value. Borrows it from the data where it can.
    pub(super) fn evaluate<'s>(&'s self, scope: &Scope<'s>, unknown: Unknown) -> Outcome<'s> {
        scope.budget.work(1)?;
        match self {
            Self::Constant(value) => Ok(Operand::Borrowed(value)),
            Self::Undefined => Ok(Operand::Undefined),
            Self::Path(path) => path.evaluate(scope, unknown),
            Self::Call(call) => call.evaluate(scope, unknown),
            Self::Iteration(iteration) => iteration.evaluate(scope, unknown),
        }
    }

    /// Whether a condition holds. One that fails does not.
    pub(super) fn holds(&self, scope: &Scope<'_>) -> Result<bool, Failure> {
        match self.evaluate(scope, Unknown::Undefined) {
            Ok(value) => Ok(value.is_true()),
            Err(Failure::Unresolved) => Ok(false),
            Err(bound) => Err(bound),
        }
    }
}

impl Path {
    fn evaluate<'s>(&'s self, scope: &Scope<'s>, unknown: Unknown) -> Outcome<'s> {
        let mut value = self.root(scope, unknown)?;
        // An index outside of its array is a failure at the end of a path, and nothing before a property.
        let mut properties = self.properties();
        for segment in &self.segments {
            if value.is_undefined() {
                break;
            }
            match segment {
                Segment::Property(name) => {
                    properties -= 1;
                    value = value.property(name, scope.budget)?;
                }
                Segment::Element(index) => {
                    let index = index.evaluate(scope, Unknown::Undefined)?;
                    value = element(value, &index, scope.budget).or_else(|failure| match failure {
                        Failure::Unresolved if properties > 0 => Ok(Operand::Undefined),
                        other => Err(other),
                    })?;
                }
            }
        }
        if value.is_undefined() && unknown == Unknown::Unresolved {
            return Err(Failure::Unresolved);
        }
        Ok(value)
    }

    fn properties(&self) -> usize {
        let is_property = |segment: &&Segment| matches!(segment, Segment::Property(_));
        self.segments.iter().filter(is_property).count()
    }

    fn root<'s>(&'s self, scope: &Scope<'s>, unknown: Unknown) -> Outcome<'s> {
        Ok(match &self.root {
            Root::Data => Operand::Borrowed(scope.data),
            Root::Template => Operand::Borrowed(scope.root),
            Root::Index => scope.index.map_or(Operand::Undefined, Operand::count),
            Root::Item(outwards) => {
                let mut item = scope.item;
                for _ in 0..*outwards {
                    item = item.and_then(|item| item.outer);
                }
                item.map_or(Operand::Undefined, |item| Operand::Borrowed(item.value))
            }
            Root::Result(expression) => expression.evaluate(scope, unknown)?,
        })
    }
}

/// `value[index]`: an item of an array by its number, or a property by its name.
fn element<'s>(value: Operand<'s>, index: &Operand<'_>, budget: &Budget) -> Outcome<'s> {
    match index.json() {
        Json::String(name) => value.property(name, budget),
        Json::Number(_) if value.is_null() => Ok(Operand::Undefined),
        Json::Number(number) => {
            let index = number.as_u64().or_else(|| whole(number.as_f64()));
            let index = index.and_then(|index| usize::try_from(index).ok());
            let index = index.ok_or(Failure::Unresolved)?;
            if index < value.as_array()?.len() {
                Ok(value.item(index))
            } else {
                Err(Failure::Unresolved)
            }
        }
        _ => Err(Failure::Unresolved),
    }
}

/// A whole number that was written with a fraction.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number from 0 to 2^32"
)]
fn whole(number: Option<f64>) -> Option<u64> {
    number
        .filter(|number| number.fract() == 0.0 && (0.0..=4_294_967_296.0).contains(number))
        .map(|number| number as u64)
}

impl Call {
    fn evaluate<'s>(&'s self, scope: &Scope<'s>, unknown: Unknown) -> Outcome<'s> {
        match self.function {
            Function::If => {
                let branch = if self.arguments[0].holds(scope)? { 1 } else { 2 };
                self.arguments[branch].evaluate(scope, unknown)
            }
            Function::And => {
                for argument in &self.arguments {
                    if !argument.holds(scope)? {
                        return Ok(Operand::boolean(false));
                    }
                }
                Ok(Operand::boolean(true))
            }
            Function::Or => {
                for argument in &self.arguments {
                    if argument.holds(scope)? {
                        return Ok(Operand::boolean(true));
                    }
                }
                Ok(Operand::boolean(false))
            }
            Function::Not => Ok(Operand::boolean(!self.arguments[0].holds(scope)?)),
            Function::Coalesce => self.coalesce(scope),
            _ if self.function.compares() => self.compare(scope),
            _ => {
                let mut arguments = Vec::with_capacity(self.arguments.len());
                for argument in &self.arguments {
                    arguments.push(argument.evaluate(scope, unknown)?);
                }
                functions::call(self.function, arguments, scope.budget)
            }
        }
    }

    /// The first argument that has a value. One that fails has none.
    fn coalesce<'s>(&'s self, scope: &Scope<'s>) -> Outcome<'s> {
        for argument in &self.arguments {
            match argument.evaluate(scope, Unknown::Undefined) {
                Ok(value) if !value.is_null() => return Ok(value),
                Ok(_) | Err(Failure::Unresolved) => {}
                Err(bound) => return Err(bound),
            }
        }
        Ok(Operand::Undefined)
    }

    /// A comparison or a test. It is false when an argument fails.
    fn compare<'s>(&'s self, scope: &Scope<'s>) -> Outcome<'s> {
        let mut arguments = Vec::with_capacity(2);
        for argument in &self.arguments {
            match argument.evaluate(scope, Unknown::Undefined) {
                Ok(value) => arguments.push(value),
                Err(Failure::Unresolved) => return Ok(Operand::boolean(false)),
                Err(bound) => return Err(bound),
            }
        }
        functions::charge(&arguments, scope.budget)?;
        let holds = match (self.function, arguments.as_slice()) {
            (Function::Equals, [left, right]) => equals(left.json(), right.json(), scope.budget)?,
            (Function::NotEquals, [left, right]) => !equals(left.json(), right.json(), scope.budget)?,
            (Function::Exists, [value]) => !value.is_null(),
            (Function::Empty, [value]) => match value.json() {
                Json::Null => true,
                Json::String(text) => text.is_empty(),
                Json::Array(items) => items.is_empty(),
                Json::Object(members) => members.is_empty(),
                Json::Bool(_) | Json::Number(_) => false,
            },
            (Function::Contains, [list, wanted]) => functions::contains(list, wanted, scope.budget)?,
            (Function::Bool, [value]) => functions::to_boolean(value.json(), scope.budget)?,
            (function, [left, right]) => {
                if left.is_null() || right.is_null() {
                    return Ok(Operand::boolean(false));
                }
                let order = order(left.json(), right.json()).ok_or(Failure::Unresolved)?;
                match function {
                    Function::Less => order.is_lt(),
                    Function::LessOrEquals => order.is_le(),
                    Function::Greater => order.is_gt(),
                    _ => order.is_ge(),
                }
            }
            _ => return Err(Failure::Unresolved),
        };
        Ok(Operand::boolean(holds))
    }
}

impl Iteration {
    fn evaluate<'s>(&'s self, scope: &Scope<'s>, unknown: Unknown) -> Outcome<'s> {
        let list = self.list.evaluate(scope, unknown)?;
        let pairs;
        let items = match list.json() {
            Json::Array(items) => items,
            Json::Object(members) => {
                pairs = functions::pairs("key", members, scope.budget)?;
                &pairs
            }
            _ => return Err(Failure::Unresolved),
        };
        let mut results = Vec::new();
        for value in items {
            let item = Item {
                value,
                outer: scope.item,
            };
            let inner = Scope {
                item: Some(&item),
                ..*scope
            };
            match self.function {
                Function::Select => {
                    let result = self.body.evaluate(&inner, unknown)?;
                    results.push(result.into_json(scope.budget)?);
                }
                Function::Where if self.body.holds(&inner)? => results.push(scope.budget.copy(value)?),
                Function::Any if self.body.holds(&inner)? => return Ok(Operand::boolean(true)),
                Function::All if !self.body.holds(&inner)? => return Ok(Operand::boolean(false)),
                _ => {}
            }
        }
        Ok(match self.function {
            Function::Where if list.json().is_object() => functions::object_of_pairs(results),
            Function::Where | Function::Select => Operand::Owned(Json::Array(results)),
            function => Operand::boolean(function == Function::All),
        })
    }
}
