//! Ctrl-C and the like, for what ends by itself once it has seen it.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// True once a signal came; caught from now on.
pub(crate) fn by_signal() -> Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).context("catch signals")?;
    }
    Ok(ended)
}
