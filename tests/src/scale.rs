//! How much a test does: all of it, or less on machines that are emulated, where `SIDESTEP_SHORT` is set.

/// How many pods come and go: as many as `cargo xtask soak` says, else `full` or `short`.
///
/// # Panics
/// When `SIDESTEP_SOAK_PODS` is no number.
pub fn pods(short: usize, full: usize) -> usize {
    match std::env::var("SIDESTEP_SOAK_PODS") {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("SIDESTEP_SOAK_PODS={text}: {error}")),
        Err(_) => full_or(short, full),
    }
}

/// `full`, or `short` where `SIDESTEP_SHORT` is set and `SIDESTEP_LONG` is not.
pub fn full_or<T>(short: T, full: T) -> T {
    let is_set = |name| std::env::var_os(name).is_some();
    if is_set("SIDESTEP_SHORT") && !is_set("SIDESTEP_LONG") { short } else { full }
}
