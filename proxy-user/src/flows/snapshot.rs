//! Flows at one moment.

use anyhow::Result;

use super::{
    clock::Clock,
    end,
    filter::Filter,
    flow::{Flow, State},
    join,
    journal::Reader,
};
use crate::dataplane::list_pin;

/// Open flows.
pub fn live(filter: &Filter) -> Result<Vec<Flow>> {
    let mut flows = join::flows(&join::known(end::live()?), Clock::now()?);
    flows.retain(|flow| flow.state == State::Live && filter.matches(flow));
    Ok(flows)
}

/// Open flows, and those that closed lately, in the order of their SYNs.
pub fn recent(filter: &Filter) -> Result<Vec<Flow>> {
    if list_pin().is_none() {
        return Ok(Vec::new());
    }
    // The journal first: what closes in between is in both, and the later look wins.
    let closed = Reader::open(true)?.read();
    let mut flows = join::flows(&join::known(closed.into_iter().chain(end::live()?)), Clock::now()?);
    flows.retain(|flow| filter.matches(flow));
    flows.sort_by_key(|flow| flow.times.syn);
    Ok(flows)
}
