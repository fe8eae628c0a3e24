//! A network namespace belongs to a user namespace (`hostUsers: false`): who its users are on the node is told without a
//! process in it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use proxy_plane::netns::Netns;
use tests::requirement::{Requirement, met};

/// A process in a user namespace and a network namespace of its own, or in the latter alone.
struct Inside {
    process: Child,
}

impl Inside {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new("unshare")
            .args(arguments)
            .arg("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // What comes back says that it is inside.
        writeln!(process.stdin.as_mut().unwrap(), "inside").unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "inside\n");
        Self { process }
    }

    fn map(&self, name: &str, rows: &str) {
        fs::write(format!("/proc/{}/{name}", self.process.id()), rows).unwrap();
    }

    fn netns(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.process.id()).into()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Of this thread: other tests have processes of their own.
fn children() -> usize {
    fs::read_to_string("/proc/thread-self/children").unwrap().split_whitespace().count()
}

#[test]
fn who_a_pods_users_are_on_the_node() {
    if !met(&[Requirement::Root]) {
        return;
    }
    let inside = Inside::start(&["--user", "--net"]);
    inside.map("uid_map", "0 1000000 65536\n");
    inside.map("gid_map", "0 2000000 1\n1 2100000 65535\n");
    let netns = Netns::open(&inside.netns()).unwrap();
    let before = children();

    let owner = netns.owner_map().unwrap();
    assert_eq!(owner.uids.host_id(1337), Some(1_001_337));
    assert_eq!(owner.uids.host_id(65536), None);
    assert_eq!(owner.gids.host_id(0), Some(2_000_000));
    assert_eq!(owner.gids.host_id(1337), Some(2_101_336));

    // The last process goes; the descriptor holds both namespaces, as a pod's pinned one does.
    drop(inside);
    assert_eq!(netns.owner_map().unwrap(), owner);
    // No process is left inside: this one's children are as before, but for the one that was dropped.
    assert_eq!(children(), before - 1);
}

#[test]
fn the_nodes_own_users() {
    if !met(&[Requirement::Root]) {
        return;
    }
    let inside = Inside::start(&["--net"]);
    for netns in [inside.netns(), Path::new("/proc/self/ns/net").to_owned()] {
        let owner = Netns::open(&netns).unwrap().owner_map().unwrap();
        assert_eq!((owner.uids.host_id(1337), owner.gids.host_id(1337)), (Some(1337), Some(1337)));
    }
}

/// A user namespace in which nobody is anybody yet.
#[test]
fn a_user_namespace_without_ids() {
    if !met(&[Requirement::Root]) {
        return;
    }
    let inside = Inside::start(&["--user", "--net"]);
    assert_eq!(Netns::open(&inside.netns()).unwrap().owner_map().unwrap().uids.host_id(1337), None);
}
