//! Tables of cases, each of which is a test as well.

macro_rules! cases {
    ($part:ident; $($name:ident: $what:literal, $how:expr, $answer:expr;)*) => {
        pub(crate) const CASES: &[tests::cluster::case::Case] = &[$(
            tests::cluster::case::Case {
                part: tests::cluster::world::Part::$part,
                name: stringify!($name),
                what: $what,
                how: $how,
                answer: $answer,
            }
        ),*];
        $(
            #[test]
            fn $name() {
                let case = CASES.iter().find(|case| case.name == stringify!($name)).unwrap();
                tests::cluster::case::check(case);
            }
        )*
    };
}
