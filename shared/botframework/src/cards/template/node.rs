//! The structure of a template, and what it is rendered to.

use serde_json::{Map, Value as Json};

use super::MAX_ERRORS;
use super::budget::{Failure, size};
use super::error::{RenderError, UnresolvedExpression};
use super::evaluate::{Scope, Unknown};
use super::expression::Expression;
use super::operand::{Operand, TextBuffer};

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Rendered already, and about its bytes.
    Literal(Json, usize),
    Text(Text),
    Array(Vec<Self>),
    Object(Box<Object>),
}

/// A string with expressions.
#[derive(Clone, Debug)]
pub(super) enum Text {
    /// One expression and nothing else: its value keeps its type.
    Lone(Expression, ExpressionSource),
    Parts(Vec<TextPart>),
}

#[derive(Clone, Debug)]
pub(super) enum TextPart {
    Literal(String),
    Expression(Expression, ExpressionSource),
}

/// An expression as it is written in the template.
#[derive(Clone, Debug)]
pub(super) struct ExpressionSource {
    /// With its `${` and `}`.
    pub(super) text: String,
    /// The JSON pointer of its string.
    pub(super) pointer: String,
}

impl ExpressionSource {
    /// The text that stands in the place of a value, because there is none.
    fn left(&self, scope: &Scope<'_>) -> &str {
        if let Some(unresolved) = scope.unresolved {
            let mut unresolved = unresolved.borrow_mut();
            let is_known = |known: &UnresolvedExpression| {
                (&known.pointer, &known.expression) == (&self.pointer, &self.text)
            };
            if unresolved.len() < MAX_ERRORS && !unresolved.iter().any(is_known) {
                unresolved.push(UnresolvedExpression {
                    pointer: self.pointer.clone(),
                    expression: self.text.clone(),
                });
            }
        }
        &self.text
    }
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    data: Option<Data>,
    when: Option<Expression>,
    /// All members; those with expressions are null. To copy it is cheaper than to insert its members one by one.
    literals: Map<String, Json>,
    /// About the bytes of `literals`.
    bytes: usize,
    /// The members with expressions.
    members: Vec<(String, Node)>,
}

/// The scope of an object, and what repeats it.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Inline(Json),
    Text(Text),
}

impl Node {
    pub(super) fn literal(value: Json) -> Self {
        // Its levels are counted where the template is read.
        let bytes = size(&value, 0).unwrap_or(usize::MAX);
        Self::Literal(value, bytes)
    }

    /// An array, rendered already if its items are.
    pub(super) fn array(nodes: Vec<Self>) -> Self {
        if !nodes.iter().all(Self::is_literal) {
            return Self::Array(nodes);
        }
        let mut items = Vec::with_capacity(nodes.len());
        for node in nodes {
            if let Self::Literal(value, _) = node {
                push_item(&mut items, Some(value));
            }
        }
        Self::literal(Json::Array(items))
    }

    /// An object, rendered already if its members are.
    pub(super) fn object(data: Option<Data>, when: Option<Expression>, nodes: Vec<(String, Self)>) -> Self {
        let mut literals = Map::new();
        let mut members = Vec::new();
        for (name, node) in nodes {
            match node {
                Self::Literal(value, _) => literals.insert(name, value),
                node => {
                    members.push((name.clone(), node));
                    literals.insert(name, Json::Null)
                }
            };
        }
        let all = Self::literal(Json::Object(literals));
        match all {
            Self::Literal(Json::Object(literals), bytes)
                if data.is_some() || when.is_some() || !members.is_empty() =>
            {
                Self::Object(Box::new(Object {
                    data,
                    when,
                    literals,
                    bytes,
                    members,
                }))
            }
            literal => literal,
        }
    }

    fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(..))
    }
}

/// Adds what an item is rendered to. Nothing and null are left out, the items of an array stand in its place.
fn push_item(items: &mut Vec<Json>, item: Option<Json>) {
    match item {
        None | Some(Json::Null) => {}
        Some(Json::Array(inner)) => items.extend(inner),
        Some(value) => items.push(value),
    }
}

impl Node {
    /// Whether an expression in it reads a name of the data that this function finds, or one that only the data decide.
    pub(super) fn reads(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Literal(..) => false,
            Self::Text(text) => text.reads(is_meant),
            Self::Array(items) => items.iter().any(|item| item.reads(is_meant)),
            Self::Object(object) => {
                let data = match &object.data {
                    Some(Data::Text(text)) => text.reads(is_meant),
                    Some(Data::Inline(_)) | None => false,
                };
                data || object.when.as_ref().is_some_and(|when| when.reads(is_meant))
                    || object.members.iter().any(|(_, member)| member.reads(is_meant))
            }
        }
    }

    /// The value. None is no value: a member that has none is left out.
    pub(super) fn render(&self, scope: &Scope<'_>, level: usize) -> Result<Option<Json>, RenderError> {
        match self {
            Self::Literal(value, bytes) => {
                scope.budget.output(*bytes)?;
                Ok(Some(value.clone()))
            }
            Self::Text(text) => match text.evaluate(scope)? {
                Operand::Undefined => Ok(None),
                value => {
                    scope.budget.output_value(value.json(), level)?;
                    Ok(Some(match value {
                        Operand::Owned(value) => value,
                        borrowed => borrowed.json().clone(),
                    }))
                }
            },
            Self::Array(items) => {
                let mut rendered = Vec::with_capacity(items.len());
                for item in items {
                    push_item(&mut rendered, item.render(scope, level + 1)?);
                }
                scope.budget.output(2)?;
                Ok(Some(Json::Array(rendered)))
            }
            Self::Object(object) => object.render(scope, level).map(Some),
        }
    }
}

