//! How much a test does: all of it, or less on machines that are emulated, where `SIDESTEP_SHORT` is set.

/// `full`, or `short` where `SIDESTEP_SHORT` is set and `SIDESTEP_LONG` is not.
pub fn full_or<T>(short: T, full: T) -> T {
    let is_set = |name| std::env::var_os(name).is_some();
    if is_set("SIDESTEP_SHORT") && !is_set("SIDESTEP_LONG") { short } else { full }
}
