//! A runtime without containers: it serves a table of sandboxes over a unix socket, in the messages of a real one.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt::Debug,
    fs,
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use prost::Message;
use proxy_agent::cri::v1::*;
use tokio::{net::UnixListener, runtime, sync::broadcast};
use tokio_stream::wrappers::{BroadcastStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, body::Body, server, server::NamedService, transport::Server};
use tonic_prost::ProstCodec;

/// A runtime on a socket in a directory of its own. It ends, as a process does, with `stop`.
pub(crate) struct Fake {
    dir: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    process: Option<runtime::Runtime>,
}

/// What it has, and what it was asked.
pub(crate) struct State {
    pub(crate) version: (&'static str, &'static str),
    pub(crate) sandboxes: Vec<FakeSandbox>,
    pub(crate) status: StatusResponse,
    /// What each method answers instead, by its name.
    pub(crate) refusals: BTreeMap<&'static str, Status>,
    /// Sandboxes whose status never comes.
    pub(crate) hanging: BTreeSet<String>,
    /// None: switched off, the stream ends at once.
    pub(crate) events: Option<broadcast::Sender<ContainerEventResponse>>,
    calls: BTreeMap<String, usize>,
}

#[derive(Clone)]
pub(crate) struct FakeSandbox {
    pub(crate) row: PodSandbox,
    pub(crate) status: Result<PodSandboxStatusResponse, Status>,
    pub(crate) containers: Vec<(Container, ContainerStatusResponse)>,
}

impl FakeSandbox {
    /// Ready, in a network namespace of its own; with a sidecar to come where `injected`.
    pub(crate) fn new(name: &str, injected: bool) -> Self {
        let metadata = PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "shop".to_owned(),
            attempt: 0,
        };
        let annotation = ("sidecar.istio.io/status".to_owned(), "{}".to_owned());
        let row = PodSandbox {
            id: format!("id-{name}"),
            metadata: Some(metadata),
            state: PodSandboxState::SandboxReady as i32,
            labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
            annotations: injected.then_some(annotation).into_iter().collect(),
        };
        Self { row, containers: Vec::new(), status: Ok(Self::status_of(name)) }
    }

    /// As CRI-O has it: no process, the namespace pinned.
    fn status_of(name: &str) -> PodSandboxStatusResponse {
        let info = serde_json::json!({"pid": 0, "runtimeSpec": {"linux": {
            "cgroupsPath": format!("/kubepods/poduid-{name}/crio-id-{name}"),
            "namespaces": [{"type": "mount"}, {"type": "network", "path": format!("/run/netns/{name}")}],
        }}});
        PodSandboxStatusResponse {
            info: BTreeMap::from([("info".to_owned(), info.to_string())]),
            status: None,
        }
    }

    pub(crate) fn on_the_nodes_network(mut self) -> Self {
        let info = r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"mount"}]}}}"#.to_owned();
        self.status = Ok(PodSandboxStatusResponse { info: [("info".to_owned(), info)].into(), status: None });
        self
    }

    pub(crate) fn add_container(&mut self, name: &str, uid: u32, variable: &str) {
        let id = format!("{}-{}-{}", self.row.id, name, self.containers.len());
        let container = Container {
            id,
            pod_sandbox_id: self.row.id.clone(),
            metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        };
        let process =
            serde_json::json!({"user": {"uid": uid, "gid": uid}, "env": [variable], "args": ["proxy"]});
        let info = serde_json::json!({"runtimeSpec": {"process": process}}).to_string();
        let status = ContainerStatusResponse { info: [("info".to_owned(), info)].into(), status: None };
        self.containers.push((container, status));
    }
}

impl Fake {
    pub(crate) fn start(version: (&'static str, &'static str), sandboxes: Vec<FakeSandbox>) -> Self {
        let state = State {
            version,
            sandboxes,
            status: StatusResponse::default(),
            refusals: BTreeMap::new(),
            hanging: BTreeSet::new(),
            events: None,
            calls: BTreeMap::new(),
        };
        let mut fake =
            Self { dir: tempfile::tempdir().unwrap(), state: Arc::new(Mutex::new(state)), process: None };
        fake.run();
        fake
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("runtime.sock")
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn calls(&self, method: &str) -> usize {
        self.state().calls.get(method).copied().unwrap_or_default()
    }

    /// Runs again, with the table it had.
    pub(crate) fn run(&mut self) {
        let process = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = process.enter();
            UnixListener::bind(self.socket()).unwrap()
        };
        let service = Service(Arc::clone(&self.state));
        process.spawn(async move {
            let router = Server::builder().add_service(service);
            router.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        });
        self.process = Some(process);
    }

