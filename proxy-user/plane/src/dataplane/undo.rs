//! What has been done, to be taken back when a later step fails: the last first.

use anyhow::Result;

/// Dropped before [`Undo::keep`], everything is taken back.
#[derive(Default)]
pub(super) struct Undo<'a>(Vec<Step<'a>>);

type Step<'a> = (String, Box<dyn FnOnce() -> Result<()> + 'a>);

impl<'a> Undo<'a> {
    /// How to take back what was just done, and what stays if that fails.
    pub(super) fn push(&mut self, stays: impl Into<String>, step: impl FnOnce() -> Result<()> + 'a) {
        self.0.push((stays.into(), Box::new(step)));
    }

    /// Everything went well.
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some((stays, step)) = self.0.pop() {
            if let Err(error) = step() {
                tracing::error!("taken back but for this: {stays} ({error:#})");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anyhow::bail;

    use super::*;

    #[test]
    fn steps_are_taken_back_from_the_last_on_and_one_that_fails_stops_nobody() {
        let seen = RefCell::new(Vec::new());
        let mut undo = Undo::default();
        undo.push("a", || {
            seen.borrow_mut().push(1);
            Ok(())
        });
        undo.push("b", || bail!("no"));
        undo.push("c", || {
            seen.borrow_mut().push(3);
            Ok(())
        });
        drop(undo);
        assert_eq!(*seen.borrow(), [3, 1]);
    }

    #[test]
    fn what_is_kept_is_not_taken_back() {
        let mut undo = Undo::default();
        undo.push("a", || panic!("taken back"));
        undo.keep();
    }
}
