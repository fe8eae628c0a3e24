//! Whose turn it is: cases share the cluster, and a test that stops programs of a node has it for itself.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static TURN: RwLock<()> = RwLock::new(());

/// Beside others.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    // A test that failed has said so; the next one begins anew.
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

/// Once no other test is at work, and until the end of the value.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}
