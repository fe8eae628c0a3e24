//! One connection to a runtime's socket, and so to one process behind it.

use std::{io, path::Path, path::PathBuf, time::Duration};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use proxy_core::harmless::harmless;
use tokio::{net::UnixStream, time::timeout};
use tonic::{
    Code, Request, Status, Streaming,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::v1::{VersionRequest, VersionResponse};

/// A node has hundreds of containers, and the runtime answers with all of them at once. gRPC's own limit is 4 MiB.
const LONGEST: usize = 16 << 20;
/// Until a runtime is connected to, and until it has said who it is: there may be others to try.
const CONNECT: Duration = Duration::from_secs(2);
/// A runtime under load takes its time. Kubelet waits two minutes.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// What is shown of a text of the runtime's.
const SHOWN: usize = 300;

/// Which runtime this is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    pub socket: PathBuf,
    pub name: String,
    pub version: String,
}

/// Why a question has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("it answers {0:?}: {1}")]
    Refused(Code, String),
    #[error("no answer within {} s", _0.as_secs_f32())]
    Late(Duration),
    #[error("{0}")]
    Lost(String),
}

#[derive(Clone, Debug)]
pub(super) struct Connection {
    grpc: Grpc<Channel>,
    answer_within: Duration,
    pub(super) about: About,
}

impl About {
    /// Whether each subscriber of its events gets all of them. With containerd 1.7 they take them from each other, and
    /// kubelet may be one of them.
    pub(super) fn broadcasts_events(&self) -> bool {
        match self.name.as_str() {
            "containerd" => {
                let major = self.version.trim_start_matches('v').split('.').next();
                major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 2)
            }
            "cri-o" => true,
            _ => false,
        }
    }
}

impl Connection {
    /// Connects, and asks who is there.
    pub(super) async fn open(socket: &Path, answer_within: Duration) -> Result<Self, Fault> {
        let lost = |error: &dyn std::error::Error| Fault::Lost(shown(&error.to_string()));
        let stream = timeout(CONNECT, UnixStream::connect(socket))
            .await
            .map_err(|_| Fault::Lost(format!("no connection within {} s", CONNECT.as_secs())))?
            .map_err(|error| lost(&error))?;
        // A channel connects again by itself. Another process would answer then, and it may be another version.
        let mut once = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_| {
            let stream = once.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            async move { stream }
        });
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .map_err(|error| lost(&error))?;
        let nobody = About { socket: socket.to_owned(), name: String::new(), version: String::new() };
        let grpc = Grpc::new(channel).max_decoding_message_size(LONGEST);
        let mut connection = Self { grpc, answer_within: answer_within.min(CONNECT), about: nobody };
        let version: VersionResponse =
            connection.ask("/runtime.v1.RuntimeService/Version", VersionRequest::default()).await?;
        connection.answer_within = answer_within;
        connection.about.name = shown(&version.runtime_name);
        connection.about.version = shown(&version.runtime_version);
        Ok(connection)
    }

    /// Asks one question, and waits for the answer so long and no longer.
    pub(super) async fn ask<Q, A>(&self, method: &'static str, question: Q) -> Result<A, Fault>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc.clone();
        let answer = async {
            grpc.ready().await.map_err(|error| Fault::Lost(shown(&error.to_string())))?;
            let path = PathAndQuery::from_static(method);
            grpc.unary(Request::new(question), path, ProstCodec::default()).await.map_err(fault)
        };
        // Dropping the question resets its stream, so that the runtime stops as well.
        let late = |_| Fault::Late(self.answer_within);
        Ok(timeout(self.answer_within, answer).await.map_err(late)??.into_inner())
    }

    /// Asks a question that is answered again and again, at the runtime's leisure.
    pub(super) async fn follow<Q, A>(&self, method: &'static str, question: Q) -> Result<Streaming<A>, Fault>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.map_err(|error| Fault::Lost(shown(&error.to_string())))?;
        let path = PathAndQuery::from_static(method);
        let answers = grpc.server_streaming(Request::new(question), path, ProstCodec::default()).await;
        Ok(answers.map_err(fault)?.into_inner())
    }
}

/// What the runtime itself has answered has no cause on our side.
fn fault(status: Status) -> Fault {
    match std::error::Error::source(&status) {
        None => Fault::Refused(status.code(), shown(status.message())),
        Some(_) => Fault::Lost(shown(status.message())),
    }
}

/// A text of the runtime's, short and on one line.
pub(super) fn shown(text: &str) -> String {
    let end = text.char_indices().nth(SHOWN).map_or(text.len(), |(at, _)| at);
    harmless(&text[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::debian_12("containerd", "1.6.20~ds1", false)]
    #[case::takes_events_from_each_other("containerd", "1.7.24", false)]
    #[case::with_a_letter("containerd", "v1.7.24", false)]
    #[case::containerd("containerd", "2.1.9", true)]
    #[case::k3s("containerd", "v2.1.4-k3s1", true)]
    #[case::ten("containerd", "v10.0.0", true)]
    #[case::crio("cri-o", "1.37.0", true)]
    #[case::somebody_else("docker", "28.0.0", false)]
    #[case::nothing("containerd", "", false)]
    fn events_are_for_everybody(#[case] name: &str, #[case] version: &str, #[case] expected: bool) {
        let about = About { socket: "/s".into(), name: name.to_owned(), version: version.to_owned() };
        assert_eq!(about.broadcasts_events(), expected);
    }

    #[test]
    fn a_text_of_the_runtimes_is_short_and_on_one_line() {
        let text = shown(&format!("a\nb\u{1b}[31m{}", "ü".repeat(1000)));
        assert!(text.starts_with("a\\u{a}b\\u{1b}[31m"), "{text}");
        assert!(text.chars().count() < SHOWN + 20);
    }
}
