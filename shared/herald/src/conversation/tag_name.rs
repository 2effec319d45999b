//! The normal form of tags: the API, the bot, selectors and imports mean the same tag by `Builds`, `builds` and ` builds `.

use unicode_normalization::UnicodeNormalization;

/// The longest tag, in bytes of its normal form.
pub const TAG_BYTES_MAX: usize = 64;

/// Longer names are no tags in any form.
const NAME_BYTES_MAX: usize = 1024;

/// The normal form of a tag: lower case, trimmed, one space between words, composed (NFC), and no zero-width
/// characters. `None` for what is no tag: an empty or too long one, or one
/// with control characters.
pub fn normalize_tag(name: &str) -> Option<String> {
    if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return None;
    }
    let visible = name.chars().filter(|one| !is_zero_width(*one));
    let mut tag = String::with_capacity(name.len());
    let mut is_between_words = false;
    for one in visible {
        if one.is_whitespace() {
            is_between_words = !tag.is_empty();
            continue;
        }
        if std::mem::take(&mut is_between_words) {
            tag.push(' ');
        }
        tag.extend(
            one.to_lowercase()
                .map(|lower| if lower == 'ς' { 'σ' } else { lower }),
        );
    }
    let tag: String = tag.nfc().collect();
    (1..=TAG_BYTES_MAX).contains(&tag.len()).then_some(tag)
}

fn is_zero_width(one: char) -> bool {
    matches!(one, '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_one_form() {
        for (name, tag) in [
            ("Builds", "builds"),
            ("  builds\u{a0} now ", "builds now"),
            ("builds  now", "builds now"),
            ("C#", "c#"),
            ("a/b", "a/b"),
            ("ÄRZTE", "ärzte"),
            ("A\u{308}rzte", "ärzte"),
            ("e\u{302}\u{301}", "ế"),
            ("И\u{306}од", "йод"),
            ("ΟΔΟΣ", "οδοσ"),
            ("οδος", "οδοσ"),
            ("bu\u{200b}ilds\u{feff}", "builds"),
            ("日本", "日本"),
        ] {
            assert_eq!(normalize_tag(name).as_deref(), Some(tag), "{name:?}");
            assert_eq!(
                normalize_tag(tag).as_deref(),
                Some(tag),
                "the form is its own form"
            );
        }
    }

    #[test]
    fn what_is_no_tag_has_no_form() {
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        for name in [
            "",
            " ",
            "\u{200b}",
            "a\nb",
            "a\tb",
            "\u{7}",
            &*long,
            &" ".repeat(5000),
        ] {
            assert_eq!(normalize_tag(name), None, "{name:?}");
        }
        assert!(normalize_tag(&format!("  {}  ", "x".repeat(TAG_BYTES_MAX))).is_some());
    }
}
