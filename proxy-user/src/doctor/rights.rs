//! What the caller may do, and the limits it has.

use nix::{
    sys::resource::{Resource, getrlimit},
    unistd::Uid,
};
use proxy_plane::{dataplane::missing_capabilities, kernel::version::KernelVersion};

use super::finding::{Finding, read};

pub(super) fn findings() -> Vec<Finding> {
    vec![capabilities(), memlock(), jit()]
}

fn capabilities() -> Finding {
    const CHECK: &str = "capabilities";
    let missing = match missing_capabilities() {
        Ok(missing) => missing,
        Err(error) => return Finding::unseen(CHECK, format!("{error:#}"), "mount /proc"),
    };
    if missing.is_empty() {
        return Finding::ok(CHECK, "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN");
    }
    let found = format!("missing: {}", missing.join(", "));
    if Uid::effective().is_root() {
        return Finding::unusable(CHECK, found, "grant them (securityContext.capabilities.add)");
    }
    Finding::unseen(CHECK, found, "attach needs them: run it, and doctor, as root")
}

/// Maps are charged to it before Linux 5.11; attach raises it if it may, as doctor has done by now.
fn memlock() -> Finding {
    const CHECK: &str = "memlock";
    const CHARGED_BEFORE: KernelVersion = KernelVersion(5, 11);
    let (_, hard) = match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok(limits) => limits,
        Err(error) => return Finding::unseen(CHECK, error.to_string(), "see `ulimit -H -l`"),
    };
    match KernelVersion::current() {
        Ok(kernel) if kernel >= CHARGED_BEFORE => Finding::ok(CHECK, format!("not used by Linux {kernel}")),
        _ if hard == nix::sys::resource::RLIM_INFINITY => Finding::ok(CHECK, "unlimited"),
        _ => Finding::degraded(
            CHECK,
            format!("at most {hard} bytes, and this kernel charges maps to it"),
            "attach with CAP_SYS_RESOURCE, or raise the limit (LimitMEMLOCK=infinity)",
        ),
    }
}

fn jit() -> Finding {
    const CHECK: &str = "bpf_jit_enable";
    match read("/proc/sys/net/core/bpf_jit_enable").as_deref() {
        Ok("0") => {
            Finding::degraded(CHECK, "0: programs are interpreted", "sysctl -w net.core.bpf_jit_enable=1")
        }
        Ok(value) => Finding::ok(CHECK, value),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::ok(CHECK, "not here (a namespace of its own, or always on)")
        }
        Err(error) => Finding::unseen(CHECK, error.to_string(), "run doctor as root"),
    }
}
