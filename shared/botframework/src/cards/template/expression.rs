//! Expressions, parsed.

use serde_json::Value as Json;

use super::signature::{Function, Types};

/// An expression. Its depth is bounded by the parser.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Constant(Json),
    /// The literal `undefined`: no value.
    Undefined,
    Path(Box<Path>),
    Call(Box<Call>),
    Iteration(Box<Iteration>),
}

/// A value and the way from it: `a.b[0]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    pub(super) root: Root,
    pub(super) segments: Vec<Segment>,
}

/// Where a path begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Root {
    /// `$data`, and names without one of the others.
    Data,
    /// `$root`: the data that the template is rendered with.
    Template,
    /// `$index`.
    Index,
    /// The variable of an iteration: 0 is that of the innermost.
    Item(usize),
    Result(Expression),
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Segment {
    /// `.name`
    Property(String),
    /// `[expression]`
    Element(Expression),
}

/// A function or an operator with its arguments. Their number fits the function's signature.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) function: Function,
    pub(super) arguments: Vec<Expression>,
}

/// A function over the items of a list: `where(list, item, body)`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Iteration {
    pub(super) function: Function,
    pub(super) list: Expression,
    pub(super) body: Expression,
}

impl Expression {
    pub(super) fn call(function: Function, arguments: Vec<Self>) -> Self {
        Self::Call(Box::new(Call { function, arguments }))
    }

    /// A path of names from the data in scope.
    pub(super) fn path(root: Root, segments: Vec<Segment>) -> Self {
        Self::Path(Box::new(Path { root, segments }))
    }

    /// This, and one step further.
    pub(super) fn followed_by(self, segment: Segment) -> Self {
        match self {
            Self::Path(mut path) => {
                path.segments.push(segment);
                Self::Path(path)
            }
            other => Self::path(Root::Result(other), vec![segment]),
        }
    }

    /// The types that the value can have, as far as the template says.
    pub(super) fn types(&self) -> Types {
        match self {
            Self::Constant(Json::Bool(_)) => Types::BOOLEAN,
            Self::Constant(Json::Number(_)) => Types::NUMBER,
            Self::Constant(Json::String(_)) => Types::STRING,
            Self::Constant(_) | Self::Undefined | Self::Path(_) => Types::ANY,
            Self::Call(call) => call.function.returns(),
            Self::Iteration(iteration) => iteration.function.returns(),
        }
    }

    /// Whether it reads a name of the data that this function finds, or one that only the data decide: `$root` as a whole,
    /// `$root[name]`.
    pub(super) fn reads(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Constant(_) | Self::Undefined => false,
            Self::Path(path) => path.reads(is_meant),
            Self::Call(call) => call.arguments.iter().any(|argument| argument.reads(is_meant)),
            Self::Iteration(iteration) => iteration.list.reads(is_meant) || iteration.body.reads(is_meant),
        }
    }

    /// The text of a literal in quotes.
    pub(super) fn literal_text(&self) -> Option<&str> {
        match self {
            Self::Constant(Json::String(text)) => Some(text),
            _ => None,
        }
    }
}

impl Path {
    fn reads(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        let names = match (&self.root, self.segments.first()) {
            (Root::Data | Root::Template, Some(Segment::Property(name))) => is_meant(name),
            (Root::Data | Root::Template, Some(Segment::Element(_)) | None) => true,
            (Root::Index | Root::Item(_), _) => false,
            (Root::Result(expression), _) => expression.reads(is_meant),
        };
        names
            || self.segments.iter().any(|segment| match segment {
                Segment::Property(_) => false,
                Segment::Element(index) => index.reads(is_meant),
            })
    }
}
