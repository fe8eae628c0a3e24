use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    sync::{Arc, Mutex},
};

use proxy_cni::entry::{FailurePolicy, TYPE};
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

mod killed;
mod others;
mod uninstall;

const LIST: &str = "{\n  \"name\": \"k8s\",\n  \"cniVersion\": \"1.0.0\",\n  \"plugins\": [\n    { \"type\": \"bridge\", \"mtu\": \
                    1.0 },\n    { \"type\": \"portmap\" }\n  ],\n  \"x\": null\n}\n";

/// Directories of a node, with or without a runtime that looks into them.
struct Node {
    directory: TempDir,
    now: Instant,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["net.d", "bin"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        fs::write(directory.path().join("source"), "plugin 1").unwrap();
        Self { directory, now: Instant::now() }
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let node = Self::new();
        for (name, text) in files {
            node.write(name, text);
        }
        node
    }

    fn paths(&self) -> Paths {
        let at = |name: &str| self.directory.path().join(name);
        Paths { networks: at("net.d"), plugins: at("bin"), source: at("source") }
    }

    fn installer(&self, placement: Placement) -> Installer {
        Installer::new(self.paths(), Entry::default(), placement)
    }

    fn in_list(&self) -> Installer {
        self.installer(Placement::InList)
    }

    fn network(&self, name: &str) -> PathBuf {
        self.paths().networks.join(name)
    }

    fn binary(&self) -> PathBuf {
        self.paths().plugins.join(TYPE)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.network(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.network(name)).unwrap()
    }

    /// Everything in the networks' directory, but what is in directories below it.
    fn files(&self) -> Vec<String> {
        let names = disk::names(&self.paths().networks).unwrap();
        names.into_iter().map(|name| name.into_string().unwrap()).collect()
    }

    #[track_caller]
    fn installs(&self, installer: &mut Installer, name: &str) {
        assert_eq!(installer.step(self.now).unwrap(), State::Installed { file: self.network(name) });
    }

    #[track_caller]
    fn waits(&self, installer: &mut Installer, expected: &str) {
        let State::Waiting { why } = installer.step(self.now).unwrap() else { panic!("it does not wait") };
        assert!(why.contains(expected), "{why}");
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// How many entries of ours a runtime finds in this list.
    #[track_caller]
    fn entries(&self, name: &str) -> usize {
        let list: Value = serde_json::from_str(&self.read(name)).unwrap();
        let plugins = list["plugins"].as_array().unwrap();
        plugins.iter().filter(|plugin| plugin["type"] == TYPE).count()
    }
}

fn chained(text: &str) -> String {
    list::chain(text, &Entry::default()).unwrap()
}

#[test]
fn it_waits_for_a_network() {
    let node = Node::new();
    let mut installer = node.in_list();
    node.waits(&mut installer, "no network is configured in");
    assert_eq!(fs::read_to_string(node.binary()).unwrap(), "plugin 1");

    node.write("10-net.conflist", LIST);
    node.installs(&mut installer, "10-net.conflist");
    assert_eq!(node.read("10-net.conflist"), chained(LIST));
    assert!(installer.repairs().is_empty());
}

#[test]
fn what_is_as_it_should_be_is_not_written() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    node.installs(&mut node.in_list(), "10-net.conflist");
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let before = (inode(&node.network("10-net.conflist")), inode(&node.binary()));
    node.installs(&mut node.in_list(), "10-net.conflist");
    assert_eq!((inode(&node.network("10-net.conflist")), inode(&node.binary())), before);
}

#[test]
fn mode_and_owner_stay() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    let path = node.network("10-net.conflist");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(1234), Some(2345)).unwrap();
    }
    let who = || {
        let metadata = fs::metadata(&path).unwrap();
        (metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
    };
    let before = who();
    node.installs(&mut node.in_list(), "10-net.conflist");
    assert_eq!((who(), before.0), (before, 0o640));
}

