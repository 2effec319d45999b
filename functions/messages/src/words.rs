//! The words by which people opt out of notifications, in and to their settings, in each [`Language`].

use botframework::app::{Context, Trigger};
use herald::language::{LANGUAGES, Language};

/// What a person wants by a word. A handler is registered for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// No more notifications, of a category or at all.
    Stop,
    /// Notifications again.
    Start,
    /// What there is, and what is chosen.
    Settings,
}

/// A word that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaidWord {
    /// The language of the answer.
    pub language: &'static Language,
    /// What follows the word: the category that is meant.
    pub about: String,
}

impl Word {
    fn of(self, language: &Language) -> &'static [&'static str] {
        match self {
            Self::Stop => language.stop,
            Self::Start => language.start,
            Self::Settings => language.settings,
        }
    }

    /// What follows the word in a text of a language.
    fn rest<'t>(self, language: &Language, text: &'t str) -> Option<&'t str> {
        let words = self.of(language).iter();
        words
            .filter_map(|word| after(word, text))
            .min_by_key(|rest| rest.len())
    }

    /// Reads what a person says, whose client has this locale.
    pub fn read(self, text: &str, locale: Option<&str>) -> Option<SaidWord> {
        let own = locale.and_then(Language::of_locale);
        let all = own.into_iter().chain(&LANGUAGES);
        let mut said = all.filter_map(|language| Some((language, self.rest(language, text)?)));
        said.next().map(|(language, rest)| SaidWord {
            language,
            about: rest
                .trim_matches(|one: char| one.is_whitespace() || ".!".contains(one))
                .to_owned(),
        })
    }
}

impl Trigger for Word {
    type Input = SaidWord;

    fn input(&self, context: &Context) -> Option<SaidWord> {
        let activity = context.activity();
        let text = activity.is_message().then(|| context.text())?;
        self.read(text, activity.locale.as_deref())
    }
}

/// What follows a word in a text, if it begins with the word, in any case.
fn after<'t>(word: &str, text: &'t str) -> Option<&'t str> {
    let text = text.trim();
    let mut rest = text.chars();
    for expected in word.chars() {
        let found = rest.next()?;
        found.to_lowercase().eq(expected.to_lowercase()).then_some(())?;
    }
    let rest = rest.as_str();
    let ends = rest
        .chars()
        .next()
        .is_none_or(|next| next.is_whitespace() || ".!".contains(next));
    ends.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(word: Word, text: &str, locale: &str) -> Option<(&'static str, String)> {
        word.read(text, Some(locale).filter(|locale| !locale.is_empty()))
            .map(|said| (said.language.code, said.about))
    }

    #[test]
    fn a_word_is_known_in_each_language_in_any_case_with_what_follows() {
        for (word, text, locale, expected) in [
            (Word::Stop, "Stop", "", ("en", "")),
            (Word::Stop, " STOP news! ", "en-GB", ("en", "news")),
            (Word::Stop, "opt out build failures", "", ("en", "build failures")),
            (Word::Stop, "Stopp", "", ("de", "")),
            (Word::Stop, "stop", "de-DE", ("de", "")),
            (Word::Stop, "ARRÊTER", "en-US", ("fr", "")),
            (Word::Start, "Reprendre actualités", "", ("fr", "actualités")),
            (Word::Settings, "Einstellungen", "ja-JP", ("de", "")),
            (Word::Settings, "configurações.", "", ("pt", "")),
            (Word::Stop, "parar", "pt-BR", ("pt", "")),
            (Word::Start, "hervatten", "", ("nl", "")),
        ] {
            let expected = Some((expected.0, expected.1.to_owned()));
            assert_eq!(said(word, text, locale), expected, "{text}");
        }
        for text in ["", "stopping", "please stop", "stopwatch 5", "st", "unstop"] {
            assert_eq!(said(Word::Stop, text, ""), None, "{text}");
        }
    }
}
