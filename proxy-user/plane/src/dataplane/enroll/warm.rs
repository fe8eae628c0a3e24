//! The programs of workloads that are still to come.

use anyhow::Result;
use proxy_core::{
    compile::compile,
    network::{Interfaces, Routes},
};

use super::survey::features;
use crate::dataplane::{
    acceleration::Plan, attach_options::AttachOptions, extras::Extras, known::Known, lock::Lock,
    observation::Observation, programs::Programs,
};

/// See [`crate::dataplane::Node::warm`].
pub(in crate::dataplane) fn warm(known: &Known, options: &AttachOptions, ipv6: bool) -> Result<()> {
    let compiled = compile(&options.config, ipv6, &Interfaces::default(), &Routes::default());
    let plan = Plan::of(&options.acceleration, known)?;
    let extras = Extras::new(options.acceleration.mode, plan, Observation::plan(options.observe, known));
    let (root, _lock) = Lock::take_making_root()?;
    let node_dir = known.ensure_dir()?;
    Programs::ensure(&root, &node_dir, known, features(&compiled, &extras)).map(drop)
}
