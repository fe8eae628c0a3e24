//! Compiles proxy-ebpf for the BPF target and hands the object's path to the compiler as SIDESTEP_BPF_OBJECT.
//!
//! Takes the toolchain that `cargo xtask setup` takes. Without one it stops: a stub in the place of the object would be
//! found out in production only.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, exit},
};

#[path = "../../xtask/src/bpf_toolchain.rs"]
mod bpf_toolchain;
#[path = "build/debug_info.rs"]
mod debug_info;
#[path = "../../xtask/src/version.rs"]
mod version;

use bpf_toolchain::{DEBIAN_RUSTC, OLDEST_LINKER, TARGET};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    let root = root.canonicalize().expect("the directory of the workspace");
    for path in ["proxy-ebpf", "proxy-common", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", root.join(path).display());
    }
    let Some((linker, _)) = bpf_toolchain::linker(&root.join("target/tools")) else {
        stop(&format!("there is no bpf-linker {OLDEST_LINKER} or newer"));
    };
    println!("cargo:rerun-if-changed={}", linker.display());
    let Some(mut cargo) = debian().or_else(nightly) else {
        stop(&format!(
            "there is no Rust compiler for the BPF target, {} or newer",
            env!("CARGO_PKG_RUST_VERSION")
        ));
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap()).join("bpf");
    let flags = [
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        format!("--cfg=bpf_target_arch=\"{}\"", env::var("CARGO_CFG_TARGET_ARCH").unwrap()),
        // BTF names the files of the sources: the same object comes of every clone.
        format!("--remap-path-prefix={}=/sidestep", root.display()),
        format!("--remap-path-prefix={}=/cargo", cargo_home().display()),
    ];
    let status = cargo
        .current_dir(&root)
        .args(["build", "--locked", "--release", "--package", "proxy-ebpf", "--target", TARGET])
        .arg("--target-dir")
        .arg(&out)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTFLAGS")
        // Clippy and others wrap the host's compiler; this one is not theirs.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CLIPPY_ARGS")
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => stop(&format!("the BPF programs do not compile ({status}), see above")),
        Err(error) => stop(&format!("cargo does not start: {error}")),
    }
    let built =
        fs::read(out.join(TARGET).join("release/sidestep")).expect("the object that was just compiled");
    let code = debug_info::removed(&built);
    let object = out.join("sidestep.o");
    fs::write(&object, &code).expect("a file of this script's own");
    println!("cargo:rustc-env=SIDESTEP_BPF_OBJECT={}", object.display());
    println!("cargo:rustc-env=SIDESTEP_BPF_BUILD={:08x}", number_of(&code));
}

/// Where the sources of other crates are.
fn cargo_home() -> PathBuf {
    let named = env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(env::home_dir()?.join(".cargo"))).unwrap_or_default()
}

/// Another object has another number (FNV-1a).
fn number_of(code: &[u8]) -> u32 {
    code.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn stop(reason: &str) -> ! {
    println!("cargo:warning={reason}: run `cargo xtask setup` first");
    eprintln!("{reason}: run `cargo xtask setup` first");
    exit(1)
}

/// Debian's rustc-web with libstd-rust-web-dev-bpf: `core` for the BPF target comes with it.
fn debian() -> Option<Command> {
    bpf_toolchain::debian()?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    // aya-ebpf is written in unstable inline assembly.
    cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
    Some(cargo)
}

/// rustup's nightly with rust-src: `core` is compiled on the way.
fn nightly() -> Option<Command> {
    bpf_toolchain::nightly()?;
    let mut cargo = Command::new("rustup");
    cargo.args(["run", "nightly", "cargo", "-Zbuild-std=core"]);
    cargo.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    Some(cargo)
}