#[rstest]
#[case("0.3.0", true)]
#[case("0.3.1", true)]
#[case("0.4.0", true)]
#[case("1.0.0", true)]
#[case("1.1.0", true)]
#[case("0.2.0", false)]
fn the_lists_version_is_its_owners(#[case] version: &str, #[case] is_known: bool) {
    let text = LIST.replace("1.0.0", version);
    let node = Node::with(&[("10-net.conflist", &text)]);
    if is_known {
        node.installs(&mut node.in_list(), "10-net.conflist");
        assert_eq!(node.read("10-net.conflist"), chained(&text));
        assert!(node.read("10-net.conflist").contains(version));
    } else {
        node.waits(&mut node.in_list(), "10-net.conflist cannot take our entry: its cniVersion is 0.2.0");
        assert_eq!(node.read("10-net.conflist"), text);
    }
}

#[test]
fn the_first_list_is_the_nodes() {
    let node = Node::with(&[("10-net.conflist", LIST), ("20-net.conflist", LIST)]);
    let mut installer = node.in_list();
    node.installs(&mut installer, "10-net.conflist");
    assert_eq!(node.read("20-net.conflist"), LIST);

    node.write("05-new.conflist", LIST);
    node.installs(&mut installer, "05-new.conflist");
    assert_eq!(
        (node.read("05-new.conflist"), node.read("10-net.conflist")),
        (chained(LIST), LIST.to_owned())
    );

    fs::remove_file(node.network("05-new.conflist")).unwrap();
    node.installs(&mut installer, "10-net.conflist");
    assert_eq!(node.entries("10-net.conflist"), 1);
}

/// Multus copies the list that it finds, with our entry in it.
#[test]
fn an_entry_is_nowhere_else() {
    let node = Node::with(&[("10-net.conflist", LIST), ("20-net.conflist", &chained(LIST))]);
    node.installs(&mut node.in_list(), "10-net.conflist");
    assert_eq!((node.entries("10-net.conflist"), node.read("20-net.conflist")), (1, LIST.to_owned()));
}

#[test]
fn a_single_plugins_file_stays_and_a_list_comes_before_it() {
    let single = r#"{ "cniVersion": "0.3.1", "name": "k8s", "type": "bridge" }"#;
    let node = Node::with(&[("10-net.conf", single)]);
    let mut installer = node.in_list();
    node.installs(&mut installer, "10-net-sidestep.conflist");
    assert_eq!(node.files(), ["10-net-sidestep.conflist", "10-net.conf"]);
    assert_eq!((node.read("10-net.conf"), node.entries("10-net-sidestep.conflist")), (single.to_owned(), 1));
    node.installs(&mut installer, "10-net-sidestep.conflist");
    assert!(installer.repairs().is_empty());

    // Its owner's changes come through, and it goes with it.
    node.write("10-net.conf", &single.replace("bridge", "ptp"));
    node.installs(&mut installer, "10-net-sidestep.conflist");
    assert!(node.read("10-net-sidestep.conflist").contains("ptp"));
    fs::remove_file(node.network("10-net.conf")).unwrap();
    node.write("20-net.conflist", LIST);
    node.installs(&mut installer, "20-net.conflist");
    assert_eq!(node.files(), ["20-net.conflist"]);
}

