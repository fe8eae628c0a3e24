//! Texts that no runtime was seen to write, for tests.

use proptest::prelude::*;

/// One of these texts with one of its values replaced, or cut short there, with characters of its own.
pub(super) fn text(recorded: &'static [&'static str]) -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "null",
        "-1",
        "1e300",
        "4294967296",
        "\"\"",
        "\"../..\"",
        "[[]]",
        "{\"a\":{}}",
        "\"\\u0000\\u001b\"",
        "true",
    ]);
    let recorded = prop::sample::select(recorded);
    (recorded, any::<prop::sample::Index>(), odd, any::<bool>(), ".{0,20}").prop_map(
        |(text, at, odd, cut, noise)| {
            let places: Vec<usize> = text.match_indices([':', ',', '{', '[']).map(|(at, _)| at + 1).collect();
            let at = places[at.index(places.len())];
            let rest = if cut {
                &noise
            } else {
                text[at..].find([',', '}', ']']).map_or("", |end| &text[at + end..])
            };
            format!("{}{odd}{rest}", &text[..at])
        },
    )
}
