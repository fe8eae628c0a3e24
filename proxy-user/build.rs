//! Compiles proxy-ebpf for the BPF target and hands the object's path to the compiler as SIDESTEP_BPF_OBJECT.
//!
//! Looks for a toolchain in the order of xtask/src/bpf_compiler.rs. Without one it stops: a stub in the place of the
//! object would be found out in production only.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

const TARGET: &str = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("..");
    for path in ["proxy-ebpf", "proxy-common", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", root.join(path).display());
    }
    let linker = root.join("target/tools/bin/bpf-linker");
    println!("cargo:rerun-if-changed={}", linker.display());
    let Some(linker) = linker.is_file().then_some(linker).or_else(|| in_path("bpf-linker")) else {
        stop("bpf-linker is not there");
    };
    let Some(mut cargo) = debian().or_else(nightly) else {
        stop("no Rust compiler for the BPF target");
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap()).join("bpf");
    let flags = [
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        format!("--cfg=bpf_target_arch=\"{}\"", env::var("CARGO_CFG_TARGET_ARCH").unwrap()),
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
    let object = out.join(TARGET).join("release/sidestep");
    println!("cargo:rustc-env=SIDESTEP_BPF_OBJECT={}", object.display());
    let code = fs::read(&object).expect("the object that was just compiled");
    println!("cargo:rustc-env=SIDESTEP_BPF_BUILD={:08x}", number_of(&code));
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
    let sysroot = output(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"]))?;
    if !Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib").is_dir() {
        return None;
    }
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    // aya-ebpf is written in unstable inline assembly.
    cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
    Some(cargo)
}

/// rustup's nightly with rust-src: `core` is compiled on the way.
fn nightly() -> Option<Command> {
    let sysroot = output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]))?;
    if !Path::new(&sysroot).join("lib/rustlib/src/rust/library").is_dir() {
        return None;
    }
    let mut cargo = Command::new("rustup");
    cargo.args(["run", "nightly", "cargo", "-Zbuild-std=core"]);
    cargo.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    Some(cargo)
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.env_remove("RUSTC_WORKSPACE_WRAPPER").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn in_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}
