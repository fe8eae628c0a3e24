//! The agent and its CNI plugin on nodes with a real containerd, and a client that does what kubelet does.

mod churn;
mod cri;
mod enclosure;
mod first;
mod image;
mod in_its_image;
mod left_alone;
mod lifecycle;
mod messages;
mod node;
mod plugin;
mod pod;
mod restarts;
mod users;
