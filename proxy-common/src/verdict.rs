//! What becomes of a connection, and the row of the decision table that said so.

use crate::named::named;

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
    ($($variant:ident = $name:literal, $target:ident, $doc:literal;)*) => {
        named! {
            /// The rows of the decision tables (`docs/decisions.md`), in evaluation order.
            Rule { $($variant = $name, $doc;)* }
        }

        impl Rule {
            /// Where a connection goes for which this row decides.
            pub const fn target(self) -> Target {
                match self { $(Rule::$variant => Target::$target,)* }
            }
        }
    };
}

rules! {
    NoRules = "none", Bypass, "no rules exist for this address family";
    O0 = "O0", Bypass, "leaves by an excluded interface";
    O1 = "O1", Bypass, "outbound port excluded";
    O2 = "O2", Bypass, "from the sidecar's passthrough source 127.0.0.6 or ::6, over lo";
    O3 = "O3", Inbound, "the proxy (uid) calls its own pod: handed to the inbound listener";
    O4 = "O4", Bypass, "another process than the proxy (uid) talks to its own pod over lo";
    O5 = "O5", Bypass, "the proxy's own traffic (uid)";
    O6 = "O6", Inbound, "the proxy (gid) calls its own pod: handed to the inbound listener";
    O7 = "O7", Bypass, "another process than the proxy (gid) talks to its own pod over lo";
    O8 = "O8", Bypass, "the proxy's own traffic (gid)";
    O9 = "O9", Bypass, "owner group excluded";
    O9Include = "O9'", Bypass, "owner group not among the included ones";
    O10 = "O10", Dns, "DNS over TCP";
    O11 = "O11", Dns, "DNS over UDP";
    O12 = "O12", Bypass, "to the loopback range";
    O13 = "O13", Bypass, "destination range excluded";
    O14 = "O14", Outbound, "outbound port included";
    O15 = "O15", Outbound, "every destination included";
    O15Range = "O15'", Outbound, "destination range included";
    O16 = "O16", Bypass, "no rule matched";
    I1 = "I1", Outbound, "from a virtual interface, every destination included";
    I1Range = "I1'", Outbound, "from a virtual interface, destination range included";
    I2 = "I2", Bypass, "from a virtual interface, not captured";
    I3 = "I3", Bypass, "arrives by an excluded interface";
    I4 = "I4", Bypass, "the HBONE tunnel port";
    I5 = "I5", Bypass, "inbound port excluded";
    I6 = "I6", Inbound, "every inbound port included";
    I6List = "I6'", Inbound, "inbound port included";
    I7 = "I7", Bypass, "no inbound rule matched";
    T0 = "T0", Bypass, "TPROXY: arrives by an excluded interface";
    T4 = "T4", Bypass, "TPROXY: inbound port excluded or not included";
    T6 = "T6", Inbound, "TPROXY: handed to the inbound listener";
}

named! {
    /// Rows that only iptables has: they mark packets, or keep apart what the programs never mix.
    IptablesRow {
        T1 = "T1", "TPROXY: the sidecar's transparent connection to the application, by its mark";
        T2 = "T2", "TPROXY: from the sidecar's passthrough source, over lo";
        T3 = "T3", "TPROXY: over lo, not marked as the proxy's call to its own pod";
        T5 = "T5", "TPROXY: packets of a connection already handed over";
        D1 = "D1", "DNS: connection tracking zone, agent to server";
        D2 = "D2", "DNS: connection tracking zone, agent to application";
        D3 = "D3", "DNS: connection tracking zone, application to server";
        D4 = "D4", "DNS: connection tracking zone, server to agent";
    }
}

/// A row of `docs/decisions.md`, to which a rule of iptables belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Row {
    /// The decision has it too.
    Decides(Rule),
    OnlyIptables(IptablesRow),
}

impl Row {
    pub fn all() -> impl Iterator<Item = Self> {
        let decides = Rule::ALL.iter().copied().map(Self::Decides);
        decides.chain(IptablesRow::ALL.iter().copied().map(Self::OnlyIptables))
    }

    /// The row's name in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decides(rule) => rule.name(),
            Self::OnlyIptables(row) => row.name(),
        }
    }

    /// What the row says, in one line.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Decides(rule) => rule.describe(),
            Self::OnlyIptables(row) => row.describe(),
        }
    }
}

impl From<Rule> for Row {
    fn from(rule: Rule) -> Self {
        Self::Decides(rule)
    }
}

impl From<IptablesRow> for Row {
    fn from(row: IptablesRow) -> Self {
        Self::OnlyIptables(row)
    }
}

impl From<Rule> for Option<Row> {
    fn from(rule: Rule) -> Self {
        Some(Row::Decides(rule))
    }
}

impl From<IptablesRow> for Option<Row> {
    fn from(row: IptablesRow) -> Self {
        Some(Row::OnlyIptables(row))
    }
}

impl Rule {
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        Verdict { target: self.target(), rule: self }
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
