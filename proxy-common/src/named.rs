//! The macro for enums whose variants have a label and a line of description.

/// An enum without fields. One enum is the log text, the index of a counter and the label of a metric; its variants are
/// numbered from 0, so that maps carry the number.
macro_rules! named {
    ($(#[$outer:meta])* $name:ident { $($variant:ident = $label:literal, $doc:literal;)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum $name {
            $(#[doc = $doc] $variant,)*
        }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),*];
            pub const COUNT: usize = Self::ALL.len();

            /// Label in output, filters and metrics.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $label,)* }
            }

            /// What it means, in one line.
            pub const fn describe(self) -> &'static str {
                match self { $($name::$variant => $doc,)* }
            }

            /// From the number a map carries.
            pub fn from_index(index: u8) -> Option<Self> {
                Self::ALL.get(usize::from(index)).copied()
            }
        }
    };
}

pub(crate) use named;
