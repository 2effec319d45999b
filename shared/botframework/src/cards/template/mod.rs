//! The [Adaptive Cards Templating language](https://learn.microsoft.com/adaptive-cards/templating/language): a card with `${…}` in its
//! strings, and data, become a card.
//!
//! A template is parsed once. What it uses of the language that is not in the tables below is refused there, with its place. It is
//! rendered many times, without a clock, a locale of the machine or anything else from outside.
//!
//! # Example: a card for a build
//! ```
//! use botframework::cards::template::Template;
//! use serde_json::json;
//!
//! let template = Template::parse(&json!({
//!     "type": "AdaptiveCard", "version": "1.5", "body": [
//!         {"type": "TextBlock", "text": "Build ${number}: ${if(count(failures) == 0, 'passed', 'failed')}"},
//!         {"type": "TextBlock", "$data": "${failures}", "$when": "${!flaky}", "text": "${$index + 1}. ${toUpper(test)}"},
//!     ]
//! })).unwrap();
//!
//! let data = json!({"number": 7, "failures": [{"test": "login", "flaky": false}, {"test": "search", "flaky": true}]});
//! assert_eq!(template.render(&data).unwrap()["body"], json!([
//!     {"type": "TextBlock", "text": "Build 7: failed"},
//!     {"type": "TextBlock", "text": "1. LOGIN"},
//! ]));
//! ```
//!
//! # Example: what is wrong is named with its place
//! ```
//! use botframework::cards::template::Template;
//! use serde_json::json;
//!
//! let errors = Template::parse(&json!({"body": [{"text": "On ${utcNow()}"}]})).unwrap_err();
//! assert_eq!(errors[0].to_string(), "/body/0/text, character 5: there is no function `utcNow`");
//! ```
//!
//! # Structure
//!
//! | in a template | becomes |
//! |---|---|
//! | `"text ${expression}"` | the text with the value in it. Null is nothing, an array its items with commas, an object JSON |
//! | `"${expression}"` alone | the value, of any type. A member without a value is left out |
//! | `\${` | the text `${` |
//! | `"$data": "${object}"` | the object is the scope of the names in this element and in those below |
//! | `"$data": "${array}"` | the element is repeated for each item, which is its scope. One without items is left out, in a member it is null |
//! | `"$data": {…}`, `[…]` | the same with inline data, in which there are no expressions |
//! | `"$when": "${condition}"` | the element is left out unless the condition is `true`; of a repeated element, the copy |
//! | an array in an array | its items |
//! | null in an array | nothing |
//!
//! Data never becomes structure: a text of the data that looks like an expression stays text, and members of the data such as `$when`
//! do nothing. Only an expression alone in its string can bring an array or an object with it.
//!
//! # Expressions
//!
//! | | |
//! |---|---|
//! | `name`, `a.b`, `a['b']`, `a[0]`, `a[index]` | paths. Names are found in any case, the same case first |
//! | `$root`, `$data`, `$index` | the data of the whole template; the data in scope; the position in the array that repeats the element, from 0 |
//! | `1`, `2.5`, `'text'`, `"text"`, `true`, `false`, `null`, `[1, 2]` | literals. In texts `\n`, `\r`, `\t`, `\\` and the escaped quote are escapes |
//! | `!` `-` `+` | before an operand. `!0` is false: only false, null and what is missing are not true |
//! | `^` | power, from the right |
//! | `*` `/` `%` | `/` of whole numbers is whole: the next below |
//! | `+` `-` | `+` with a text joins |
//! | `==` `!=` | of any two values. What is missing is null |
//! | `&` | joins, as `concat` |
//! | `<` `<=` `>` `>=` | of two numbers, or of two texts |
//! | `&&`, <code>&#124;&#124;</code> | booleans |
//! | `??` | the first that is not null or missing |
//! | `c ? a : b` | from the left: `a ? b : c ? d : e` is `(a ? b : c) ? d : e` |
//!
//! They bind in this order, the first the most. Numbers are those of JavaScript: 64 bits with a fraction.
//!
//! | functions | |
//! |---|---|
//! | `if` `and` `or` `not` `equals` `greater` `greaterOrEquals` `less` `lessOrEquals` | as their operators |
//! | `exists` `empty` `contains` `bool` | tests. `empty` is also true for what is missing; `contains(textOrArrayOrObject, textOrItemOrName)` |
//! | `coalesce` | the first argument that is not null or missing |
//! | `isString` `isBoolean` `isInteger` `isFloat` `isArray` `isObject` | types |
//! | `string(value, locale?)` `int` `float` `json` `jsonStringify` `createArray` | conversions. `string` sets the thousands of a number apart |
//! | `add` `sub` `mul` `div` `mod` `exp` | as their operators; all but `mod` of more than two numbers, too |
//! | `min` `max` `sum` `average` `round(number, digits?)` `floor` `ceiling` `abs` `sqrt` | numbers. Halves are rounded up |
//! | `concat` `length` `toUpper` `toLower` `titleCase` `sentenceCase` `trim` `substring(text, from, length?)` `replace(text, old, new)` `split(text, separator?)` `startsWith` `endsWith` `indexOf` `lastIndexOf` `countWord` `addOrdinal` `uriComponent` | texts. Lengths and places are counted in UTF-16 |
//! | `join(array, separator, last?)` `first` `last` `count` `skip` `take` `subArray(array, from, to?)` `sortBy(array, name?)` `sortByDescending` `indicesAndValues` | arrays; `first`, `last`, `count` and `take` of texts, too |
//! | `where` `select` `foreach` `any` `all` | over items: `where(people, person, person.age > 30)`, also `person => …` |
//! | `formatNumber(number, digits, locale?)` | `1,234.50` |
//! | `formatDateTime(time, pattern?, locale?)` `formatEpoch(seconds, pattern?, locale?)` `addDays(time, count, pattern?, locale?)` `addHours` `addMinutes` `addSeconds` | times |
//! | `year` `month` `dayOfMonth` `dayOfWeek` `dayOfYear` `date` | parts of times. Sunday is 0, `date` is `12/01/2026` |
//!
//! **Numbers** have a locale, in quotes: `en-US` (the default), `en-GB`, `ja-JP`, `zh-CN`; `de-DE`, `es-ES`, `it-IT`, `nl-NL`, `pl-PL`,
//! `pt-BR`; `fr-FR`, `sv-SE`. **Times** are ISO 8601 with an offset or in UTC, and are shown in UTC. Their locale is English, and so
//! are the names of months and days. A pattern has .NET's letters: `yy` `yyyy`, `M` `MM` `MMM` `MMMM`, `d` `dd` `ddd` `dddd`, `H` `HH`
//! `h` `hh`, `m` `mm`, `s` `ss`, `fff`, `tt`, `K` `zzz`; text in `'…'` and behind `\`, as in `"H 'h'"`. Without one it is `2026-12-01T09:30:00.000Z`.
//!
//! # What has no value
//!
//! - An expression with a path that the data does not have is left as text, as it is written: `Hello ${nickname}`. So is one that
//!   fails, such as `${1 / 0}`.
//! - In a condition, which is what stands in `$when`, `!`, `&&`, `||`, comparisons, tests and before `?`, what is missing is null,
//!   and what fails is false. In `coalesce` and `??` both are null.
//!
//! # The reference
//!
//! What is rendered is compared with Microsoft's implementation for JavaScript, `adaptivecards-templating` 2.3 on
//! `adaptive-expressions` 4.23, over generated templates. Where it is another result here, mostly where the reference throws the card
//! away, the reason stands in `tests/templates/fixtures.json`. Of the reference's language these are left out: `$host`, objects and
//! texts with expressions in expressions, regular expressions, XML, binary data, time zones, the time of day, random numbers, and
//! the functions that are in no table above.
//!
//! # Bounds
//!
//! No template and no data make a rendering overflow the stack, fill the memory or take long: [`MAX_DEPTH`], [`MAX_EXPRESSION_DEPTH`],
//! [`MAX_OUTPUT_BYTES`], [`MAX_WORK`].

