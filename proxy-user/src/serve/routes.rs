//! The paths.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use proxy_plane::flows;
use tower_http::compression::CompressionLayer;

use super::{
    metrics::{self, Format},
    node::{FLOWS, Node},
    snapshot::{Reader, Snapshot},
};

pub(super) fn all(reader: Arc<Reader>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/api/v1/node", get(node))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .layer(CompressionLayer::new())
        .with_state(reader)
}

/// One file with everything in it: nothing is fetched from elsewhere, and the browser is told so.
async fn page() -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                          connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'";
    let headers = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-cache")];
    (headers, Html(include_str!("page.html"))).into_response()
}

async fn node(State(reader): State<Arc<Reader>>) -> Response {
    let json = blocking(move || {
        let flows = flows::busiest(FLOWS)?;
        serde_json::to_string(&Node::of(&*reader.read()?, flows)).context("write the node")
    });
    match json.await {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => unavailable(&error),
    }
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
