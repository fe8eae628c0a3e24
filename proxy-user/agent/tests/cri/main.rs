//! The client of the container runtime, and a stand-in for the runtime.

mod crio;
mod deadlines;
mod events;
mod fake;
mod messages;
mod places;
mod restart;
mod sandboxes;
mod sidecars;
mod status;
mod uninstall;