mod budget;
mod date;
mod error;
mod evaluate;
mod expression;
mod functions;
mod lexer;
mod node;
mod number;
mod operand;
mod parser;
mod reader;
mod signature;
mod text;

use std::cell::RefCell;

use serde_json::Value;

use self::budget::Budget;
use self::evaluate::Scope;
use self::node::Node;
use self::reader::Reader;

pub use self::error::{RenderError, TemplateError, TemplateErrorKind, UnresolvedExpression};

/// The most levels of arrays and objects in a template and in what is rendered. `serde_json` reads 127.
pub const MAX_DEPTH: usize = 100;
/// The most levels of operators, functions and brackets in an expression.
pub const MAX_EXPRESSION_DEPTH: usize = 64;
/// The most errors that are named for a template.
pub const MAX_ERRORS: usize = 20;
/// About the most bytes of what is rendered, as JSON: ten times what Teams accepts as a message.
pub const MAX_OUTPUT_BYTES: usize = 1 << 20;
/// The most steps of a rendering: one for an operator, a function or a path, and one for each eight bytes that they read or make.
pub const MAX_WORK: usize = 1 << 20;

/// A card, or any JSON, with expressions in it. Parsed once, it is rendered many times.
#[derive(Clone, Debug)]
pub struct Template {
    node: Node,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Everything in it that the language does not have, each with its place; of more than [`MAX_ERRORS`] the first.
    pub fn parse(template: &Value) -> Result<Self, Vec<TemplateError>> {
        Reader::read(template).map(|node| Self { node })
    }

