//! Pods that start, are asked by kubelet, restart and end.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tests::cluster::case::Answer::Same;
use tests::cluster::case::How::Do;
use tests::cluster::case::ask;
use tests::cluster::way::Way;
use tests::cluster::world::{World, is_ready};
use tests::wait::until_some;

const WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(700);

cases! { More;
    jobs: "Jobs end: with a native sidecar, and with an ordinary one told by quitquitquit (EXIT_ON_ZERO_ACTIVE_CONNECTIONS)",
        Do(both_jobs),
        Same(&[
            "job Succeeded: 200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server",
            "job-ordinary Succeeded: 200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server",
        ]);
    probes: "kubelet's HTTP, TCP, gRPC and exec probes, through the agent: whom the application sees",
        Do(|world, way| probed(world, way, "probes", &["exec", "grpc", "http", "tcp"])),
        Same(&[
            "exec from 127.0.0.1",
            "grpc from 127.0.0.6",
            "http from 127.0.0.6",
            "tcp from 127.0.0.6",
        ]);
    probes_as_they_are: "the same with rewriteAppHTTPProbers \"false\": the sidecar answers kubelet's TCP probe by itself",
        Do(|world, way| probed(world, way, "probes-raw", &["exec", "grpc", "http"])),
        Same(&[
            "exec from 127.0.0.1",
            "grpc from 127.0.0.6",
            "http from 127.0.0.6",
        ]);
    probes_over_ipv6: "what kubelet asks, asked from the first node at the pods' IPv6 addresses (kubelet itself asks the first address, IPv4)",
        Do(asked_by_node),
        Same(&[
            "200 (envoy)",
            "200 (no proxy)",
            "200 (no proxy)",
            "200 (no proxy)",
            "200 (istio-envoy) probes-raw at [(pod probes-raw IPv6)]:8080, peer ::6",
        ]);
    probe_of_a_closed_port: "a TCP probe of a port nobody listens on, through the agent: never ready",
        Do(|world, way| closed(world, way, "unready")),
        Same(&["Readiness probe failed: HTTP probe failed with statuscode: 500"]);
    probe_of_a_closed_port_as_it_is: "the same as it is: the sidecar accepts, and kubelet is content",
        Do(|world, way| closed(world, way, "unready-raw")),
        Same(&["ready"]);
    port_forward: "kubectl port-forward: the application is asked on loopback, the sidecar is not",
        Do(forward),
        Same(&["200 (no proxy) server at 127.0.0.1:8080, peer 127.0.0.1"]);
    sidecar_killed: "the sidecar's process is killed under load, its container starts again, and both directions work",
        Do(killed),
        Same(&[
            "restarts 1",
            "200 (envoy) restarted at (pod restarted):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server",
            "200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/server to ns/NS/sa/server",
        ]);
    drained: "a pod is deleted during a request, with a preStop hook: the request ends well, then nobody is there",
        Do(deleted),
        Same(&[
            "200 (envoy) drained at (pod drained):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server",
            "503 (envoy) no healthy upstream",
        ]);
}

fn pod(world: &World, way: Way, name: &str) -> Result<Value> {
    world.cluster.json(&["-n", way.namespace(), "get", "pod", name])
}

/// Asks again until it is something, or too long.
fn until<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_some(LOOK_EVERY, what, WITHIN, look)
}

/// How both Jobs ended, and what they were told by the server.
fn both_jobs(world: &World, way: Way) -> Result<Vec<String>> {
    let mut answers = Vec::new();
    for job in ["job", "job-ordinary"] {
        let selector = format!("app={job}");
        let pod = until(job, || {
            let pods = world.cluster.json(&["-n", way.namespace(), "get", "pods", "-l", &selector])?;
            let phase = &pods["items"][0]["status"]["phase"];
            Ok((phase == "Succeeded" || phase == "Failed").then(|| pods["items"][0].clone()))
        })?;
        let containers = pod["status"]["containerStatuses"].as_array().context("no containers")?;
        let app = containers.iter().find(|container| container["name"] == "app").context("no app")?;
        let said = app["state"]["terminated"]["message"].as_str().unwrap_or_default().trim();
        answers.push(format!("{} {}: {said}", job, pod["status"]["phase"].as_str().unwrap_or_default()));
    }
    Ok(answers)
}

/// Whom the application saw probing, once every kind was seen. Its readiness was waited for.
fn probed(world: &World, way: Way, name: &str, kinds: &[&str]) -> Result<Vec<String>> {
    until("every probe", || {
        let seen = ask(world, way, name, &["http://127.0.0.1:8080/probes"])?.remove(0);
        let all = kinds.iter().all(|kind| seen.contains(&format!("{kind} from")));
        Ok(all.then(|| {
            seen.split(')')
                .skip(1)
                .flat_map(|list| list.split("; "))
                .map(|probe| probe.trim().to_owned())
                .collect()
        }))
    })
}

