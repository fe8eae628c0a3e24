//! What the running kernel is and can do.

pub mod btf;
pub mod version;
