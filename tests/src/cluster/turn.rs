//! Whose turn it is: cases share the cluster, and a test that stops programs of a node has it for itself.

use std::ops::Deref;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::world::{Part, World};
use crate::requirement::{Requirement, met};

static TURN: RwLock<()> = RwLock::new(());

/// Beside others.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    // A test that failed has said so; the next one begins anew.
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

/// The base's pods, for one test.
#[derive(Debug)]
pub struct Alone {
    world: &'static World,
    _turn: RwLockWriteGuard<'static, ()>,
}

impl Deref for Alone {
    type Target = World;

    fn deref(&self) -> &World {
        self.world
    }
}

/// Once no other test is at work, and until the end of the value. None: what it needs is not here.
///
/// # Panics
/// When the pods cannot be deployed.
pub fn alone(needs: Requirement) -> Option<Alone> {
    if !met(&[needs]) {
        return None;
    }
    let turn = TURN.write().unwrap_or_else(PoisonError::into_inner);
    let world = World::of(Part::Base).unwrap_or_else(|error| panic!("{error:#}"));
    Some(Alone { world, _turn: turn })
}
