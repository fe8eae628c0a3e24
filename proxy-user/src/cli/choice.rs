//! Flags whose value is one of a few words.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use proxy_core::config::Choice;

/// Takes the words of `T`, and shows them in the help with what they stand for.
pub(super) fn parser<T: Choice + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let words = T::ALL.iter().map(|(_, word, help)| {
        let former = T::FORMER.iter().filter(move |(_, now)| now == word).map(|(former, _)| *former);
        PossibleValue::new(*word).help(*help).aliases(former)
    });
    // Only a word of `T` comes here.
    PossibleValuesParser::new(words).map(|text| T::of_word(&text).unwrap_or_default())
}
