//! `sidestep-cni`: see the library.

fn main() {}