    /// Ends it with all its connections, and takes the socket away.
    pub(crate) fn stop(&mut self) {
        self.process.take().unwrap().shutdown_background();
        fs::remove_file(self.socket()).unwrap();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // A test may end with the runtime stopped.
        if self.process.is_some() {
            self.stop();
        }
    }
}

#[derive(Clone)]
struct Service(Arc<Mutex<State>>);

impl NamedService for Service {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

type Answering = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        let state = Arc::clone(&self.0);
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let refusal = {
            let mut state = state.lock().unwrap();
            *state.calls.entry(method.clone()).or_default() += 1;
            state.refusals.get(method.as_str()).cloned()
        };
        if let Some(refusal) = refusal {
            return Box::pin(async move { Ok(refusal.into_http()) });
        }
        match method.as_str() {
            "Version" => unary(request, state, |state, _: VersionRequest| Ok(state.version())),
            "ListPodSandbox" => unary(request, state, |state, _: ListPodSandboxRequest| {
                Ok(ListPodSandboxResponse {
                    items: state.sandboxes.iter().map(|it| it.row.clone()).collect(),
                })
            }),
            "PodSandboxStatus" => unary(request, state, State::sandbox_status),
            "ListContainers" => unary(request, state, |state, question: ListContainersRequest| {
                let of = question.filter.unwrap_or_default().pod_sandbox_id;
                let containers =
                    state.sandboxes.iter().filter(|it| it.row.id == of).flat_map(|it| &it.containers);
                Ok(ListContainersResponse {
                    containers: containers.map(|(container, _)| container.clone()).collect(),
                })
            }),
            "ContainerStatus" => unary(request, state, |state, question: ContainerStatusRequest| {
                let mut containers = state.sandboxes.iter().flat_map(|it| &it.containers);
                let found = containers.find(|(container, _)| container.id == question.container_id);
                found.map(|(_, status)| status.clone()).ok_or_else(|| Status::not_found("no such container"))
            }),
            "Status" => unary(request, state, |state, _: StatusRequest| Ok(state.status.clone())),
            "GetContainerEvents" => events(request, state),
            _ => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}

impl State {
    fn version(&self) -> VersionResponse {
        VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: self.version.0.to_owned(),
            runtime_version: self.version.1.to_owned(),
            runtime_api_version: "v1".to_owned(),
        }
    }

    fn sandbox_status(
        &mut self,
        question: PodSandboxStatusRequest,
    ) -> Result<PodSandboxStatusResponse, Status> {
        let id = &question.pod_sandbox_id;
        *self.calls.entry(format!("PodSandboxStatus {id}")).or_default() += 1;
        let found = self.sandboxes.iter().find(|it| it.row.id == *id);
        let mut answer = found.ok_or_else(|| Status::not_found("no such sandbox"))?.status.clone()?;
        if !question.verbose {
            answer.info.clear();
        }
        Ok(answer)
    }
}

fn unary<Q, A>(
    request: http::Request<Body>,
    state: Arc<Mutex<State>>,
    answer: fn(&mut State, Q) -> Result<A, Status>,
) -> Answering
where
    Q: Message + Debug + Default + 'static,
    A: Message + 'static,
{
    let service = tower::service_fn(move |question: Request<Q>| {
        let state = Arc::clone(&state);
        async move {
            let text = format!("{:?}", question.get_ref());
            let hangs = state.lock().unwrap().hanging.iter().any(|id| text.contains(id.as_str()));
            if hangs {
                std::future::pending::<()>().await;
            }
            answer(&mut state.lock().unwrap(), question.into_inner()).map(Response::new)
        }
    });
    Box::pin(
        async move { Ok(server::Grpc::new(ProstCodec::<A, Q>::default()).unary(service, request).await) },
    )
}

type Events = Pin<Box<dyn Stream<Item = Result<ContainerEventResponse, Status>> + Send>>;

fn events(request: http::Request<Body>, state: Arc<Mutex<State>>) -> Answering {
    let service = tower::service_fn(move |_: Request<GetEventsRequest>| {
        let source = state.lock().unwrap().events.as_ref().map(broadcast::Sender::subscribe);
        async move {
            let events: Events = match source {
                Some(source) => Box::pin(
                    BroadcastStream::new(source)
                        .map(|it| it.map_err(|error| Status::internal(error.to_string()))),
                ),
                None => Box::pin(tokio_stream::empty()),
            };
            Ok::<_, Status>(Response::new(events))
        }
    });
    let codec = ProstCodec::<ContainerEventResponse, GetEventsRequest>::default();
    Box::pin(async move { Ok(server::Grpc::new(codec).server_streaming(service, request).await) })
}
