//! Web servers, asked by curl: large and small answers, many on one connection, a part of a file, an upload.

use std::time::Duration;

use tests::pod::Pod;
use tests::process::Process;
use tests::readiness;
use tests::requirement::Requirement;
use tests::server::APP_USER;

use crate::Program;

const READY_WITHIN: Duration = Duration::from_secs(20);
const CURL: &str = "/usr/bin/curl";
const ASK: &str = "\
    url=http://127.0.0.1:8080/content; \
    for i in 1 2 3; do curl -sS $url | sha256sum; done; \
    curl -sS $url $url $url $url | sha256sum; \
    curl -sS -r 1000-2000 $url | sha256sum; \
    curl -sS -r 0-0 $(printf \"$url?%s \" $(seq 300)) | sha256sum; \
    curl -sS -o /dev/null -w '%{http_code}\\n' --limit-rate 4M $url; \
    curl -sS -o /dev/null -w '%{http_code}\\n' --data-binary @content http://127.0.0.1:8080/none";

pub(crate) const NGINX: Program = Program {
    needs: &[Requirement::Program("nginx", "nginx-light"), Requirement::Program("curl", "curl")],
    start: |pod| vec![nginx(pod, "127.0.0.1:8080 deferred")],
    ask: ASK,
    clients: &[CURL],
};

/// Asked with more than its first buffer holds: it asks FIONREAD then, and waits for an event if that says 0.
pub(crate) const NGINX_ASKING: Program = Program {
    start: |pod| vec![nginx(pod, "127.0.0.1:8080")],
    ask: "\
        long=$(head -c 5000 /dev/zero | tr '\\0' x); \
        for i in 1 2 3 4 5; do \
        curl -sS -m 10 -r 0-0 -o /dev/null -w '%{http_code}\\n' -H \"X-Long: $long\" http://127.0.0.1:8080/content; \
        curl -sS -m 10 -o /dev/null -w '%{http_code}\\n' -H Expect: --data-binary @content http://127.0.0.1:8080/none; \
        done",
    ..NGINX
};

/// TCP_DEFER_ACCEPT on its listeners unless told otherwise.
pub(crate) const APACHE: Program = Program {
    needs: &[Requirement::Program("apache2", "apache2-bin"), Requirement::Program("curl", "curl")],
    start: |pod| vec![apache(pod)],
    ask: ASK,
    clients: &[CURL],
};

/// In front of nginx, splicing.
pub(crate) const HAPROXY: Program = Program {
    needs: &[
        Requirement::Program("nginx", "nginx-light"),
        Requirement::Program("haproxy", "haproxy"),
        Requirement::Program("curl", "curl"),
    ],
    start: |pod| vec![nginx(pod, "127.0.0.1:8081 deferred"), haproxy(pod)],
    ask: ASK,
    clients: &[CURL],
};

/// 1,000 answers through its pipes, each on a connection of its own.
pub(crate) const HAPROXY_MANY: Program = Program {
    ask: "\
        url=http://127.0.0.1:8080/content; \
        curl -sS -r 0-99999 -H 'Connection: close' -w '%{http_code}\\n' $(printf \"$url?%s \" $(seq 1000)) | sha256sum",
    ..HAPROXY
};

fn start(pod: &Pod, program: &str, name: &str, config: &str, args: &[&str], port: u16) -> Process {
    let path = pod.scratch().join(name);
    std::fs::write(&path, config).unwrap();
    let command = pod.command(program).args(args).arg(&path).user(APP_USER.0, APP_USER.1);
    let process = command.spawn().unwrap();
    readiness::http_ok(&process, ([127, 0, 0, 1], port).into(), "/content", READY_WITHIN).unwrap();
    process
}

fn nginx(pod: &Pod, listen: &str) -> Process {
    let scratch = pod.scratch().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {scratch}/{kind};\n"))
        .collect();
    let config = format!(
        "daemon off; master_process off; pid {scratch}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off; sendfile on; \
         client_max_body_size 10m;\n{temporary}server {{ listen {listen}; root {scratch}; }}\n}}\n"
    );
    let port = listen.split([':', ' ']).nth(1).and_then(|port| port.parse().ok()).unwrap();
    start(pod, "nginx", "nginx.conf", &config, &["-e", "stderr", "-c"], port)
}

fn apache(pod: &Pod) -> Process {
    let scratch = pod.scratch().display();
    let modules: String = ["mpm_event", "authz_core"]
        .iter()
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    let config = format!(
        "{modules}ServerName pod\nListen 127.0.0.1:8080\nDocumentRoot {scratch}\nPidFile {scratch}/apache.pid\n\
         DefaultRuntimeDir {scratch}\nErrorLog {scratch}/apache.log\nEnableSendfile On\nMaxKeepAliveRequests 0\n"
    );
    start(pod, "apache2", "apache.conf", &config, &["-D", "FOREGROUND", "-f"], 8080)
}

fn haproxy(pod: &Pod) -> Process {
    let config = "global\n  maxconn 1000\ndefaults\n  mode tcp\n  option splice-auto\n  option splice-request\n  \
                  option splice-response\n  timeout client 10s\n  timeout connect 10s\n  timeout server 10s\n\
                  listen front\n  bind 127.0.0.1:8080\n  server back 127.0.0.1:8081\n";
    start(pod, "haproxy", "haproxy.cfg", config, &["-db", "-f"], 8080)
}
