//! A client of the Container Runtime Interface, one question at a time.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// What kubelet waits for the longest.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// One connection.
#[derive(Debug)]
pub(crate) struct Cri {
    runtime: Runtime,
    grpc: Grpc<Channel>,
}

impl Cri {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let runtime =
            Builder::new_current_thread().enable_all().build().context("a runtime for the client")?;
        let grpc = runtime.block_on(async {
            let mut once = Some(TokioIo::new(UnixStream::connect(socket).await?));
            let connector = tower::service_fn(move |_| {
                let stream = once.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
                async move { stream }
            });
            let endpoint = Endpoint::from_static("http://localhost").timeout(ANSWER_WITHIN);
            anyhow::Ok(Grpc::new(endpoint.connect_with_connector(connector).await?))
        });
        Ok(Self { runtime, grpc: grpc.with_context(|| format!("connect to {}", socket.display()))? })
    }

    /// Asks `method` of the service `RuntimeService`.
    pub(crate) fn ask<Q, A>(&mut self, method: &'static str, question: Q) -> Result<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = format!("/runtime.v1.RuntimeService/{method}").parse().context("a method's path")?;
        let answer = self.runtime.block_on(async {
            self.grpc.ready().await?;
            anyhow::Ok(
                self.grpc.unary(Request::new(question), path, ProstCodec::default()).await?.into_inner(),
            )
        });
        answer.with_context(|| method.to_owned())
    }
}
