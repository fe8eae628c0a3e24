//! The open connections: each in a task of its own, none for ever, and not too many.

use std::{
    convert::Infallible,
    future::Future as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper::{server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinHandle,
};

use super::listen::Stream;

/// From the first byte waited for to the last one of a request's head. It also ends connections on which no other request
/// comes: who asks again connects again.
pub(super) const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// A node has a Prometheus or two and a few people with a browser. What is over this ends the oldest that has no request.
pub(super) const MOST: usize = 128;

pub(super) struct Connections {
    app: Router,
    open: Vec<Open>,
    stop: watch::Sender<bool>,
}

struct Open {
    task: JoinHandle<()>,
    /// Requests under way.
    requests: Arc<AtomicUsize>,
}

impl Connections {
    pub(super) fn of(app: Router) -> Self {
        Self { app, open: Vec::new(), stop: watch::Sender::new(false) }
    }

    pub(super) fn add(&mut self, stream: Stream) {
        self.open.retain(|open| !open.task.is_finished());
        if self.open.len() >= MOST {
            let Some(idle) = self.open.iter().position(|open| open.requests.load(Ordering::Relaxed) == 0)
            else {
                // All are at work: this one is closed.
                return;
            };
            self.open.remove(idle).task.abort();
        }
        let requests = Arc::new(AtomicUsize::new(0));
        let (app, count, stop) = (self.app.clone(), Arc::clone(&requests), self.stop.subscribe());
        let task = match stream {
            Stream::Tcp(stream) => tokio::spawn(converse(stream, app, count, stop)),
            Stream::Unix(stream) => tokio::spawn(converse(stream, app, count, stop)),
        };
        self.open.push(Open { task, requests });
    }

    /// Answers what was asked already, and closes all. Whoever stops polling this gives up on the rest.
    pub(super) async fn drain(mut self) {
        self.stop.send_replace(true);
        for open in self.open.drain(..) {
            let _ = open.task.await;
        }
    }
}

/// A request under way, until its answer is there.
struct Asked(Arc<AtomicUsize>);

impl Asked {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn converse<S>(stream: S, app: Router, requests: Arc<AtomicUsize>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let app = TowerToHyperService::new(app);
    let service = hyper::service::service_fn(move |request| {
        let asked = Asked::begin(&requests);
        let answer = app.call(request);
        async move {
            let answer: Result<_, Infallible> = answer.await;
            drop(asked);
            answer
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST_WITHIN);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut stopped = std::pin::pin!(async move { stop.wait_for(|stop| *stop).await.is_ok() });
    let mut told = false;
    std::future::poll_fn(|context| {
        if !told && stopped.as_mut().poll(context).is_ready() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        // What is wrong with a connection is the client's to know.
        connection.as_mut().poll(context).map(drop)
    })
    .await;
}
