//! The plugin goes from a node whose runtime reads its lists in its own time. Every test ends before pods are looked at: that
//! takes a kernel.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use proxy_agent::{
    cri::Runtime,
    uninstall::{self, Options, READ_WITHIN},
};
use proxy_core::exit::Class;

use crate::fake::Fake;

const OURS: &str = "sidestep-cni";
const SHORT: Duration = Duration::from_millis(200);

/// A node's directories with the plugin in them, as an agent has left it.
struct Installed(tempfile::TempDir);

impl Installed {
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        for directory in ["net.d", "bin", "run"] {
            fs::create_dir(made.path(directory)).unwrap();
        }
        let list =
            r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge"},{"type":"sidestep-cni"}]}"#;
        fs::write(made.list(), list).unwrap();
        fs::write(made.binary(), "the plugin").unwrap();
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn list(&self) -> PathBuf {
        self.path("net.d/10-n.conflist")
    }

    fn binary(&self) -> PathBuf {
        self.path("bin").join(OURS)
    }

    fn has_entry(&self) -> bool {
        fs::read_to_string(self.list()).unwrap().contains(OURS)
    }

    /// As containerd says its status: where its directories are, and which plugins it has loaded.
    fn status(&self, plugins: &[&str]) -> String {
        let plugins: Vec<_> =
            plugins.iter().map(|name| serde_json::json!({"Network": {"type": name}})).collect();
        serde_json::json!({
            "PluginDirs": [self.path("bin")], "PluginConfDir": self.path("net.d"),
            "Networks": [{"Config": {"Name": "n", "Plugins": plugins}}],
        })
        .to_string()
    }

    fn options(&self, fake: &Fake, read_within: Duration) -> Options {
        let runtime = Some(Runtime::new(Some(fake.socket())));
        let socket = self.path("run/cni.sock");
        Options {
            socket,
            runtime,
            networks: None,
            plugins: None,
            force: false,
            read_within,
            set_up_within: Duration::ZERO,
        }
    }
}

fn says(fake: &Fake, status: String) {
    fake.state().status.info.insert("cniconfig".to_owned(), status);
}

/// What is said until a line has this in it; the run is interrupted there.
async fn said_until(options: Options, last: &str) -> (Result<()>, Vec<String>) {
    let mut lines = Vec::new();
    let mut say = |line: String| {
        let is_last = line.contains(last);
        lines.push(line);
        if is_last { bail!("interrupted") } else { Ok(()) }
    };
    let outcome = uninstall::run(options, &mut say).await;
    (outcome, lines)
}

#[tokio::test]
async fn the_wait_ends_when_the_runtime_has_read_its_lists() {
    let node = Installed::new();
    let fake = Fake::start(("containerd", "1.7.24"), vec![]);
    says(&fake, node.status(&["bridge", OURS]));
    let reads = async {
        // It has been asked where its directories are, and twice what it has loaded.
        while fake.calls("Status") < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!node.has_entry() && node.binary().is_file(), "the old list is in force: the binary stays");
        says(&fake, node.status(&["bridge"]));
    };
    let run = said_until(node.options(&fake, READ_WITHIN), "is not there any more");
    let ((outcome, lines), ()) = tokio::join!(run, reads);
    assert_eq!(outcome.unwrap_err().to_string(), "interrupted");
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].starts_with("no list in ") && lines[0].ends_with("has sidestep-cni"), "{lines:?}");
    assert_eq!(lines[1], "the container runtime has not loaded sidestep-cni any more");
    assert_eq!(lines[2], "pods whose set-up has begun with it have 0 s to end that");
    assert!(!node.binary().exists());
}

/// Then the binary stays, since pods would neither start nor stop without it; the next run goes on.
#[tokio::test]
async fn a_runtime_that_goes_by_its_old_list_keeps_the_binary() {
    assert_eq!(READ_WITHIN, Duration::from_secs(60), "docs/agent.md says a minute");
    let node = Installed::new();
    let fake = Fake::start(("containerd", "1.7.24"), vec![]);
    says(&fake, node.status(&["bridge", OURS]));
    fake.state().status.info.insert("lastCNILoadStatus".to_owned(), "half a file".to_owned());
    let begun = Instant::now();
    let (outcome, lines) = said_until(node.options(&fake, SHORT), "nothing").await;
    let error = outcome.unwrap_err();
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(Class::of(&error), Class::Unavailable);
    let message = format!("{error:#}");
    for part in [
        "the container runtime has still loaded sidestep-cni (half a file): the binary stays",
        "run `sidestep uninstall` again",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!node.has_entry() && node.binary().is_file());

    says(&fake, node.status(&["bridge"]));
    let (_, lines) = said_until(node.options(&fake, SHORT), "is not there any more").await;
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(!node.binary().exists());
}

/// It is restarted meanwhile.
#[tokio::test]
async fn a_runtime_that_is_away_keeps_the_binary() {
    let node = Installed::new();
    let mut fake = Fake::start(("containerd", "1.7.24"), vec![]);
    fake.stop();
    let mut options = node.options(&fake, SHORT);
    (options.networks, options.plugins) = (Some(node.path("net.d")), Some(node.path("bin")));
    let (outcome, _) = said_until(options, "nothing").await;
    let message = format!("{:#}", outcome.unwrap_err());
    assert!(message.contains("does not answer") && message.contains("the binary stays"), "{message}");
    assert!(!node.has_entry() && node.binary().is_file());
}

/// It says nothing of its networks, and calls the plugins that a pod was started with.
#[tokio::test]
async fn with_crio_the_binary_stays_until_the_node_is_drained() {
    let node = Installed::new();
    let fake = Fake::start(("cri-o", "1.37.0"), vec![]);
    let mut options = node.options(&fake, READ_WITHIN);
    (options.networks, options.plugins) = (Some(node.path("net.d")), Some(node.path("bin")));
    let (_, lines) = said_until(options, "Drain the node").await;
    let last = lines.last().unwrap();
    assert!(lines.len() == 2 && last.contains("stays: CRI-O calls it when pods end"), "{lines:?}");
    assert!(!node.has_entry() && node.binary().is_file());
}

/// Interrupted at each of its steps and run again: there is never an entry without its binary.
#[tokio::test]
async fn interrupted_at_every_step() {
    for step in ["no list in", "has not loaded", "pods whose set-up", "is not there any more"] {
        let node = Installed::new();
        let fake = Fake::start(("containerd", "1.7.24"), vec![]);
        says(&fake, node.status(&["bridge"]));
        let (outcome, lines) = said_until(node.options(&fake, SHORT), step).await;
        assert!(outcome.is_err() && lines.last().unwrap().contains(step), "{lines:?}");
        assert!(!node.has_entry() || node.binary().is_file(), "after {step}");
        let (_, lines) = said_until(node.options(&fake, SHORT), "is not there any more").await;
        assert_eq!(lines.len(), 4, "after {step}: {lines:?}");
        assert!(!node.has_entry() && !node.binary().exists());
    }
}
