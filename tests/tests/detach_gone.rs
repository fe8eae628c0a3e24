//! A pod that is gone while it is attached: `status` still names its workload, and `detach --workload` takes that one.

use std::process::Command;

use serde_json::Value;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::sidestep::{DEFAULT_FLAGS, ended_command};

fn succeed(command: Command) -> String {
    let ended = ended_command(command).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout
}

fn names(root: &PinRoot) -> Vec<String> {
    let status: Value =
        serde_json::from_str(&succeed(root.command(&["status", "--output", "json"]).unwrap())).unwrap();
    let workloads = status["workloads"].as_array().unwrap();
    workloads.iter().map(|workload| workload["workload"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_is_detached_by_name_and_the_others_stay() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let root = PinRoot::new().unwrap();
    let attach = [&["attach"], &DEFAULT_FLAGS[..]].concat();
    let stays = Network::new("stays").unwrap();
    succeed(root.for_pod(&attach, &stays.pod).unwrap());
    let staying = names(&root);
    let gone = Network::new("gone").unwrap();
    succeed(root.for_pod(&attach, &gone.pod).unwrap());
    drop(gone);

    let going: Vec<String> = names(&root).into_iter().filter(|name| !staying.contains(name)).collect();
    assert_eq!((staying.len(), going.len()), (1, 1));
    let said = succeed(root.command(&["detach", "--workload", &going[0]]).unwrap());
    assert_eq!(said, format!("detached workload {}\n", going[0]));
    assert_eq!(names(&root), staying);
    let again = ended_command(root.command(&["detach", "--workload", &going[0]]).unwrap()).unwrap();
    assert_eq!(again.code, Some(64), "{again:?}");
    assert!(again.stderr.contains(&format!("no workload '{}' is attached", going[0])), "{again:?}");

    succeed(root.command(&["detach", "--workload", &staying[0]]).unwrap());
    assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new());
}