#[test]
fn a_drop_in_leaves_the_list_alone_and_makes_the_runtime_look() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    let done: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&done);
    let before = Box::new(move |what: &str, path: &Path| {
        log.lock().unwrap().push(format!("{what} {}", path.file_name().unwrap().to_str().unwrap()));
        Ok(())
    });
    let mut installer = Installer::with(node.paths(), Entry::default(), Placement::DropIn, before);
    node.installs(&mut installer, "k8s/99-sidestep-cni.conf");
    assert_eq!(node.read("10-net.conflist"), LIST);
    let entry: Value = serde_json::from_str(&node.read("k8s/99-sidestep-cni.conf")).unwrap();
    assert_eq!(entry, serde_json::to_value(Entry::default()).unwrap());
    // fsnotify tells containerd of what goes; what comes, containerd does not mind.
    assert_eq!(done.lock().unwrap().last().unwrap(), "remove .sidestep-cni-nudge.new");

    done.lock().unwrap().clear();
    node.installs(&mut installer, "k8s/99-sidestep-cni.conf");
    assert!(done.lock().unwrap().is_empty());
    // Whoever comes after it does not know whether the runtime has looked.
    node.installs(&mut node.installer(Placement::DropIn), "k8s/99-sidestep-cni.conf");
}

#[test]
fn a_list_that_wants_no_drop_ins_is_chained() {
    let text = LIST.replace("\"x\": null", "\"loadOnlyInlinedPlugins\": true");
    let node = Node::with(&[("10-net.conflist", &text)]);
    node.installs(&mut node.installer(Placement::DropIn), "10-net.conflist");
    assert_eq!(node.entries("10-net.conflist"), 1);
}

#[test]
fn a_runtime_of_another_version_has_it_elsewhere() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    let mut installer = node.in_list();
    node.installs(&mut installer, "10-net.conflist");
    installer.place(Placement::DropIn);
    node.installs(&mut installer, "k8s/99-sidestep-cni.conf");
    assert_eq!(node.read("10-net.conflist"), LIST);
    installer.place(Placement::InList);
    node.installs(&mut installer, "10-net.conflist");
    assert_eq!(node.files(), ["10-net.conflist"]);
}

#[rstest]
#[case("containerd", "1.6.20~ds1", Placement::InList)]
#[case("containerd", "1.7.24", Placement::InList)]
#[case("containerd", "v2.0.5", Placement::InList)]
#[case("containerd", "v2.1.0", Placement::DropIn)]
#[case("containerd", "2.4.2", Placement::DropIn)]
#[case("containerd", "3.0.0-rc.1", Placement::DropIn)]
#[case("containerd", "unknown", Placement::InList)]
#[case("cri-o", "1.37.0", Placement::InList)]
fn placements(#[case] runtime: &str, #[case] version: &str, #[case] expected: Placement) {
    assert_eq!(Placement::of(runtime, version), expected);
}

#[test]
fn a_new_plugin_takes_the_place_of_one_that_runs() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    let mut program = fs::read("/bin/sh").unwrap();
    fs::write(node.paths().source, &program).unwrap();
    node.installs(&mut node.in_list(), "10-net.conflist");
    // A process of its own starts it again and again, as a runtime does: forks of this one would hold open
    // what it writes.
    let script = "trap 'exit 0' TERM; echo begun; while :; do \"$1\" -c : || exit 1; done";
    let mut runtime = std::process::Command::new("/bin/sh")
        .args(["-c", script, "sh"])
        .arg(node.binary())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(runtime.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
    for byte in 0..30 {
        // Bytes behind an ELF's end are nobody's.
        program.push(byte);
        fs::write(node.paths().source, &program).unwrap();
        node.installs(&mut node.in_list(), "10-net.conflist");
        assert_eq!(fs::read(node.binary()).unwrap(), program);
    }
    let pid = nix::unistd::Pid::from_raw(runtime.id().cast_signed());
    assert_eq!(runtime.try_wait().unwrap(), None);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(runtime.wait().unwrap().success());
}

#[test]
fn a_link_in_the_binarys_place_is_not_followed() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    let elsewhere = node.directory.path().join("elsewhere");
    fs::write(&elsewhere, "somebody's").unwrap();
    symlink(&elsewhere, node.binary()).unwrap();
    node.installs(&mut node.in_list(), "10-net.conflist");
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "somebody's");
    let there = fs::symlink_metadata(node.binary()).unwrap();
    assert!(there.is_file() && there.mode() & 0o777 == 0o755);
}
