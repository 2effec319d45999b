//! Parses one expression.
//!
//! Operators in the order in which they bind, as the reference has them: `!` `-` `+` before an operand; `^`; `*` `/` `%`; `+` `-`;
//! `==` `!=`; `&`; `<` `<=` `>` `>=`; `&&`; `||`; `??`; `?:`. All of them group from the left, also `?:`; only `^` from the right.

use serde_json::{Number, Value as Json};

use super::MAX_EXPRESSION_DEPTH;
use super::date::Pattern;
use super::error::TemplateErrorKind as Kind;
use super::expression::{Expression, Iteration, Root, Segment};
use super::lexer::{Placed, Token, tokens};
use super::number::{NumberLocale, number};
use super::signature::{Function, Misfit, Types};

/// A place in bytes, and what is wrong there.
pub(super) type Fault = (usize, Kind);

/// An expression and its depth.
type Parsed = (Expression, usize);

/// The precedence of an operand: above all binary operators.
const OPERAND: u8 = 10;

/// Parses the text between `${` and `}`.
///
/// # Errors
/// The first thing that the language does not have.
pub(super) fn parse(expression: &str) -> Result<Expression, Fault> {
    let tokens = tokens(expression)?;
    let mut parser = Parser {
        tokens: &tokens,
        next: 0,
        level: 0,
        variables: Vec::new(),
    };
    if parser.peek() == &Token::End {
        return Err((0, Kind::Empty));
    }
    let (parsed, _) = parser.expression(0)?;
    match parser.peek() {
        Token::End => Ok(parsed),
        _ => Err(parser.unexpected("an operator")),
    }
}

