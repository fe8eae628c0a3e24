//! The paths.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tower_http::compression::CompressionLayer;

use super::{
    metrics::{self, Format},
    snapshot::{Reader, Snapshot},
};

pub(super) fn all(reader: Arc<Reader>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .layer(CompressionLayer::new())
        .with_state(reader)
}

async fn metrics(State(reader): State<Arc<Reader>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::preferred(accept);
    let page = blocking(move || {
        let snapshot = reader.read()?;
        metrics::render(&snapshot, format).context("write the metrics")
    });
    match page.await {
        Ok(page) => {
            ([(header::CONTENT_TYPE, format.content_type()), (header::VARY, "Accept")], page).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

/// Ready: the pins can be read. That no workload is attached is no fault.
async fn ready(State(reader): State<Arc<Reader>>) -> Response {
    match blocking(move || reader.read()).await {
        Ok(snapshot) => (StatusCode::OK, said(&snapshot)).into_response(),
        Err(error) => unavailable(&error),
    }
}

fn said(seen: &Snapshot) -> String {
    let mut text = format!("ready: {} workloads\n", seen.workloads.len());
    text.extend(seen.unreadable.iter().map(|line| format!("unreadable: {line}\n")));
    text
}

fn unavailable(error: &anyhow::Error) -> Response {
    tracing::warn!("{error:#}");
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response()
}

/// bpf(2) does not wait, but it takes its time.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(read).await.context("read the maps")?
}
