//! How each feature is asked for. Probes load a few instructions or make a small map and drop it again; where the kernel
//! lets only root ask, the answer to others is "inconclusive".

use std::{
    fs::{self, File},
    io,
    net::UdpSocket,
    os::fd::{AsFd as _, BorrowedFd},
};

use super::{
    btf::{FILE_PERMISSION, Offsets},
    feature::{Answer, Feature},
    version::KernelRelease,
};
use crate::sys::{
    bpf_link::{self, AttachType},
    bpf_load::{Instruction, ProgramType, load, load_for},
    bpf_map_create, bpf_test_run, socket_cookie,
};

// `enum bpf_func_id` (include/uapi/linux/bpf.h).
const GET_CURRENT_TASK: i32 = 35;
const GET_NETNS_COOKIE: i32 = 122;
const PROBE_READ_KERNEL: i32 = 113;

/// `offsetof(struct bpf_sk_lookup, ingress_ifindex)`.
const INGRESS_IFINDEX: i16 = 64;

/// What the kernel asks about each access, where it has securityfs.
const SECURITY_MODULES: &str = "/sys/kernel/security/lsm";

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Of programs that are loaded to see whether they can be.
const NAME: &str = "sidestep_probe";

pub(super) fn probe(feature: Feature) -> Answer {
    match feature {
        Feature::SkLookup => loads(ProgramType::SkLookup, Some(AttachType::SkLookup), &trivial()),
        Feature::PeerNameHooks => {
            loads(ProgramType::CgroupSockAddr, Some(AttachType::Getpeername4), &trivial())
        }
        Feature::SocketOptionHook => {
            loads(ProgramType::CgroupSockopt, Some(AttachType::Getsockopt), &trivial())
        }
        Feature::CgroupLinks => cgroup_links(),
        Feature::Sockmap => made(bpf_map_create::sockmap()),
        Feature::Btf => btf(),
        Feature::ReadKernelMemory => read_kernel_memory(),
        Feature::NetnsCookie => netns_cookie(),
        Feature::NetnsCookieInSockOps => {
            let program = [Instruction::call(GET_NETNS_COOKIE), Instruction::result(1), Instruction::exit()];
            loads(ProgramType::SockOps, None, &program)
        }
        Feature::CurrentTaskInSockOps => {
            let program = [Instruction::call(GET_CURRENT_TASK), Instruction::result(1), Instruction::exit()];
            loads(ProgramType::SockOps, None, &program)
        }
        Feature::AtomicFetch => atomic_fetch(),
        Feature::IngressIfindex => {
            let program =
                [Instruction::load_u32(INGRESS_IFINDEX), Instruction::result(1), Instruction::exit()];
            loads(ProgramType::SkLookup, Some(AttachType::SkLookup), &program)
        }
        Feature::LookupTestRun => lookup_test_run(),
        Feature::Tcx => tcx(),
        Feature::SafeSockmap => safe_sockmap(),
        Feature::BpfLsm => bpf_lsm(),
    }
}

fn trivial() -> [Instruction; 2] {
    [Instruction::result(1), Instruction::exit()]
}

fn loads(kind: ProgramType, attach: Option<AttachType>, program: &[Instruction]) -> Answer {
    made(load(kind, attach, NAME, program))
}

fn made<T>(result: io::Result<T>) -> Answer {
    match result {
        Ok(_) => Answer::Yes,
        Err(error) => refusal(&error),
    }
}

/// EPERM comes before every check of what was asked; a shortage says nothing either.
fn refusal(error: &io::Error) -> Answer {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            Answer::Inconclusive(format!("{error}: needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"))
        }
        Some(libc::ENOMEM | libc::EAGAIN | libc::EMFILE | libc::ENFILE | libc::EINTR) => {
            Answer::Inconclusive(error.to_string())
        }
        _ => Answer::No(format!("the kernel says: {error}")),
    }
}

/// The type is looked at before the target: a descriptor that is no cgroup is EBADF where cgroup links exist.
fn cgroup_links() -> Answer {
    let program = match load(ProgramType::CgroupSockAddr, Some(AttachType::Connect4), NAME, &trivial()) {
        Ok(program) => program,
        Err(error) => return refusal(&error),
    };
    match bpf_link::create(program.as_fd(), program.as_fd(), AttachType::Connect4) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Answer::Yes,
        Err(error) => refusal(&error),
        Ok(_) => Answer::Inconclusive("the kernel links to what is no cgroup".to_owned()),
    }
}

fn btf() -> Answer {
    match File::open(VMLINUX) {
        Ok(_) => Answer::Yes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Answer::No(format!("no {VMLINUX} (CONFIG_DEBUG_INFO_BTF, and sysfs mounted)"))
        }
        Err(error) => Answer::Inconclusive(format!("{VMLINUX}: {error}")),
    }
}

