//! What the running kernel is and can do.

pub mod btf;
pub mod feature;
mod probe;
pub mod version;
