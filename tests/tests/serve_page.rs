//! The node's page in a real browser: wide, and on a phone. The screenshots stay under target/screenshots.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tests::accelerated::Accelerated;
use tests::agent;
use tests::any_reader::ANY_READER;
use tests::data_plane::DataPlane;
use tests::dns::{AGENT, Ask};
use tests::envoy_config::{Forward, SidecarConfig};
use tests::load::Load;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::serve::Serve;
use tests::server::{PROXY_USER, Server};
use tests::sidecar::Sidecar;
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};

/// The browser runs its timers this far ahead: two answers of the server, so that there are rates.
const AHEAD_MS: u32 = 5000;
const WIDE: (u32, u32) = (1180, 1000);
const PHONE: (u32, u32) = (390, 1600);

fn browser(serve: &Serve, flag: &str, (width, height): (u32, u32)) -> String {
    let profile = serve.pod().scratch().join("chromium");
    let command = serve
        .pod()
        .command("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--virtual-time-budget={AHEAD_MS}"))
        .args([flag.to_owned(), format!("http://{}/", serve.address())]);
    command.run().unwrap()
}

fn screenshot(serve: &Serve, name: &str, size: (u32, u32)) -> PathBuf {
    let directory = agent::repository().join("target/screenshots");
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(format!("{name}.png"));
    let _ = std::fs::remove_file(&path);
    browser(serve, &format!("--screenshot={}", path.display()), size);
    assert_eq!(dimensions(&path), size, "{}", path.display());
    path
}

/// Of a PNG: two numbers after the signature and the head of the first chunk.
fn dimensions(png: &Path) -> (u32, u32) {
    let bytes = std::fs::read(png).unwrap();
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[test]
fn the_page_shows_the_workload_wide_and_on_a_phone() {
    if !DataPlane::Sidestep
        .met(&[Requirement::Program("chromium", "chromium"), Requirement::Program("curl", "curl")])
    {
        return;
    }
    let network = Network::with_own_addresses("page").unwrap();
    let own = Accelerated::new(ANY_READER).flags();
    let dns = ["--redirect-dns", "--capture-all-dns"];
    let flags = DEFAULT_FLAGS.into_iter().chain(dns).chain(own.iter().map(String::as_str));
    let flags: Vec<&str> = flags.collect();
    let _client = Accelerated::new(ANY_READER).attach(&network.outside).unwrap();
    let sidestep = Sidestep::attach(&network.pod, &flags).unwrap();
    let _sidecar = Sidecar::start(&network.pod, &SidecarConfig::new(Forward::Passthrough, &[8080])).unwrap();
    let _app = Server::on(&network.pod).listen(network.pod4(8080)).echo().start().unwrap();
    let service = network.outside4(80);
    let _service = Server::on(&network.outside).listen(service).echo().start().unwrap();
    let load = Load::lasting(network.pod4(8080), 8).start(&network.outside).unwrap();
    let calls = Load::lasting(service, 3).start(&network.pod).unwrap();
    // Six names that there are not, from a resolver in the agent's place.
    let resolver = network.pod.lab_agent("dns-answer").unwrap().user(PROXY_USER.0, PROXY_USER.1);
    let resolver = resolver.args(["--listen", AGENT[0], "--code", "3"]).spawn().unwrap();
    resolver.wait_for("ready").unwrap();
    Ask::new([SocketAddr::from(([10, 96, 0, 10], 53))]).rounds(6).from(&network.pod).unwrap();
    let serve = Serve::start(&[]).unwrap();

    let dom = browser(&serve, "--dump-dom", WIDE);
    let workload = network.pod.workload().unwrap();
    assert!(dom.contains(&format!("Paths of workload {workload}")), "{dom}");
    assert!(
        dom.contains("I6 8") && dom.contains("O2 8"),
        "eight connections in, and to the application: {dom}"
    );
    assert!(dom.contains("to 15006") && dom.contains(&network.pod4(8080).to_string()), "{dom}");
    // The client's pod sends around a sidecar, the other one's service is reached around it: two lines.
    for line in [">in, not captured", ">out, not captured"] {
        assert_eq!(dom.matches(line).count(), 2, "{line}, once for each workload: {dom}");
    }
    let captured = format!("{} open calls", 8 + 3);
    assert!(dom.replace("</b><span class=\"dim\">", " ").contains(&captured), "{captured}: {dom}");
    assert!(dom.contains(">live<") && !dom.contains(">not answering"), "{dom}");

    // Of the other workload, which has asked for nothing, there is no such block.
    assert_eq!(dom.matches(" DNS questions<").count(), 1, "{dom}");
    assert!(
        dom.contains(">6 DNS questions<") && dom.contains("there is no such name\">nxdomain 6<"),
        "{dom}"
    );
    assert!(dom.contains(">half of the answers within ") && !dom.contains(">no answer yet<"), "{dom}");

    let wide = screenshot(&serve, "page", WIDE);
    screenshot(&serve, "page-phone", PHONE);
    if std::env::var_os("SIDESTEP_UPDATE_DOCS").is_some() {
        std::fs::copy(wide, agent::repository().join("docs/page.png")).unwrap();
    }
    assert!(load.finish().unwrap().failed.is_empty() && calls.finish().unwrap().failed.is_empty());
    drop(sidestep);
}
