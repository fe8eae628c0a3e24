//! The limit on open descriptors: a relayed connection takes two.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, as Envoy does: the usual 1024 is a default for programs that use select(2).
pub(super) fn raise_limit() {
    let outcome = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) }
    });
    if let Err(error) = outcome {
        tracing::warn!("limit on open files: {error}");
    }
}
