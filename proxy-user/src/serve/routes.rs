//! The paths.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use proxy_agent::report::Report;
use proxy_plane::flows;
use tower_http::compression::CompressionLayer;

use super::{
    hosts::Hosts,
    metrics::{self, Format},
    node::{FLOWS, Node},
    snapshot::{Reader, Snapshot},
};

/// `hosts`: under which names it answers; without them under any.
pub(super) fn all(reader: Arc<Reader>, hosts: Option<Hosts>) -> Router {
    let routes = Router::new().route("/", get(page)).route("/api/v1/node", get(node));
    finished(routes.merge(asked_by_machines()), reader, hosts)
}

/// What kubelet and Prometheus ask for, and nothing of flows and processes.
pub(super) fn of_machines(reader: Arc<Reader>, hosts: Option<Hosts>) -> Router {
    finished(asked_by_machines(), reader, hosts)
}

fn asked_by_machines() -> Router<Arc<Reader>> {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
}

fn finished(routes: Router<Arc<Reader>>, reader: Arc<Reader>, hosts: Option<Hosts>) -> Router {
    let routes = routes.layer(CompressionLayer::new()).with_state(reader);
    match hosts {
        Some(hosts) => routes.layer(from_fn_with_state(hosts, check_host)),
        None => routes,
    }
}

/// See [`Hosts`].
async fn check_host(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    // A request for a proxy names it in its first line, and that is what counts then (RFC 9112, section 3.2.2).
    let in_target = request.uri().host().map(str::to_owned);
    let host = in_target.or_else(|| {
        let value = request.headers().get(header::HOST)?;
        Some(value.to_str().unwrap_or_default().to_owned())
    });
    if hosts.allow(host.as_deref()) {
        return next.run(request).await;
    }
    const SAID: &str =
        "this server answers under its addresses and localhost; start it with --host-name for another name\n";
    (StatusCode::MISDIRECTED_REQUEST, SAID).into_response()
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

/// Ready: the pins can be read, and the agent, if there is one, has decided every pod. That no workload is attached is no
/// fault.
async fn ready(State(reader): State<Arc<Reader>>) -> Response {
    match blocking(move || reader.read()).await {
        Ok(snapshot) => match snapshot.agent.as_ref().map(Report::ready) {
            Some(Err(missing)) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {missing}\n")).into_response()
            }
            _ => (StatusCode::OK, said(&snapshot)).into_response(),
        },
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
