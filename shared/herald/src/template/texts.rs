//! Texts in several languages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::audience::kind;
use crate::problem::{Faults, pointer};

/// Stands for the languages that a text is not written in.
pub const ANY_LANGUAGE: &str = "*";

/// Texts by name, each by language: `{"greeting": {"de": "Guten Tag", "*": "Hello"}}`. They have no expressions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Texts(BTreeMap<String, BTreeMap<String, String>>);

impl Texts {
    /// Parses texts. Each has to be written for [`ANY_LANGUAGE`], so that each recipient has a text.
    pub(super) fn parse(value: &Value, at: &str, faults: &mut Faults) -> Self {
        let Value::Object(texts) = value else {
            faults.note(at, format!("must be an object, found {}", kind(value)));
            return Self::default();
        };
        let mut parsed = BTreeMap::new();
        for (name, languages) in texts {
            let at = pointer(at, name);
            let Value::Object(languages) = languages else {
                let detail =
                    "must be an object with a text for each language, like {\"de\": \"…\", \"*\": \"…\"}";
                faults.note(at, detail);
                continue;
            };
            if !languages.contains_key(ANY_LANGUAGE) {
                faults.note(
                    pointer(&at, ANY_LANGUAGE),
                    "is missing: the text for every other language",
                );
            }
            let mut by_language = BTreeMap::new();
            for (language, text) in languages {
                match text {
                    Value::String(text) if language == ANY_LANGUAGE || is_language(language) => {
                        by_language.insert(language.to_ascii_lowercase(), text.clone());
                    }
                    Value::String(_) => {
                        let detail =
                            "must be named by a language tag (BCP 47) such as `de` or `de-CH`, or `*`";
                        faults.note(pointer(&at, language), detail);
                    }
                    other => {
                        let detail = format!("must be a text, found {}", kind(other));
                        faults.note(pointer(&at, language), detail);
                    }
                }
            }
            parsed.insert(name.clone(), by_language);
        }
        Self(parsed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The texts in the language of this locale: of `de-CH-1996` those for `de-CH-1996`, else `de-CH`, else `de`, else `*` (RFC 4647,
    /// section 3.4).
    pub(super) fn in_language(&self, locale: Option<&str>) -> Map<String, Value> {
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        let chosen = |languages: &BTreeMap<String, String>| {
            let mut range = locale.as_str();
            loop {
                if let Some(text) = languages.get(range) {
                    return Some(text.clone());
                }
                match range.rsplit_once('-') {
                    Some((shorter, _)) => range = shorter,
                    None => return languages.get(ANY_LANGUAGE).cloned(),
                }
            }
        };
        let texts = self.0.iter();
        texts
            .filter_map(|(name, languages)| Some((name.clone(), Value::String(chosen(languages)?))))
            .collect()
    }
}

fn is_language(tag: &str) -> bool {
    let is_subtag = |subtag: &str| {
        (1..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    tag.split('-').all(is_subtag)
}