struct Parser<'t> {
    tokens: &'t [Placed<'t>],
    next: usize,
    /// How many calls of [`Parser::expression`] are under way.
    level: usize,
    /// The variables of the iterations around, the innermost last.
    variables: Vec<&'t str>,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> &Token<'t> {
        &self.tokens[self.next].0
    }

    fn place(&self) -> usize {
        self.tokens[self.next].1
    }

    fn advance(&mut self) {
        // The last is `End`, which nothing consumes.
        self.next = (self.next + 1).min(self.tokens.len() - 1);
    }

    /// Consumes the symbol if it is next.
    fn accept(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(next) if *next == symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, symbol: &str, expected: &'static str) -> Result<(), Fault> {
        if self.accept(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(expected))
        }
    }

    fn unexpected(&self, expected: &'static str) -> Fault {
        let found = match self.peek() {
            Token::Number(number) => format!("`{number}`"),
            Token::Text(_) => "a text".to_owned(),
            Token::Name(name) => format!("`{name}`"),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end".to_owned(),
        };
        (self.place(), Kind::Unexpected { expected, found })
    }

    /// An expression of operators that bind at least as `least`.
    fn expression(&mut self, least: u8) -> Result<Parsed, Fault> {
        self.level += 1;
        if self.level > MAX_EXPRESSION_DEPTH {
            return Err((self.place(), Kind::TooDeep));
        }
        let mut left = self.operand()?;
        while let Token::Symbol(symbol) = *self.peek() {
            let place = self.place();
            if symbol == "?" && least == 0 {
                self.advance();
                let then = self.expression(0)?;
                self.expect(":", "`:` and the other value")?;
                let otherwise = self.expression(1)?;
                left = call("?:", Function::If, place, vec![left, then, otherwise])?;
                continue;
            }
            let Some(precedence) = precedence(symbol).filter(|precedence| *precedence >= least) else {
                break;
            };
            let Some(function) = Function::named(symbol) else {
                break;
            };
            self.advance();
            let right = self.expression(if symbol == "^" { precedence } else { precedence + 1 })?;
            left = call(symbol, function, place, vec![left, right])?;
        }
        self.level -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Result<Parsed, Fault> {
        let place = self.place();
        match *self.peek() {
            Token::Symbol("!") => {
                self.advance();
                let operand = self.expression(OPERAND)?;
                call("!", Function::Not, place, vec![operand])
            }
            // The reference reads `-x` as `0 - x`.
            Token::Symbol(sign @ ("-" | "+")) => {
                self.advance();
                let operand = self.expression(OPERAND)?;
                let zero = (Expression::Constant(Json::Number(Number::from(0))), 1);
                let function = if sign == "-" {
                    Function::Subtract
                } else {
                    Function::Add
                };
                call(sign, function, place, vec![zero, operand])
            }
            _ => self.primary(),
        }
    }

    /// A value with the steps and calls that follow it.
    fn primary(&mut self) -> Result<Parsed, Fault> {
        let start = self.place();
        // What a call would call: names and points.
        let mut name = match *self.peek() {
            Token::Name(name) => Some(name.to_owned()),
            _ => None,
        };
        let (mut value, mut depth) = if self.calls_next() {
            self.advance();
            (Expression::Undefined, 1)
        } else {
            self.atom()?
        };
        loop {
            if self.accept(".") {
                let Token::Name(property) = *self.peek() else {
                    return Err(self.unexpected("the name of a property"));
                };
                self.advance();
                name = name.map(|name| format!("{name}.{property}"));
                value = value.followed_by(Segment::Property(property.to_owned()));
            } else if self.accept("[") {
                let (index, index_depth) = self.expression(0)?;
                self.expect("]", "`]`")?;
                name = None;
                value = value.followed_by(Segment::Element(index));
                depth = depth.max(index_depth);
            } else if self.accept("(") {
                let Some(called) = name.take() else {
                    let found = "a call of a value".to_owned();
                    return Err((
                        start,
                        Kind::Unexpected {
                            expected: "the name of a function",
                            found,
                        },
                    ));
                };
                (value, depth) = self.arguments(&called, start)?;
                continue;
            } else {
                return Ok((value, depth));
            }
            depth += 1;
            if depth > MAX_EXPRESSION_DEPTH {
                return Err((self.place(), Kind::TooDeep));
            }
        }
    }

    /// Whether the next word is a name before `(`.
    fn calls_next(&self) -> bool {
        matches!(self.peek(), Token::Name(_))
            && matches!(self.tokens.get(self.next + 1), Some((Token::Symbol("("), _)))
    }

    fn atom(&mut self) -> Result<Parsed, Fault> {
        let place = self.place();
        let value = match self.peek() {
            Token::Number(value) => match number(*value) {
                Some(value) => Expression::Constant(Json::Number(value)),
                None => return Err(self.unexpected("a number below 1.8e308")),
            },
            Token::Text(text) => Expression::Constant(Json::String(text.clone())),
            Token::Name(name) => self.named(name).map_err(|kind| (place, kind))?,
            Token::Symbol("(") => {
                self.advance();
                let inner = self.expression(0)?;
                self.expect(")", "`)`")?;
                return Ok(inner);
            }
            Token::Symbol("[") => {
                self.advance();
                let mut items = Vec::new();
                if !self.accept("]") {
                    items = self.list()?;
                    self.expect("]", "`,` or `]`")?;
                }
                return call("[]", Function::CreateArray, place, items);
            }
            _ => return Err(self.unexpected("a value")),
        };
        self.advance();
        Ok((value, 1))
    }

    /// A literal, a variable, or a property of the data.
    fn named(&self, name: &str) -> Result<Expression, Kind> {
        let variable = self.variables.iter().rev().position(|variable| *variable == name);
        Ok(match name {
            "true" => Expression::Constant(Json::Bool(true)),
            "false" => Expression::Constant(Json::Bool(false)),
            "null" => Expression::Constant(Json::Null),
            "undefined" => Expression::Undefined,
            "$data" => Expression::path(Root::Data, Vec::new()),
            "$root" => Expression::path(Root::Template, Vec::new()),
            "$index" => Expression::path(Root::Index, Vec::new()),
            _ if name.starts_with('$') => return Err(Kind::UnknownVariable(name.to_owned())),
            _ => match variable {
                Some(variable) => Expression::path(Root::Item(variable), Vec::new()),
                None => Expression::path(Root::Data, vec![Segment::Property(name.to_owned())]),
            },
        })
    }

    /// Expressions with commas between them, at least one.
    fn list(&mut self) -> Result<Vec<Parsed>, Fault> {
        let mut items = vec![self.expression(0)?];
        while self.accept(",") {
            items.push(self.expression(0)?);
        }
        Ok(items)
    }

    /// A call from behind its `(`.
    fn arguments(&mut self, name: &str, place: usize) -> Result<Parsed, Fault> {
        let function =
            Function::named(name).ok_or_else(|| (place, Kind::UnknownFunction(name.to_owned())))?;
        if self.accept(")") {
            return call(name, function, place, Vec::new());
        }
        if function.iterates() {
            return self.iteration(function);
        }
        let arguments = self.list()?;
        self.expect(")", "`,` or `)`")?;
        check_literals(function, &arguments).map_err(|kind| (place, kind))?;
        call(name, function, place, arguments)
    }

    /// `list, item, body)` or `list, item => body)`.
    fn iteration(&mut self, function: Function) -> Result<Parsed, Fault> {
        let (list, list_depth) = self.expression(0)?;
        self.expect(",", "`,` and the name of the variable")?;
        let Token::Name(variable) = *self.peek() else {
            return Err(self.unexpected("the name of the variable"));
        };
        self.advance();
        if !self.accept(",") {
            self.expect("=>", "`,` or `=>`, and what is done with the variable")?;
        }
        self.variables.push(variable);
        let (body, body_depth) = self.expression(0)?;
        self.variables.pop();
        self.expect(")", "`)`")?;
        let depth = list_depth.max(body_depth) + 1;
        if depth > MAX_EXPRESSION_DEPTH {
            return Err((self.place(), Kind::TooDeep));
        }
        let iteration = Iteration { function, list, body };
        Ok((Expression::Iteration(Box::new(iteration)), depth))
    }
}

