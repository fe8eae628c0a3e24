//! `-v` and `--quiet`: more, or nothing, is said beside the result.

use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::sidestep::{DEFAULT_FLAGS, Ended, ended_command};

#[test]
fn more_or_less_is_said() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("verbosity").unwrap();
    let root = PinRoot::new().unwrap();
    let attach = |more: &[&str]| -> Ended {
        // An interface that is not there is a warning.
        let verb = [&["attach"], &DEFAULT_FLAGS[..], &["-c", "none0"], more].concat();
        let ended = ended_command(root.for_pod(&verb, &network.pod).unwrap()).unwrap();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.starts_with("attached workload"), "{ended:?}");
        let detach = ended_command(root.for_pod(&["detach"], &network.pod).unwrap()).unwrap();
        assert_eq!(detach.code, Some(0), "{detach:?}");
        ended
    };
    let [usual, quiet, verbose, detailed] =
        [&[][..], &["--quiet"], &["-v"], &["-vv"]].map(|more| attach(more).stderr);
    assert!(usual.contains("warning: interface none0 does not exist"), "{usual}");
    assert_eq!(quiet, "");
    let says = |text: &str, what: &str| {
        text.lines().any(|line| line.starts_with("sidestep: ") && line.contains(what))
    };
    assert!(
        says(&verbose, "loaded the programs in ") && says(&verbose, "the workload is slot "),
        "{verbose}"
    );
    assert!(says(&verbose, "none0") && !says(&verbose, "connect4"), "{verbose}");
    assert!(says(&detailed, "debug: connect4 hangs on "), "{detailed}");
    let both = ended_command(root.for_pod(&["attach", "-v", "--quiet"], &network.pod).unwrap()).unwrap();
    assert_eq!(both.code, Some(64), "{both:?}");
}
