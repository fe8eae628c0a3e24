//! What agents say of their nodes: of this one, and of each node of a cluster through kubectl.

mod agent;
mod kubectl;
mod node;
mod summary;

pub use agent::{Where, ask};
pub use kubectl::{AgentPod, Kubectl};
pub use node::{Answer, Pod, State};
pub use summary::{Node, Nodes};