/// How a binary operator binds.
fn precedence(symbol: &str) -> Option<u8> {
    Some(match symbol {
        "^" => 9,
        "*" | "/" | "%" => 8,
        "+" | "-" => 7,
        "==" | "!=" => 6,
        "&" => 5,
        "<" | "<=" | ">" | ">=" => 4,
        "&&" => 3,
        "||" => 2,
        "??" => 1,
        _ => return None,
    })
}

/// The call, if the arguments fit and it is not too deep.
fn call(name: &str, function: Function, place: usize, arguments: Vec<Parsed>) -> Result<Parsed, Fault> {
    let depth = 1 + arguments.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
    if depth > MAX_EXPRESSION_DEPTH {
        return Err((place, Kind::TooDeep));
    }
    let arguments: Vec<_> = arguments.into_iter().map(|(argument, _)| argument).collect();
    let types: Vec<Types> = arguments.iter().map(Expression::types).collect();
    match function.check(&types) {
        Ok(()) => Ok((Expression::call(function, arguments), depth)),
        Err(Misfit::Count(expected)) => {
            let (function, found) = (name.to_owned(), arguments.len());
            Err((
                place,
                Kind::ArgumentCount {
                    function,
                    expected,
                    found,
                },
            ))
        }
        Err(Misfit::Type(argument, expected)) => {
            let function = name.to_owned();
            Err((
                place,
                Kind::ArgumentType {
                    function,
                    argument,
                    expected,
                },
            ))
        }
    }
}

/// Patterns and locales that are written in the template are checked there.
fn check_literals(function: Function, arguments: &[Parsed]) -> Result<(), Kind> {
    use Function::{
        AddDays, AddHours, AddMinutes, AddSeconds, FormatDateTime, FormatEpoch, FormatNumber, String,
    };
    let (pattern, locale) = match function {
        FormatDateTime | FormatEpoch => (Some(1), 2),
        AddDays | AddHours | AddMinutes | AddSeconds => (Some(2), 3),
        FormatNumber => (None, 2),
        String => (None, 1),
        _ => return Ok(()),
    };
    let argument = |index: usize| arguments.get(index).map(|(argument, _)| argument);
    if let Some(text) = pattern.and_then(argument).and_then(Expression::literal_text) {
        Pattern::parse(text).map_err(|part| Kind::DatePattern(part.to_owned()))?;
    }
    let Some(given) = argument(locale) else {
        return Ok(());
    };
    let Some(name) = given.literal_text() else {
        return Err(Kind::Locale("that is not written in quotes".to_owned()));
    };
    // The names of months and days are English.
    let known = match pattern {
        Some(_) => super::date::is_known_locale(name),
        None => NumberLocale::named(name).is_some(),
    };
    if known {
        Ok(())
    } else {
        Err(Kind::Locale(format!("`{name}`")))
    }
}
