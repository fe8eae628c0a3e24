//! Interfaces with rules of their own: excluded ones, and those of nested virtual machines.

use proxy_common::verdict::Rule;

use super::{
    program::Program,
    rule::{Chain, Match, Table, Target},
};
use crate::config::Mode;

/// Rows O0, I3 and T0.
pub(super) fn excluded(program: &mut Program<'_>) {
    let names = &program.config.exclude_interfaces;
    exclude_in(program, names, Table::Nat, (Rule::I3, Rule::O0));
    if program.config.mode == Mode::Tproxy {
        exclude_in(program, names, Table::Mangle, (Rule::T0, Rule::T0));
    }
}

fn exclude_in(program: &mut Program<'_>, names: &[String], table: Table, (row_in, row_out): (Rule, Rule)) {
    for name in names {
        let (arriving, leaving) = (Match::InInterface(name.clone()), Match::OutInterface(name.clone()));
        program.append(row_in, table, Chain::Prerouting, [arriving], Target::Return);
        program.append(row_out, table, Chain::Output, [leaving], Target::Return);
    }
}

/// Row I2. The redirects of row I1 are inserted before these, once the ranges are known.
pub(super) fn kube_virt(program: &mut Program<'_>) {
    for name in &program.config.kube_virt_interfaces {
        let from = Match::InInterface(name.clone());
        program.insert(Rule::I2, Table::Nat, (Chain::Prerouting, 1), [from], Target::Return);
    }
}
