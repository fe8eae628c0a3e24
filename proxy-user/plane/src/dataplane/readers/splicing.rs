//! What programs do where splice(2) from a socket fails with EINVAL. Those named here read instead, by their source; of
//! others nobody knows, and what worked before might end with an error.

use object::{Object as _, ObjectSymbol as _};
use proxy_common::accel::end_flag;

/// A function of Go's runtime, named in every Go program that can use the network.
const GO_SPLICE: &[u8] = b"internal/poll.Splice";
/// A Go program that calls it by itself (golang.org/x/sys).
const GO_OWN_SPLICE: &[u8] = b"sys/unix.Splice";
/// Event loops of a Go program's own besides its runtime's.
const GO_LOOPS: [&[u8]; 2] = [b".EpollWait", b".epollWait"];
/// The runtime's, by the package that has had it.
const GO_OWN_LOOP: [&[u8]; 3] =
    [b"runtime/internal/syscall", b"internal/runtime/syscall", b"internal/runtime/syscall/linux"];
/// Of CPython from 3.8 on, defined in the file that has `os.splice`.
const PYTHON: &str = "Py_BytesMain";
const HAPROXY: &[u8] = b"HAProxy version ";
/// In liburing, in who is linked with it, and in Go packages that do the same.
const URING: [&[u8]; 2] = [b"io_uring", b"iouring"];

/// How a program reads that may not splice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Reads {
    Otherwise,
    /// Until there is nothing left, from sockets none of which blocks.
    Drained,
}

impl Reads {
    /// Of [`end_flag`].
    pub(super) const fn flags(self) -> u32 {
        match self {
            Self::Otherwise => 0,
            Self::Drained => end_flag::DRAINS | end_flag::EVENT_LOOP,
        }
    }
}

/// Whether it is a Go program that can use the network: `io.Copy` between two sockets splices.
pub(super) fn is_go(data: &[u8]) -> bool {
    has(data, GO_SPLICE)
}

/// `internal/poll: Splice` tells its callers after an EINVAL that it has done nothing, and they copy. Whoever reads gets to
/// wait only once read(2) has said EAGAIN (`internal/poll: FD.Read`), unless it has an event loop of its own.
pub(super) fn of_go(elf: &object::File<'_>, data: &[u8]) -> Option<Reads> {
    if !elf.is_64() || has(data, GO_OWN_SPLICE) {
        return None;
    }
    Some(if has_own_loop(data) { Reads::Otherwise } else { Reads::Drained })
}

/// HAProxy (`src/raw_sock.c: raw_sock_to_pipe`) does without pipes from then on. CPython itself splices nothing: `os.splice`
/// is there for its applications, and is documented to fail where the kernel does not take the file.
pub(super) fn of_others(elf: &object::File<'_>, data: &[u8], is_program: bool) -> Option<Reads> {
    if !elf.is_64() {
        return None;
    }
    let is_python = elf.dynamic_symbols().any(|symbol| symbol.is_definition() && symbol.name() == Ok(PYTHON));
    (is_python || is_program && has(data, HAPROXY)).then_some(Reads::Otherwise)
}

pub(super) fn knows_uring(data: &[u8]) -> bool {
    URING.into_iter().any(|name| has(data, name))
}

fn has_own_loop(data: &[u8]) -> bool {
    GO_LOOPS.into_iter().any(|name| {
        memchr::memmem::find_iter(data, name)
            .any(|at| !GO_OWN_LOOP.into_iter().any(|package| data[..at].ends_with(package)))
    })
}

fn has(data: &[u8], name: &[u8]) -> bool {
    memchr::memmem::find(data, name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_program_is_known_by_its_text() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = object::File::parse(&*own).unwrap();
        let go = |data: &[u8]| is_go(data).then(|| of_go(&elf, data));
        assert_eq!(go(b"net.(*netFD).Read"), None);
        assert_eq!(go(b"internal/poll.Splice"), Some(Some(Reads::Drained)));
        assert_eq!(go(b"internal/poll.Splice\0github.com/a.EpollWait"), Some(Some(Reads::Otherwise)));
        assert_eq!(go(b"internal/poll.Splice\0golang.org/x/sys/unix.Splice"), Some(None));
        let other = |data: &[u8], is_program| of_others(&elf, data, is_program);
        assert_eq!(other(b"HAProxy version 3.2", true), Some(Reads::Otherwise));
        assert_eq!(other(b"HAProxy version 3.2", false), None);
        assert_eq!(other(b"nothing", true), None);
    }

    #[test]
    fn an_event_loop_of_its_own_is_told_from_the_runtimes() {
        for (functions, is_own) in [
            ("internal/runtime/syscall/linux.EpollWait\0", false),
            ("internal/runtime/syscall.EpollWait\0internal/poll.Splice", false),
            ("runtime: epollwait on fd", false),
            ("internal/runtime/syscall.EpollWait\0golang.org/x/sys/unix.EpollWait", true),
            ("github.com/panjf2000/gnet/v2/internal/netpoll.epollWait", true),
        ] {
            assert_eq!(has_own_loop(functions.as_bytes()), is_own, "{functions}");
        }
    }

    #[test]
    fn io_uring_is_known_by_its_name() {
        assert!(knows_uring(b"liburing\0io_uring_get_sqe") && knows_uring(b"github.com/iceber/iouring-go"));
        assert!(!knows_uring(b"read\0splice"));
    }
}
