//! One question to the agent, with a deadline for all of it.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use crate::wire::{self, Answer, Request};

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Silence {
    NotThere,
    Refused,
    TooLate(Duration),
    Broken(String),
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere => f.write_str("there is no such socket"),
            Self::Refused => f.write_str("nobody listens there"),
            Self::TooLate(deadline) => write!(f, "no answer within {} s", deadline.as_secs()),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

/// Asks, and waits no longer than `deadline`.
///
/// # Errors
/// Without an answer.
pub fn ask(socket: &Path, request: &Request, deadline: Duration) -> Result<Answer, Silence> {
    let request = serde_json::to_vec(request).map_err(|error| Silence::Broken(error.to_string()))?;
    if request.len() > wire::LONGEST {
        return Err(Silence::Broken(format!("the question is longer than {} bytes", wire::LONGEST)));
    }
    let socket = socket.to_owned();
    let (sender, receiver) = mpsc::channel();
    // connect(2) waits without end for an agent that does not accept, and std has no time limit for it. The
    // thread goes with the process.
    thread::spawn(move || sender.send(exchange(&socket, &request)));
    match receiver.recv_timeout(deadline) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => Err(Silence::TooLate(deadline)),
        Err(RecvTimeoutError::Disconnected) => Err(Silence::Broken("the plugin's thread died".to_owned())),
    }
}

fn exchange(socket: &Path, request: &[u8]) -> Result<Answer, Silence> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Silence::NotThere,
        io::ErrorKind::ConnectionRefused => Silence::Refused,
        _ => Silence::Broken(format!("connect: {error}")),
    })?;
    // An agent may answer before it has read all of a question, and close: the answer counts.
    let asked = stream.write_all(request).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    let heard = stream.take(wire::LONGEST as u64 + 1).read_to_end(&mut answer);
    if answer.len() > wire::LONGEST {
        return Err(Silence::Broken(format!("its answer is longer than {} bytes", wire::LONGEST)));
    }
    serde_json::from_slice(&answer).map_err(|undecodable| {
        Silence::Broken(match (asked, heard) {
            (Err(error), _) => format!("ask: {error}"),
            (_, Err(error)) => format!("hear the answer: {error}"),
            _ if answer.is_empty() => "it closed the connection without an answer".to_owned(),
            _ => format!("its answer: {undecodable}"),
        })
    })
}
