//! An agent that is killed between any two of its steps, and the one that comes after it.

use super::*;

/// The agent's life ends before its step number `last`.
fn mortal(node: &Node, placement: Placement, last: usize) -> Installer {
    let mut steps = 0;
    let before = Box::new(move |_: &str, _: &Path| {
        steps += 1;
        if steps > last { Err(io::Error::other("killed")) } else { Ok(()) }
    });
    Installer::with(node.paths(), Entry::default(), placement, before)
}

/// What a runtime must find at any time: lists that it can read, and no plugin in them whose binary is not
/// there.
#[track_caller]
fn pods_start(node: &Node) {
    for name in node.files().iter().filter(|name| name.ends_with(".conflist")) {
        let is_named = node.entries(name) > 0;
        assert!(node.entries(name) <= 1 && (!is_named || node.binary().exists()), "{name}");
    }
    assert!(!node.network("k8s/99-sidestep-cni.conf").exists() || node.binary().exists());
}

/// Nothing of ours but what is meant to stay.
#[track_caller]
fn nothing_is_left(node: &Node) {
    for directory in [&node.paths().networks, &node.paths().plugins, &node.network("k8s")] {
        let names = disk::names(directory).unwrap();
        let left = names.iter().filter(|name| name.to_string_lossy().starts_with(".sidestep"));
        assert_eq!(left.count(), 0, "{}", directory.display());
    }
}

/// Lets it die before each of its steps in turn, until there is none left to die before. Gives back how often
/// it died.
fn die(node: impl Fn() -> Node, act: impl Fn(&Node, usize) -> bool, then: impl Fn(&Node)) -> usize {
    for last in 0.. {
        let node = node();
        let is_done = act(&node, last);
        pods_start(&node);
        then(&node);
        pods_start(&node);
        nothing_is_left(&node);
        if is_done {
            return last;
        }
    }
    unreachable!()
}

#[rstest]
#[case::in_list(&[("10-net.conflist", LIST)], Placement::InList, "10-net.conflist", 9)]
#[case::drop_in(&[("10-net.conflist", LIST)], Placement::DropIn, "k8s/99-sidestep-cni.conf", 12)]
#[case::single(
    &[("10-net.conf", r#"{"cniVersion":"1.0.0","name":"k8s","type":"bridge"}"#)],
    Placement::InList, "10-net-sidestep.conflist", 8
)]
fn an_install_is_taken_up_by_the_next_agent(
    #[case] files: &[(&str, &str)],
    #[case] placement: Placement,
    #[case] target: &str,
    #[case] steps: usize,
) {
    let died = die(
        || Node::with(files),
        |node, last| mortal(node, placement, last).step(node.now).is_ok(),
        |node| {
            node.installs(&mut node.installer(placement), target);
            for (name, text) in files.iter().filter(|(name, _)| *name != target) {
                assert_eq!(node.read(name), *text);
            }
        },
    );
    assert!(died >= steps.min(8), "{died} steps");
}

#[test]
fn a_move_to_another_list_is_taken_up() {
    let died = die(
        || {
            let node = Node::with(&[("10-net.conflist", LIST)]);
            node.installs(&mut node.in_list(), "10-net.conflist");
            node.write("05-net.conflist", LIST);
            node
        },
        |node, last| {
            let is_done = mortal(node, Placement::InList, last).step(node.now).is_ok();
            // It is in the old list until it is in the new one.
            assert!(node.entries("05-net.conflist") + node.entries("10-net.conflist") >= 1);
            is_done
        },
        |node| {
            node.installs(&mut node.in_list(), "05-net.conflist");
            assert_eq!(node.read("10-net.conflist"), LIST);
        },
    );
    assert!(died >= 8, "{died} steps");
}

#[rstest]
#[case(Placement::InList)]
#[case(Placement::DropIn)]
fn an_uninstall_is_taken_up(#[case] placement: Placement) {
    let died = die(
        || {
            let node = Node::with(&[("10-net.conflist", LIST)]);
            node.installer(placement).step(node.now).unwrap();
            node
        },
        |node, last| {
            let mut installer = mortal(node, placement, last);
            installer.take_out().and_then(|()| installer.remove_binary()).is_ok()
        },
        |node| {
            let mut installer = node.installer(placement);
            installer.take_out().unwrap();
            pods_start(node);
            installer.remove_binary().unwrap();
            assert_eq!(
                (node.files(), node.read("10-net.conflist")),
                (vec!["10-net.conflist".into()], LIST.into())
            );
            assert!(!node.binary().exists());
        },
    );
    assert!(died >= 5, "{died} steps");
}

#[test]
fn what_others_have_left_stays() {
    let node = Node::with(&[("10-net.conflist", LIST), (".sidestep-cni-x.new", "half"), (".other.new", "")]);
    fs::write(node.paths().plugins.join(".sidestep-cni-sidestep-cni.new"), "half").unwrap();
    node.installs(&mut node.in_list(), "10-net.conflist");
    assert_eq!(node.files(), [".other.new", "10-net.conflist"]);
    nothing_is_left(&node);
}
