//! Others write the same files.

use super::*;

#[test]
fn an_owner_that_writes_its_list_again_twenty_times() {
    let mut node = Node::with(&[("10-net.conflist", LIST)]);
    let mut installer = node.in_list();
    node.installs(&mut installer, "10-net.conflist");
    for round in 0..20 {
        let text = LIST.replace("1.0 }", &format!("{round}.0 }}"));
        node.write("10-net.conflist", &text);
        let mut waited = 0;
        while matches!(installer.step(node.now).unwrap(), State::Waiting { .. }) {
            assert_eq!(node.read("10-net.conflist"), text);
            node.pass(1);
            waited += 1;
        }
        assert!(waited <= if round < 5 { 0 } else { 31 }, "{waited} s");
        assert_eq!(node.read("10-net.conflist"), chained(&text));
    }
    assert_eq!(installer.repairs(), &BTreeMap::from([(node.network("10-net.conflist"), 20)]));
    assert_eq!(node.files(), ["10-net.conflist"]);
}

#[test]
fn who_is_calm_again_is_repaired_at_once() {
    let mut node = Node::with(&[("10-net.conflist", LIST)]);
    let mut installer = node.in_list();
    for _ in 0..6 {
        node.write("10-net.conflist", LIST);
        node.installs(&mut installer, "10-net.conflist");
    }
    node.write("10-net.conflist", LIST);
    node.waits(&mut installer, "somebody else keeps writing");
    node.pass(300);
    for _ in 0..5 {
        node.write("10-net.conflist", LIST);
        node.installs(&mut installer, "10-net.conflist");
    }
}

#[test]
fn an_entry_that_somebody_changes_is_put_back_where_it_is() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    let mut installer = node.in_list();
    node.installs(&mut installer, "10-net.conflist");
    let ours = node.read("10-net.conflist");
    node.write("10-net.conflist", &ours.replace("closed", "open"));
    node.installs(&mut installer, "10-net.conflist");
    assert_eq!(node.read("10-net.conflist"), ours);
    assert_eq!(installer.repairs().values().sum::<u64>(), 1);
}

#[test]
fn another_entry_of_the_next_agent_is_no_repair() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    node.installs(&mut node.in_list(), "10-net.conflist");
    let entry = Entry { failure_policy: FailurePolicy::Open, ..Entry::default() };
    let mut installer = Installer::new(node.paths(), entry, Placement::InList);
    node.installs(&mut installer, "10-net.conflist");
    assert!(node.read("10-net.conflist").contains("open"));
    assert!(installer.repairs().is_empty());
}

#[test]
fn a_binary_that_somebody_takes_away_is_put_back() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    let mut installer = node.in_list();
    for change in [|path: &Path| fs::remove_file(path), |path: &Path| fs::write(path, "plugin 0")] {
        node.installs(&mut installer, "10-net.conflist");
        change(&node.binary()).unwrap();
        node.installs(&mut installer, "10-net.conflist");
        assert_eq!(fs::read_to_string(node.binary()).unwrap(), "plugin 1");
    }
}

#[test]
fn a_list_that_is_half_written_stays_until_it_is_whole() {
    let mut node = Node::with(&[("20-net.conflist", LIST)]);
    let half = &LIST[..LIST.len() / 2];
    node.write("10-net.conflist", half);
    let mut installer = node.in_list();
    node.waits(&mut installer, "10-net.conflist cannot be parsed, and somebody may be writing it");
    assert_eq!((node.read("10-net.conflist"), node.read("20-net.conflist")), (half.into(), LIST.into()));
    // A longer half is another half.
    node.pass(9);
    node.write("10-net.conflist", &LIST[..LIST.len() / 2 + 1]);
    node.waits(&mut installer, "cannot be parsed");
    node.pass(9);
    node.waits(&mut installer, "cannot be parsed");
    node.write("10-net.conflist", LIST);
    node.installs(&mut installer, "10-net.conflist");
}

#[test]
fn a_list_that_nobody_completes_is_passed_over() {
    let mut node = Node::with(&[("10-net.conflist", "{"), ("20-net.conflist", LIST)]);
    let mut installer = node.in_list();
    node.waits(&mut installer, "cannot be parsed");
    node.pass(10);
    node.installs(&mut installer, "20-net.conflist");
    assert_eq!(node.read("10-net.conflist"), "{");
    node.write("10-net.conflist", LIST);
    node.installs(&mut installer, "10-net.conflist");
    assert_eq!(node.read("20-net.conflist"), LIST);
}

/// Between our look at a list and the rename.
#[test]
fn what_its_owner_writes_meanwhile_is_not_lost() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    let (path, text) = (node.network("10-net.conflist"), LIST.replace("bridge", "ptp"));
    let mut owner = Some((path.clone(), text.clone()));
    let before = Box::new(move |what: &str, beside: &Path| {
        if what == "write" && beside.ends_with(".sidestep-cni-10-net.conflist.new") {
            owner.take().map_or(Ok(()), |(path, text)| fs::write(path, text))
        } else {
            Ok(())
        }
    });
    let mut installer = Installer::with(node.paths(), Entry::default(), Placement::InList, before);
    node.waits(&mut installer, "somebody has written");
    assert_eq!(node.read("10-net.conflist"), text);
    node.installs(&mut installer, "10-net.conflist");
    assert_eq!(node.read("10-net.conflist"), chained(&text));
    assert_eq!(node.files(), ["10-net.conflist"]);
}

#[test]
fn links_are_refused() {
    let node = Node::new();
    let elsewhere = node.directory.path().join("elsewhere");
    fs::write(&elsewhere, LIST).unwrap();
    symlink(&elsewhere, node.network("10-net.conflist")).unwrap();
    node.waits(&mut node.in_list(), "10-net.conflist is a symbolic link");
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), LIST);
    assert!(fs::symlink_metadata(node.network("10-net.conflist")).unwrap().is_symlink());
}

#[test]
fn a_link_in_place_of_a_networks_directory_is_refused() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    symlink(node.directory.path(), node.network("k8s")).unwrap();
    let error = node.installer(Placement::DropIn).step(node.now).unwrap_err();
    assert!(format!("{error:#}").contains("k8s is no directory"), "{error:#}");
    assert!(!node.directory.path().join("99-sidestep-cni.conf").exists());
}

/// It waits in the place of the file that we write beside the list.
#[test]
fn a_link_in_the_place_of_what_is_not_there_yet_is_not_followed() {
    let node = Node::with(&[("10-net.conflist", LIST)]);
    let elsewhere = node.directory.path().join("elsewhere");
    fs::write(&elsewhere, "somebody's").unwrap();
    symlink(&elsewhere, node.network(".sidestep-cni-10-net.conflist.new")).unwrap();
    node.installs(&mut node.in_list(), "10-net.conflist");
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "somebody's");
}

#[test]
fn a_network_whose_name_leads_elsewhere_gets_no_drop_in() {
    let node = Node::with(&[("10-net.conflist", &LIST.replace("k8s", "../bin"))]);
    node.waits(&mut node.installer(Placement::DropIn), "names its network as no directory can be");
    assert_eq!(fs::read_dir(node.paths().plugins).unwrap().count(), 1);
}

#[test]
fn names_and_texts_do_not_reach_a_terminal() {
    let node = Node::with(&[("10-\u{1b}[2J.conflist", "{\"name\": \"\u{9b}\"")]);
    let State::Waiting { why } = node.in_list().step(node.now).unwrap() else { panic!() };
    assert!(!why.contains(char::is_control), "{why:?}");
}
