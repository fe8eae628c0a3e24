//! The container runtime, as the Container Runtime Interface (v1) lets anybody ask it: which sandboxes there are, where
//! their network namespaces and cgroups lie, and who their sidecars run as.
//!
//! Whoever wants to know calls [`Runtime::pods`] every second or two: one short question, and a longer one for each
//! sandbox that was not there before. [`Runtime::look_now`] says when to look at once. What a runtime answers is a
//! stranger's: it is bounded, and no path or name of it is believed before somebody has looked.

mod connection;
mod events;
mod place;
mod round;
mod runtime;
mod sandbox;
mod sidecar;
mod status;
#[cfg(test)]
mod strange;
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1;

pub use connection::About;
pub use place::PLACES;
pub use runtime::{Away, Runtime};
pub use status::{Loaded, NetworkSetup};

use proxy_plane::netns::IdMap;

use crate::pod::{Pod, SandboxId};

/// What the runtime has, at one moment.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Snapshot {
    pub sandboxes: Vec<Sandbox>,
    /// Listed and ready, and there is too little said of them to decide. They are not gone.
    pub unclear: Vec<Unclear>,
}

/// One sandbox. One that was never ready while we looked is left out: nothing runs in it, and nothing will.
#[derive(Clone, PartialEq, Debug)]
pub struct Sandbox {
    pub pod: Pod,
    pub state: State,
    /// Where the pod has a user namespace of its own (`hostUsers: false`): who its users are on the node.
    pub users: Option<IdMap>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Ready,
    /// Its network namespace is gone, or about to be. The runtime lists it until Kubernetes removes it.
    NotReady,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unclear {
    /// None: what the runtime calls it cannot be an id.
    pub sandbox: Option<SandboxId>,
    /// Namespace and name as the runtime has them, to be shown only.
    pub name: String,
    pub reason: String,
}
