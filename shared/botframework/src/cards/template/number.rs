//! Numbers as JavaScript has them, in which the language is defined: of 64 bits with a fraction, and their texts.

use serde_json::Number;

/// The whole numbers that keep their value in 64 bits with a fraction.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_992.0;

/// The JSON number. None when it is not finite.
pub(super) fn number(value: f64) -> Option<Number> {
    if value.fract() == 0.0 && value.abs() <= MAX_SAFE_INTEGER {
        #[allow(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

/// A number in a text. Whole numbers of 64 bits keep all of their digits.
pub(super) fn number_text(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() => float_text(value),
        _ => number.to_string(),
    }
}

/// `Number.prototype.toString`: the shortest digits, with an exponent below 1e-6 and from 1e21.
pub(super) fn float_text(value: f64) -> String {
    let plain = Number::from_f64(value).map_or_else(String::new, |number| number.to_string());
    if !plain.contains('e') && !plain.ends_with(".0") {
        return plain;
    }
    let (digits, whole) = shortest_digits(value.abs());
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let sign = if value < 0.0 { "-" } else { "" };
    let text = match whole {
        _ if digits.is_empty() => "0".to_owned(),
        1..=21 if whole >= count => format!("{digits}{}", zeros(whole - count)),
        1..=21 => {
            let (before, after) = digits.split_at(usize::try_from(whole).unwrap_or(0));
            format!("{before}.{after}")
        }
        -5..=0 => format!("0.{}{digits}", zeros(-whole)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            format!("{first}{point}{rest}e{:+}", whole - 1)
        }
    };
    format!("{sign}{text}")
}

/// The shortest digits that name the number, without zeros around them, and how many of them stand before the point. Of two that are
/// as near, as JavaScript, the even one: `serde_json` writes it, and `format!` the greater.
fn shortest_digits(value: f64) -> (String, i32) {
    let text = Number::from_f64(value).map_or_else(String::new, |number| number.to_string());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{before}{after}");
    let digits = all.trim_start_matches('0');
    let length = |text: &str| i32::try_from(text.len()).unwrap_or(0);
    let whole = length(before) + exponent.parse::<i32>().unwrap_or(0) - (length(&all) - length(digits));
    (digits.trim_end_matches('0').to_owned(), whole)
}

fn zeros(count: i32) -> String {
    "0".repeat(usize::try_from(count).unwrap_or(0))
}

/// `Math.round`: halves go up.
pub(super) fn round_half_up(value: f64) -> f64 {
    let floor = value.floor();
    if value - floor >= 0.5 { floor + 1.0 } else { floor }
}

/// Rounds to so many digits after the point.
pub(super) fn round_to(value: f64, digits: u8) -> f64 {
    let scale = 10_f64.powi(i32::from(digits));
    round_half_up(value * scale) / scale
}

/// `parseFloat`: the number at the beginning of the text.
pub(super) fn leading_float(text: &str) -> Option<f64> {
    let text = trim(text);
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(sign);
    let mut end = sign + whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        end += if whole + fraction == 0 { 0 } else { 1 + fraction };
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let count = digits((end + 1 + sign).min(bytes.len()));
        end += if count == 0 { 0 } else { 1 + sign + count };
    }
    text[..end].parse().ok()
}

/// `parseInt` with base 10.
pub(super) fn leading_integer(text: &str) -> Option<f64> {
    let text = trim(text);
    let sign = usize::from(text.starts_with(['+', '-']));
    let count = text[sign..].bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 {
        None
    } else {
        text[..sign + count].parse().ok()
    }
}

/// `String.prototype.trim`.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// What JavaScript takes for white space.
pub(super) fn is_space(character: char) -> bool {
    (character.is_whitespace() && character != '\u{85}') || character == '\u{feff}'
}

/// How a locale writes numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NumberLocale {
    decimal: char,
    group: char,
}

impl NumberLocale {
    pub(super) const ENGLISH: Self = Self {
        decimal: '.',
        group: ',',
    };

    /// The locales that are known; see the module's documentation.
    pub(super) fn named(name: &str) -> Option<Self> {
        let with = |decimal, group| Some(Self { decimal, group });
        match name {
            "en-US" | "en-GB" | "ja-JP" | "zh-CN" => Some(Self::ENGLISH),
            "de-DE" | "es-ES" | "it-IT" | "nl-NL" | "pl-PL" | "pt-BR" => with(',', '.'),
            "fr-FR" | "sv-SE" => with(',', '\u{a0}'),
            _ => None,
        }
    }

    /// The number with so many digits after the point, its thousands apart. The sign of a negative one is U+2212. From 1e21 on it
    /// has an exponent.
    pub(super) fn format(self, value: f64, digits: usize) -> String {
        if value.abs() >= 1e21 {
            let sign = if value < 0.0 { "\u{2212}" } else { "" };
            return format!("{sign}{}", float_text(value.abs()));
        }
        let plain = format!("{:.digits$}", value.abs());
        let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
        let mut text = String::with_capacity(plain.len() + plain.len() / 3 + 3);
        if value < 0.0 && plain.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
            text.push('\u{2212}');
        }
        for (index, digit) in whole.chars().enumerate() {
            if index > 0 && (whole.len() - index).is_multiple_of(3) {
                text.push(self.group);
            }
            text.push(digit);
        }
        if !fraction.is_empty() {
            text.push(self.decimal);
            text.push_str(fraction);
        }
        text
    }
}