impl Object {
    /// Null when nothing is left of it, an array when it is repeated.
    fn render(&self, scope: &Scope<'_>, level: usize) -> Result<Json, RenderError> {
        let value = match &self.data {
            None => Operand::Undefined,
            Some(Data::Inline(value)) => Operand::Borrowed(value),
            Some(Data::Text(text)) => text.evaluate(scope)?,
        };
        let mut rendered = Vec::new();
        if value.is_undefined() {
            rendered.extend(self.render_one(scope, level)?);
        } else if let Json::Array(items) = value.json() {
            for (index, data) in items.iter().enumerate() {
                let scope = Scope {
                    data,
                    index: Some(index),
                    ..*scope
                };
                rendered.extend(self.render_one(&scope, level)?);
            }
        } else {
            let scope = Scope {
                data: value.json(),
                ..*scope
            };
            rendered.extend(self.render_one(&scope, level)?);
        }
        Ok(match rendered.len() {
            0 => Json::Null,
            1 => rendered.swap_remove(0),
            _ => Json::Array(rendered),
        })
    }

    /// One copy, unless its condition is false.
    fn render_one(&self, scope: &Scope<'_>, level: usize) -> Result<Option<Json>, RenderError> {
        if let Some(when) = &self.when {
            let holds = match when.evaluate(scope, Unknown::Undefined) {
                Ok(value) => value.json() == &Json::Bool(true),
                Err(Failure::Unresolved) => false,
                Err(Failure::Bound(error)) => return Err(error),
            };
            if !holds {
                return Ok(None);
            }
        }
        scope.budget.output(self.bytes)?;
        let mut members = self.literals.clone();
        for (name, member) in &self.members {
            match (member.render(scope, level + 1)?, members.get_mut(name)) {
                (Some(value), Some(place)) => *place = value,
                _ => {
                    members.remove(name);
                }
            }
        }
        Ok(Some(Json::Object(members)))
    }
}

impl Text {
    fn reads(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Lone(expression, _) => expression.reads(is_meant),
            Self::Parts(parts) => parts.iter().any(|part| match part {
                TextPart::Literal(_) => false,
                TextPart::Expression(expression, _) => expression.reads(is_meant),
            }),
        }
    }

    /// The whole as text, with this function applied to what stands in the place of an expression.
    pub(super) fn escaped(
        &self,
        scope: &Scope<'_>,
        escape: impl Fn(&str) -> String,
    ) -> Result<String, RenderError> {
        let mut buffer = TextBuffer::new(scope.budget);
        let push_value = |buffer: &mut TextBuffer<'_>, expression: &Expression, source: &ExpressionSource| {
            match expression.evaluate(scope, Unknown::Unresolved) {
                Ok(value) => {
                    let mut shown = TextBuffer::new(scope.budget);
                    shown.push_value(value.json())?;
                    buffer.push(&escape(&shown.finish()))
                }
                Err(Failure::Unresolved) => buffer.push(source.left(scope)),
                Err(Failure::Bound(error)) => Err(error),
            }
        };
        match self {
            Self::Lone(expression, source) => push_value(&mut buffer, expression, source)?,
            Self::Parts(parts) => {
                for part in parts {
                    match part {
                        TextPart::Literal(text) => buffer.push(text)?,
                        TextPart::Expression(expression, source) => {
                            push_value(&mut buffer, expression, source)?;
                        }
                    }
                }
            }
        }
        let text = buffer.finish();
        scope.budget.output(text.len())?;
        Ok(text)
    }

    fn evaluate<'s>(&'s self, scope: &Scope<'s>) -> Result<Operand<'s>, RenderError> {
        match self {
            Self::Lone(expression, source) => match expression.evaluate(scope, Unknown::Unresolved) {
                Ok(value) => Ok(value),
                Err(Failure::Unresolved) => Ok(Operand::text(source.left(scope))),
                Err(Failure::Bound(error)) => Err(error),
            },
            Self::Parts(parts) => {
                let mut buffer = TextBuffer::new(scope.budget);
                for part in parts {
                    part.push_to(&mut buffer, scope)?;
                }
                Ok(Operand::text(buffer.finish()))
            }
        }
    }
}

impl TextPart {
    fn push_to<'s>(&'s self, buffer: &mut TextBuffer<'_>, scope: &Scope<'s>) -> Result<(), RenderError> {
        match self {
            Self::Literal(text) => buffer.push(text),
            Self::Expression(expression, source) => match expression.evaluate(scope, Unknown::Unresolved) {
                Ok(value) => buffer.push_value(value.json()),
                Err(Failure::Unresolved) => buffer.push(source.left(scope)),
                Err(Failure::Bound(error)) => Err(error),
            },
        }
    }
}