    /// The template with the data. Neither a path that the data does not have nor a function without a result is an error: the
    /// expression is left as text.
    ///
    /// # Errors
    /// When the result or the work for it passes a bound.
    pub fn render(&self, data: &Value) -> Result<Value, RenderError> {
        self.render_node(data, None)
    }

    /// The template with the data, and the expressions that are left as text, each once; of more than [`MAX_ERRORS`] the first.
    ///
    /// # Errors
    /// As of [`render`](Self::render).
    pub fn render_with_unresolved(
        &self,
        data: &Value,
    ) -> Result<(Value, Vec<UnresolvedExpression>), RenderError> {
        let unresolved = RefCell::default();
        let rendered = self.render_node(data, Some(&unresolved))?;
        Ok((rendered, unresolved.into_inner()))
    }

    /// The template of a single string as text. `escape` is applied to what stands in the place of each expression, and not to what
    /// the template has around it. `None` if the template is not one string.
    ///
    /// # Errors
    /// As of [`render`](Self::render).
    pub fn render_text(
        &self,
        data: &Value,
        escape: impl Fn(&str) -> String,
    ) -> Result<Option<String>, RenderError> {
        match &self.node {
            Node::Text(text) => {
                let budget = Budget::new();
                text.escaped(&scope(data, &budget, None), escape).map(Some)
            }
            Node::Literal(Value::String(text), _) => Ok(Some(text.clone())),
            Node::Literal(..) | Node::Array(_) | Node::Object(_) => Ok(None),
        }
    }

    /// Whether an expression reads one of these names of the data, in any case. What cannot be decided without the data counts as
    /// read: `$root` as a whole, and a name that is computed.
    pub fn may_read(&self, names: &[&str]) -> bool {
        self.node
            .reads(&|read: &str| names.iter().any(|name| name.eq_ignore_ascii_case(read)))
    }

    fn render_node(
        &self,
        data: &Value,
        unresolved: Option<&RefCell<Vec<UnresolvedExpression>>>,
    ) -> Result<Value, RenderError> {
        let budget = Budget::new();
        let scope = scope(data, &budget, unresolved);
        Ok(self.node.render(&scope, 0)?.unwrap_or(Value::Null))
    }
}

/// The scope of a whole template.
fn scope<'s>(
    data: &'s Value,
    budget: &'s Budget,
    unresolved: Option<&'s RefCell<Vec<UnresolvedExpression>>>,
) -> Scope<'s> {
    Scope {
        root: data,
        data,
        index: None,
        item: None,
        budget,
        unresolved,
    }
}

#[cfg(test)]
mod tests;
