//! What is wrong with a template, and what stops a rendering.

use std::fmt;

/// Something in a template that the language does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) of the value in the template.
    pub pointer: String,
    /// How many characters of the string stand before the place. 0 for what is not in a string.
    pub position: usize,
    /// What it is.
    pub kind: TemplateErrorKind,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() {
            "the template"
        } else {
            &self.pointer
        };
        write!(formatter, "{pointer}, character {}: {}", self.position, self.kind)
    }
}

impl std::error::Error for TemplateError {}

/// The kinds of [`TemplateError`]. Each names what it found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateErrorKind {
    /// `${` without `}` in the same line. `\${` is text.
    #[error("`${{` is not closed; `\\${{` is text")]
    Unclosed,
    /// `${}`.
    #[error("the expression is empty")]
    Empty,
    /// Something else stands where an operand or an operator has to be.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What the expression needs.
        expected: &'static str,
        /// What it has.
        found: String,
    },
    /// A part of the reference's language that is left out: an object in an expression, a text with expressions in an expression,
    /// a name with `#` or `@`, an expression in an inline `$data`.
    #[error("{0} cannot be used in a template")]
    Unsupported(String),
    /// A function that is not in the table of functions.
    #[error("there is no function `{0}`")]
    UnknownFunction(String),
    /// A name with `$` that is not `$data`, `$root` or `$index`.
    #[error("there is no `{0}`; there are `$data`, `$root` and `$index`")]
    UnknownVariable(String),
    /// The number of arguments.
    #[error("`{function}` takes {expected} arguments, and has {found}")]
    ArgumentCount {
        /// The name of the function, or the operator.
        function: String,
        /// Such as `2` or `2 to 3`.
        expected: String,
        /// How many there are.
        found: usize,
    },
    /// An argument whose type is known, and is another one than the function takes.
    #[error("argument {argument} of `{function}` has to be {expected}")]
    ArgumentType {
        /// The name of the function, or the operator.
        function: String,
        /// Counted from 1.
        argument: usize,
        /// Such as `a number`.
        expected: String,
    },
    /// A part of a pattern for dates that cannot be formatted.
    #[error("`{0}` cannot be used in a pattern for dates")]
    DatePattern(String),
    /// A locale outside of those that the function knows, or one that is no literal.
    #[error("the locale {0} cannot be used here")]
    Locale(String),
    /// A `$when` that is not one expression.
    #[error("`$when` has to be one expression, such as `${{count > 0}}`")]
    When,
    /// A template with more than [`MAX_DEPTH`](super::MAX_DEPTH) levels of arrays and objects, or an expression with more than
    /// [`MAX_EXPRESSION_DEPTH`](super::MAX_EXPRESSION_DEPTH).
    #[error("it is nested too deeply")]
    TooDeep,
}

/// An expression that a rendering left as text: a path that the data does not have, or a function that had no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnresolvedExpression {
    /// The JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) of its string in the template.
    pub pointer: String,
    /// As it is written, with its `${` and `}`.
    pub expression: String,
}

/// Why a template cannot be rendered with this data. The template is right; the data is too large for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The result would have more than [`MAX_OUTPUT_BYTES`](super::MAX_OUTPUT_BYTES).
    #[error("the result has more than {} bytes", super::MAX_OUTPUT_BYTES)]
    TooLarge,
    /// The result, or a value in it, would have more than [`MAX_DEPTH`](super::MAX_DEPTH) levels of arrays and objects.
    #[error("the result has more than {} levels of arrays and objects", super::MAX_DEPTH)]
    TooDeep,
    /// The expressions take more than [`MAX_WORK`](super::MAX_WORK) steps.
    #[error("the expressions take more than {} steps", super::MAX_WORK)]
    TooMuchWork,
}
