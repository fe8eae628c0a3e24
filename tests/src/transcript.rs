//! What a process wrote to a stream, and waiting for a line of it without polling.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct State {
    text: String,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The text a stream has delivered so far. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Transcript(Arc<Shared>);

impl Transcript {
    /// Reads `stream` to its end on a thread of its own.
    pub fn follow(stream: impl Read + Send + 'static) -> Self {
        let transcript = Self::default();
        let writer = transcript.clone();
        std::thread::spawn(move || writer.fill(stream));
        transcript
    }

    fn fill(&self, stream: impl Read) {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            self.lock().text.push_str(&String::from_utf8_lossy(&line));
            self.0.changed.notify_all();
            line.clear();
        }
        self.lock().ended = true;
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// Waits until `found` finds something in the text; `None` at the end of the stream or after `within`.
    pub fn wait<T>(&self, within: Duration, mut found: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        loop {
            if let Some(value) = found(&state.text) {
                return Some(value);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = match self.0.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Waits for the end of the stream; false after `within`.
    pub fn wait_end(&self, within: Duration) -> bool {
        self.wait(within, |_| None::<()>);
        self.lock().ended
    }
}
