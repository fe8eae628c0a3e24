//! Names come from whoever made the pod, and end in a terminal. proxy-core says the same with more ways to
//! ask for it; the plugin does without what proxy-core depends on.

/// On one line, with everything that a terminal would obey written as `\u{1b}`.
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_obeyed(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
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
    #[case::plain("größe 名前", "größe 名前")]
    #[case::clears_the_screen("\x1b[2Jx", "\\u{1b}[2Jx")]
    #[case::of_eight_bits("\u{9b}31m", "\\u{9b}31m")]
    #[case::another_line("a\nb\u{7f}", "a\\u{a}b\\u{7f}")]
    #[case::backwards("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c")]
    fn nothing_of_it_is_obeyed(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(harmless(text), shown);
    }
}
