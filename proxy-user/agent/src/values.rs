//! What the operator says for every pod of the node.

use std::collections::BTreeMap;

use proxy_cni::entry::VALIDATION;
use proxy_core::config::{Acceleration, Observe};

use crate::select::Selection;

/// Applies to the pods that are there as well, without a restart of any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Values {
    pub selection: Selection,
    /// A pod waits to be captured if one of these is among the init containers that the injector has added.
    pub waits_for: Vec<String>,
    pub acceleration: Acceleration,
    pub observe: Observe,
    /// Of every sidecar's environment, where its container does not say otherwise: `proxyMetadata` of the mesh.
    pub proxy_env: BTreeMap<String, String>,
    /// uid and gid of every sidecar, until its container is known.
    pub proxy_id: Option<u32>,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            waits_for: vec![VALIDATION.to_owned()],
            acceleration: Acceleration::default(),
            observe: Observe::default(),
            proxy_env: BTreeMap::new(),
            proxy_id: None,
        }
    }
}
