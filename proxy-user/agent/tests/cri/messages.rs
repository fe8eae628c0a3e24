//! `src/cri/v1.rs` is what prost makes of `proto/cri.proto`. It is checked in, so that a build of the agent needs no protobuf
//! compiler: that is twenty crates more, for messages that never change.

use std::{env, fs, path::Path};

#[test]
fn the_messages_are_those_of_the_proto() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parsed = protox::compile(["cri.proto"], [here.join("proto")]).unwrap();
    let made = tempfile::tempdir().unwrap();
    prost_build::Config::new().btree_map(["."]).out_dir(made.path()).compile_fds(parsed).unwrap();
    let made = fs::read_to_string(made.path().join("runtime.v1.rs")).unwrap();

    let kept = here.join("src/cri/v1.rs");
    if env::var_os("SIDESTEP_UPDATE_PROTO").is_some() {
        fs::write(&kept, &made).unwrap();
    }
    assert!(
        fs::read_to_string(&kept).unwrap_or_default() == made,
        "{} is not what proto/cri.proto says: SIDESTEP_UPDATE_PROTO=1 cargo test -p proxy-agent --test cri messages",
        kept.display()
    );
}
