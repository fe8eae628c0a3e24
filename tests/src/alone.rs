//! Tests that change or count what is the whole node's, so that others of their file wait for them.

use std::sync::{Mutex, MutexGuard, PoisonError};

static ALONE: Mutex<()> = Mutex::new(());

/// Until the answer is dropped, no other test of this binary that asks so runs.
pub fn alone() -> MutexGuard<'static, ()> {
    // A test that has failed leaves nothing that another one minds.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