/// The sidecar's own probe, the application's through the agent, and as they are.
fn asked_by_node(world: &World, way: Way) -> Result<Vec<String>> {
    let questions = [
        "http://[{pod probes IPv6}]:15021/healthz/ready",
        "http://[{pod probes IPv6}]:15020/app-health/app/startupz",
        "http://[{pod probes IPv6}]:15020/app-health/app/readyz",
        "http://[{pod probes IPv6}]:15020/app-health/app/livez",
        "http://[{pod probes-raw IPv6}]:8080/",
    ];
    let questions = questions.iter().map(|url| world.words(way).fill(url)).collect::<Result<Vec<_>>>()?;
    let program = world.cluster.bin.join("app").display().to_string();
    let words: Vec<&str> =
        [program.as_str(), "ask"].into_iter().chain(questions.iter().map(String::as_str)).collect();
    let output = world.cluster.command(&words).output().context("run app")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Ready, or what kubelet says.
fn closed(world: &World, way: Way, name: &str) -> Result<Vec<String>> {
    let selector = format!("involvedObject.name={name},reason=Unhealthy");
    until("a probe's result", || {
        if is_ready(&pod(world, way, name)?) {
            return Ok(Some(vec!["ready".to_owned()]));
        }
        let events =
            world.cluster.json(&["-n", way.namespace(), "get", "events", "--field-selector", &selector])?;
        let messages =
            events["items"].as_array().into_iter().flatten().filter_map(|event| event["message"].as_str());
        // The sidecar's own probe fails until it is there.
        let mut ours =
            messages.filter(|message| message.contains("statuscode: 500") || message.contains("9999"));
        Ok(ours.next_back().map(|message| vec![message.to_owned()]))
    })
}

fn forward(world: &World, way: Way) -> Result<Vec<String>> {
    let words = ["cluster", "kubectl", "-n", way.namespace(), "port-forward", "pod/server", ":8080"];
    let mut command = world.cluster.command(&words);
    // nsenter forks, and both are to end.
    let mut child = command.stdout(Stdio::piped()).process_group(0).spawn().context("run kubectl")?;
    let mut line = String::new();
    // Held open: kubectl says more, and would end if nobody could read it.
    let mut output = BufReader::new(child.stdout.take().context("stdout of kubectl")?);
    output.read_line(&mut line)?;
    let answer = forwarded(world, &line);
    killpg(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
    child.wait()?;
    answer
}

fn forwarded(world: &World, line: &str) -> Result<Vec<String>> {
    let port = line.split_whitespace().nth(2).and_then(|address| address.rsplit(':').next());
    let Some(port) = port else { bail!("kubectl port-forward printed {line:?}") };
    let program = world.cluster.bin.join("app");
    let url = format!("http://127.0.0.1:{port}/");
    let output =
        world.cluster.command(&[&program.to_string_lossy(), "ask", &url]).output().context("run app")?;
    Ok(vec![String::from_utf8_lossy(&output.stdout).trim().to_owned()])
}

/// Restarts of the sidecar's container, and whether it is ready.
fn sidecar(pod: &Value) -> Option<(u64, bool)> {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let all = lists.iter().filter_map(|list| pod["status"][list].as_array()).flatten();
    let sidecar = all.into_iter().find(|container| container["name"] == "istio-proxy")?;
    Some((sidecar["restartCount"].as_u64()?, sidecar["ready"].as_bool()?))
}

fn killed(world: &World, way: Way) -> Result<Vec<String>> {
    const KILL: &str =
        "for p in /proc/[0-9]*; do case $(cat $p/comm) in envoy) kill -9 ${p#/proc/};; esac; done";
    let load = thread::scope(|scope| -> Result<String> {
        let load = ["/bin/app", "-c", "2", "-d", "8s", "-k=false", "http://restarted/"];
        let loading = scope.spawn(move || world.cluster.exec(&world.place(way, "client"), &load));
        thread::sleep(Duration::from_secs(2));
        let place = format!("{}/istio-proxy", world.place(way, "restarted"));
        world
            .cluster
            .kubectl_output(&[
                "-n",
                way.namespace(),
                "exec",
                "restarted",
                "-c",
                "istio-proxy",
                "--",
                "sh",
                "-c",
                KILL,
            ])
            .with_context(|| place)?;
        loading.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
    })?;
    println!("{way:?}, while the sidecar was killed: {}", load.trim());
    until("the sidecar's restart", || {
        Ok(sidecar(&pod(world, way, "restarted")?).filter(|(restarts, ready)| *restarts > 0 && *ready))
    })?;
    until("the pod's readiness", || Ok(is_ready(&pod(world, way, "restarted")?).then_some(())))?;
    let settled = |pod: &str, question: &str| {
        until(question, || {
            Ok(ask(world, way, pod, &[question])?
                .into_iter()
                .next()
                .filter(|answer| answer.starts_with("200")))
        })
    };
    Ok(vec![
        format!("restarts {}", sidecar(&pod(world, way, "restarted")?).context("no sidecar")?.0),
        settled("client", "http://restarted/")?,
        settled("restarted", "http://server/")?,
    ])
}

fn deleted(world: &World, way: Way) -> Result<Vec<String>> {
    until("an answer", || {
        Ok(ask(world, way, "client", &["http://drained/"])?
            .into_iter()
            .next()
            .filter(|answer| answer.starts_with("200")))
    })?;
    thread::scope(|scope| -> Result<Vec<String>> {
        let slow = scope.spawn(move || ask(world, way, "client", &["http://drained/slow/6s"]));
        thread::sleep(Duration::from_secs(2));
        world.cluster.kubectl(&["-n", way.namespace(), "delete", "pod", "drained"])?;
        let mut answers = slow.join().map_err(|_| anyhow::anyhow!("asking panicked"))??;
        let after = until("nobody there", || {
            Ok(ask(world, way, "client", &["http://drained/"])?
                .into_iter()
                .next()
                .filter(|answer| !answer.starts_with("200")))
        })?;
        answers.push(after);
        Ok(answers)
    })
}