/// Lockdown takes the helper away when programs are loaded (kernel/bpf/helpers.c: bpf_base_func_proto).
fn read_kernel_memory() -> Answer {
    loads_with_buffer(&[Instruction::set(2, 8), Instruction::set(3, 0), Instruction::call(PROBE_READ_KERNEL)])
}

fn atomic_fetch() -> Answer {
    loads_with_buffer(&[Instruction::set(2, 1), Instruction::fetch_add()])
}

/// Whether these load, r1 pointing to eight bytes of the stack.
fn loads_with_buffer(instructions: &[Instruction]) -> Answer {
    let program = [&Instruction::buffer()[..], instructions, &trivial()].concat();
    loads(ProgramType::CgroupSockAddr, Some(AttachType::Connect4), &program)
}

fn netns_cookie() -> Answer {
    let socket = match UdpSocket::bind(("127.0.0.1", 0)).or_else(|_| UdpSocket::bind(("::1", 0))) {
        Ok(socket) => socket,
        Err(error) => return Answer::Inconclusive(format!("no socket to ask: {error}")),
    };
    made(socket_cookie::netns_cookie(socket.as_fd()))
}

fn lookup_test_run() -> Answer {
    let program = match load(ProgramType::SkLookup, Some(AttachType::SkLookup), NAME, &trivial()) {
        Ok(program) => program,
        Err(error) => return refusal(&error),
    };
    let somewhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    made(bpf_test_run::sk_lookup(program.as_fd(), somewhere, somewhere))
}

/// Interface 0 is none: ENODEV from a kernel that looks for it (kernel/bpf/tcx.c: tcx_link_attach).
fn tcx() -> Answer {
    const NO_INTERFACE: u32 = 0;
    let program = match load(ProgramType::SchedCls, None, NAME, &trivial()) {
        Ok(program) => program,
        Err(error) => return refusal(&error),
    };
    let program: BorrowedFd<'_> = program.as_fd();
    match bpf_link::create_on_interface(program, NO_INTERFACE, AttachType::TcxIngress) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Answer::Yes,
        Err(error) => refusal(&error),
        Ok(_) => Answer::Inconclusive("the kernel links to no interface".to_owned()),
    }
}

/// Programs that nobody asks load all the same: the list of those who are asked is looked at too.
fn bpf_lsm() -> Answer {
    let Some(function) = Offsets::of_running_kernel().ok().and_then(|btf| btf.function(FILE_PERMISSION))
    else {
        return Answer::No(format!("no {FILE_PERMISSION} (CONFIG_BPF_LSM, and BTF)"));
    };
    let loaded = load_for(ProgramType::Lsm, Some(AttachType::LsmCgroup), function, NAME, &trivial());
    match (made(loaded), runs_bpf_lsm()) {
        (Answer::Yes, Some(true)) => Answer::Yes,
        (Answer::Yes | Answer::Inconclusive(_), Some(false)) => {
            Answer::No(format!("bpf is not in {SECURITY_MODULES}"))
        }
        (Answer::Yes, None) => {
            Answer::Inconclusive(format!("{SECURITY_MODULES} cannot be read: mount securityfs"))
        }
        // Who may do the rest may do this.
        (Answer::Inconclusive(_), _) if read_kernel_memory().is_yes() => {
            Answer::No("the kernel takes such programs from nobody".to_owned())
        }
        (other, _) => other,
    }
}

/// Whether BPF is among the security modules that are asked; none: nothing tells.
pub(super) fn runs_bpf_lsm() -> Option<bool> {
    let modules = fs::read_to_string(SECURITY_MODULES).ok()?;
    Some(modules.trim().split(',').any(|module| module == "bpf"))
}

/// Crashes and lost bytes cannot be tried out: the releases with the fixes are known.
fn safe_sockmap() -> Answer {
    match KernelRelease::current() {
        Err(error) => Answer::Inconclusive(format!("{error:#}")),
        Ok(release) => release.allows_acceleration().map_or_else(Answer::No, |()| Answer::Yes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kernel_that_looked_says_no() {
        let answer = |errno| refusal(&io::Error::from_raw_os_error(errno));
        assert!(matches!(answer(libc::EPERM), Answer::Inconclusive(_)));
        assert!(matches!(answer(libc::ENOMEM), Answer::Inconclusive(_)));
        assert!(matches!(answer(libc::EINVAL), Answer::No(_)));
        // The verifier's word for a member of the context it does not know.
        assert!(matches!(answer(libc::EACCES), Answer::No(_)));
    }
}
