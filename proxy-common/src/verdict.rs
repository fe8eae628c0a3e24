//! What becomes of a connection, and the row of the decision table that said so.

/// Where a connection goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Left alone.
    Bypass,
    /// The sidecar's outbound listener (15001).
    Outbound,
    /// The sidecar's inbound listener (15006).
    Inbound,
    /// The agent's DNS listener (15053).
    Dns,
}

/// The verdict on one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub target: Target,
    pub rule: Rule,
}

macro_rules! rules {
    ($($variant:ident = $name:literal, $doc:literal;)*) => {
        /// The rows of the decision tables (`docs/decisions.md`), in evaluation order. One enum is the log text,
        /// the counter index and the metric label.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Rule {
            $(#[doc = $doc] $variant,)*
        }

        impl Rule {
            pub const ALL: &'static [Rule] = &[$(Rule::$variant),*];

            /// The row's name in the tables.
            pub const fn name(self) -> &'static str {
                match self { $(Rule::$variant => $name,)* }
            }

            /// What the row says, in one line.
            pub const fn describe(self) -> &'static str {
                match self { $(Rule::$variant => $doc,)* }
            }
        }
    };
}

rules! {
    NoRules = "none", "no rules exist for this address family";
    O0 = "O0", "leaves by an excluded interface";
    O1 = "O1", "outbound port excluded";
    O2 = "O2", "from the sidecar's passthrough source 127.0.0.6 or ::6, over lo";
    O3 = "O3", "the proxy (uid) calls its own pod: handed to the inbound listener";
    O4 = "O4", "another process than the proxy (uid) talks to its own pod over lo";
    O5 = "O5", "the proxy's own traffic (uid)";
    O6 = "O6", "the proxy (gid) calls its own pod: handed to the inbound listener";
    O7 = "O7", "another process than the proxy (gid) talks to its own pod over lo";
    O8 = "O8", "the proxy's own traffic (gid)";
    O9 = "O9", "owner group excluded";
    O9Include = "O9'", "owner group not among the included ones";
    O10 = "O10", "DNS over TCP";
    O11 = "O11", "DNS over UDP";
    O12 = "O12", "to the loopback range";
    O13 = "O13", "destination range excluded";
    O14 = "O14", "outbound port included";
    O15 = "O15", "every destination included";
    O15Range = "O15'", "destination range included";
    O16 = "O16", "no rule matched";
    I1 = "I1", "from a virtual interface, every destination included";
    I1Range = "I1'", "from a virtual interface, destination range included";
    I2 = "I2", "from a virtual interface, not captured";
    I3 = "I3", "arrives by an excluded interface";
    I4 = "I4", "the HBONE tunnel port";
    I5 = "I5", "inbound port excluded";
    I6 = "I6", "every inbound port included";
    I6List = "I6'", "inbound port included";
    I7 = "I7", "no inbound rule matched";
    T0 = "T0", "TPROXY: arrives by an excluded interface";
    T4 = "T4", "TPROXY: inbound port excluded or not included";
    T6 = "T6", "TPROXY: handed to the inbound listener";
}

impl Rule {
    pub const COUNT: usize = Self::ALL.len();
}

impl Verdict {
    #[inline(always)]
    pub const fn bypass(rule: Rule) -> Self {
        Self { target: Target::Bypass, rule }
    }

    #[inline(always)]
    pub const fn to(target: Target, rule: Rule) -> Self {
        Self { target, rule }
    }
}

impl Target {
    pub const fn name(self) -> &'static str {
        match self {
            Target::Bypass => "bypass",
            Target::Outbound => "outbound",
            Target::Inbound => "inbound",
            Target::Dns => "dns",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn a_rule_is_its_own_counter_index() {
        for (index, rule) in Rule::ALL.iter().enumerate() {
            assert_eq!(*rule as usize, index);
        }
    }
}
