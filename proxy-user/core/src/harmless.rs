//! Text that somebody else chose, as it is shown to people: names of processes, paths of programs.
//!
//! A process names itself, and may put escape sequences for the reader's terminal, line breaks or marks that reverse the
//! direction of writing into its name.

use std::{borrow::Cow, path::Path};

/// On one line, with everything that a terminal would obey written as `\u{1b}`.
pub fn harmless(text: &str) -> Cow<'_, str> {
    escape(text, is_obeyed)
}

/// The same of a path.
pub fn harmless_path(path: &Path) -> String {
    harmless(&path.to_string_lossy()).into_owned()
}

/// Text of several lines, as a whole: line breaks and tabs stay.
pub fn harmless_lines(text: &str) -> Cow<'_, str> {
    escape(text, |character| !matches!(character, '\n' | '\t') && is_obeyed(character))
}

/// JSON, in which such a character can only be part of a string.
pub fn harmless_json(text: &str) -> Cow<'_, str> {
    let obeyed = |character: char| character != '\n' && is_obeyed(character);
    replace(text, obeyed, |out, character| out.push_str(&format!("\\u{:04x}", u32::from(character))))
}

fn escape(text: &str, obeyed: impl Fn(char) -> bool) -> Cow<'_, str> {
    replace(text, obeyed, |out, character| out.extend(character.escape_unicode()))
}

fn replace(text: &str, obeyed: impl Fn(char) -> bool, instead: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(&obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if obeyed(character) {
            instead(&mut out, character);
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// Control characters (C0, C1), line and paragraph separators, and what changes the direction of writing.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("nginx: worker", "nginx: worker")]
    #[case::other_letters("größe 名前", "größe 名前")]
    #[case::clears_the_screen("\x1b[2Jx", "\\u{1b}[2Jx")]
    #[case::sets_the_title("\x1b]0;root\x07", "\\u{1b}]0;root\\u{7}")]
    #[case::of_eight_bits("\u{9b}31m", "\\u{9b}31m")]
    #[case::another_line("a\nsidestep: all is well", "a\\u{a}sidestep: all is well")]
    #[case::over_the_line("a\rb\tc\u{7f}", "a\\u{d}b\\u{9}c\\u{7f}")]
    #[case::backwards("a\u{202e}b\u{2066}c\u{2028}d", "a\\u{202e}b\\u{2066}c\\u{2028}d")]
    fn nothing_of_it_is_obeyed(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(harmless(text), shown);
        assert_eq!(harmless_path(Path::new(text)), shown);
    }

    #[test]
    fn json_says_the_same_as_before() {
        let name = "a\u{202e}b\u{9b}c\u{7f}\n\x1b";
        let json = serde_json::to_string(name).unwrap();
        let shown = harmless_json(&json);
        assert!(shown.chars().all(|character| character.is_ascii_graphic()), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), name);
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(harmless_lines("a\tb\n\x1bc\r\n"), "a\tb\n\\u{1b}c\\u{d}\n");
    }
}
