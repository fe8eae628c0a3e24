//! Without a trace, and never so that a pod cannot start or stop.

use super::*;

#[rstest]
#[case::in_list("10-net.conflist", LIST, Placement::InList)]
#[case::drop_in("10-net.conflist", LIST, Placement::DropIn)]
#[case::single("10-net.conf", r#"{"cniVersion":"1.0.0","name":"k8s","type":"bridge"}"#, Placement::InList)]
fn everything_is_as_before(#[case] name: &str, #[case] text: &str, #[case] placement: Placement) {
    let node = Node::with(&[(name, text)]);
    let mut installer = node.installer(placement);
    installer.step(node.now).unwrap();
    for _ in 0..2 {
        installer.take_out().unwrap();
        assert!(node.binary().exists());
    }
    for _ in 0..2 {
        installer.remove_binary().unwrap();
    }
    assert_eq!((node.files(), node.read(name)), (vec![name.to_owned()], text.to_owned()));
    assert_eq!(fs::read_dir(node.paths().plugins).unwrap().count(), 0);
}

#[test]
fn the_binary_stays_while_a_list_names_it() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    let mut installer = node.in_list();
    node.installs(&mut installer, "10-net.conflist");
    let error = installer.remove_binary().unwrap_err();
    assert!(error.to_string().contains("10-net.conflist still names"), "{error:#}");
    assert!(node.binary().exists());
}

#[test]
fn a_list_that_may_name_it_and_cannot_be_parsed_is_for_later() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    let mut installer = node.in_list();
    node.installs(&mut installer, "10-net.conflist");
    let whole = node.read("10-net.conflist");
    node.write("10-net.conflist", whole.trim_end().trim_end_matches('}'));
    for error in [installer.take_out(), installer.remove_binary()].map(Result::unwrap_err) {
        assert!(error.to_string().contains("names sidestep-cni and cannot be parsed"), "{error:#}");
    }
    node.write("10-net.conflist", &whole);
    installer.take_out().unwrap();
    installer.remove_binary().unwrap();
    assert_eq!(node.read("10-net.conflist"), LIST);
}

#[test]
fn other_files_of_a_networks_directory_stay() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    let mut installer = node.installer(Placement::DropIn);
    node.installs(&mut installer, "k8s/99-sidestep-cni.conf");
    node.write("k8s/50-other.conf", r#"{"type":"other"}"#);
    installer.take_out().unwrap();
    assert_eq!(fs::read_dir(node.network("k8s")).unwrap().count(), 1);
}

#[test]
fn a_node_without_any_of_it_has_nothing_to_take_out() {
    let node = Node::new();
    let mut installer = node.in_list();
    installer.take_out().unwrap();
    installer.remove_binary().unwrap();
    assert!(node.files().is_empty());
}

#[test]
fn a_file_that_is_called_like_the_network_stays() {
    let node = Node::with(&[("10-net.conflist", LIST), ("k8s", "somebody's")]);
    let mut installer = node.in_list();
    node.installs(&mut installer, "10-net.conflist");
    installer.take_out().unwrap();
    assert_eq!((node.read("k8s"), node.read("10-net.conflist")), ("somebody's".into(), LIST.into()));
}
