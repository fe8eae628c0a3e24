//! Settings that are one of a few words.

/// The words, what they stand for, and what the help says of them.
pub trait Choice: Copy + Default + PartialEq + 'static {
    const ALL: &'static [(Self, &'static str, &'static str)];
    /// Words of earlier versions, which are still taken, and the words they stand for.
    const FORMER: &'static [(&'static str, &'static str)] = &[];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(choice, ..)| *choice == self).map_or("", |(_, word, _)| word)
    }

    fn of_word(text: &str) -> Option<Self> {
        let text = Self::FORMER.iter().find(|(former, _)| *former == text).map_or(text, |(_, word)| word);
        Self::ALL.iter().find(|(_, word, _)| *word == text).map(|(choice, ..)| *choice)
    }
}
