//! Listeners whose processes are not visible here, as to an agent in a container: nobody hands their sockets over, and no
//! file descriptor leads to one. A program that is run in their namespace looks them up as a packet would, marks them and
//! puts them into their places.

use std::{
    io,
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result};
use proxy_common::{
    names::map,
    wire::{LISTENERS_OF_GROUP, SocketState, role},
};

use super::pins::open_map;
use crate::{
    netns::Netns,
    sys::{
        bpf_load::{self, Instruction as I, ProgramType},
        bpf_test_run,
    },
};

const MAP_UPDATE: i32 = 2;
const SKB_LOAD_BYTES: i32 = 26;
const SK_LOOKUP_TCP: i32 = 84;
const SK_RELEASE: i32 = 86;
const SK_STORAGE_GET: i32 = 107;
const CREATE: i32 = 1;
const NOEXIST: i32 = 1;
const CURRENT_NETNS: i32 = -1;
const TCP_LISTEN: i32 = 10;
/// `struct bpf_sock`.
const SRC_PORT: i16 = 44;
const STATE: i16 = 72;

const ETHERNET: i32 = 14;
/// What the program is given: the tuple of IPv6, of which that of IPv4 fills the head, the place and the port.
const TUPLE: usize = 36;
const QUESTION: usize = TUPLE + 2 * size_of::<u32>();
/// Where it has that on its stack.
const AT: i16 = -(QUESTION.next_multiple_of(8) as i16);
const PLACE: i16 = AT + TUPLE as i16;
const PORT: i16 = PLACE + size_of::<u32>() as i16;

const ROLE: i16 = offset_of!(SocketState, role) as i16;
/// Tells the sockets this run has seen. Nobody else reads the byte, and accepted sockets start with it.
const SEEN: i16 = offset_of!(SocketState, reserved) as i16;

/// Bits of what the program returns: this run has found the listener before; it has its mark; and in the lowest byte the
/// error of its place. 0: there is none.
const BEFORE: i32 = 1 << 16;
const MARKED: i32 = 1 << 17;
const ERROR: i32 = 0xff;
/// -EEXIST, in a byte: the place is another's.
const TAKEN: i32 = -libc::EEXIST & ERROR;
/// A place that is none.
const NOWHERE: u32 = u32::MAX;

/// Ports a client may have: the kernel chooses among the members of a SO_REUSEPORT group by the client, and each is to be
/// found.
const CLIENTS: std::ops::Range<u16> = 1024..9216;

/// What came of the listeners at one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Adopted {
    /// Sockets that have their mark now.
    pub(super) marked: usize,
    /// Whether one of them has a place, or none is wanted.
    pub(super) reached: bool,
}

/// Adopts listeners into a node's maps.
pub(super) struct Adopter {
    /// For tuples of IPv4, and of IPv6.
    programs: [OwnedFd; 2],
}

impl Adopter {
    /// `run`: a number that no socket bears of a run before. One that does is not found.
    pub(super) fn new(node_dir: &Path, run: u8) -> Result<Self> {
        let (states, places) = (open_map(node_dir, map::SOCKETS)?, open_map(node_dir, map::LISTENERS)?);
        let load = |tuple| {
            let program = program(tuple, run, states.as_fd(), places.as_fd());
            bpf_load::load(ProgramType::SchedCls, None, "find_listener", &program)
        };
        let programs = load(12).and_then(|four| Ok([four, load(TUPLE as i32)?]));
        Ok(Self { programs: programs.context("load the program that finds listeners")? })
    }

    /// Those at an address, `expected` in number. `first`: of their group's places; None: no redirected connection reaches
    /// their address, and the mark is all they get.
    pub(super) fn adopt(
        &self,
        netns: &Netns,
        address: SocketAddr,
        expected: usize,
        first: Option<u32>,
    ) -> Result<Adopted> {
        netns.within(|| self.adopt_here(address, expected, first).context("look a listener up"))
    }

    fn adopt_here(&self, address: SocketAddr, expected: usize, first: Option<u32>) -> io::Result<Adopted> {
        let program = self.programs[usize::from(address.is_ipv6())].as_fd();
        let last = first.map(|first| first + LISTENERS_OF_GROUP);
        let mut place = first.unwrap_or(NOWHERE);
        let mut adopted = Adopted { marked: 0, reached: first.is_none() };
        for client in CLIENTS {
            let ask = |place| {
                let said = bpf_test_run::classifier_on(program, &question(address, client, place))?;
                io::Result::Ok(said as i32)
            };
            let mut said = ask(place)?;
            while said & MARKED != 0 && said & ERROR == TAKEN {
                // The same socket once more, for the next place.
                place = if Some(place + 1) == last { NOWHERE } else { place + 1 };
                said = ask(place)?;
            }
            if said & MARKED != 0 {
                adopted.marked += 1;
                adopted.reached |= said & ERROR == 0;
            }
            // Or nobody listens there any more, or what does is no listener of TCP.
            if adopted.marked == expected || said & (MARKED | BEFORE) == 0 {
                break;
            }
        }
        Ok(adopted)
    }
}

/// What the program is told: a connection to the address, the place and the port of who is to be found.
fn question(address: SocketAddr, client: u16, place: u32) -> [u8; QUESTION] {
    // From an address to itself: over lo, where a workload that is attached already captures nothing. A listener on all
    // addresses is asked for at one where no other listens.
    let at = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::new(127, 83, 73, 68).octets().to_vec(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.octets().to_vec(),
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let ports = [client.to_be_bytes(), address.port().to_be_bytes()].concat();
    let tuple = [at.clone(), at, ports].concat();
    let mut question = [0; QUESTION];
    question[..tuple.len()].copy_from_slice(&tuple);
    question[TUPLE..][..4].copy_from_slice(&place.to_ne_bytes());
    question[TUPLE + 4..].copy_from_slice(&u32::from(address.port()).to_ne_bytes());
    question
}

/// An instruction, or a jump to where the socket is given back.
enum Step {
    Do(I),
    ToEnd(Box<dyn Fn(i16) -> I>),
}

/// Looks a listener up, marks it, and gives it a place. It holds the socket in r7, its state in r8 and its answer in r9.
fn program(tuple: i32, run: u8, states: BorrowedFd<'_>, places: BorrowedFd<'_>) -> Vec<I> {
    let run = i32::from(run);
    let on_stack = |register| [I::copy(register, 10), I::add(register, AT.into())];
    let begin = [
        &[I::copy(6, 1), I::set(9, 0), I::set(2, ETHERNET)][..],
        &on_stack(3),
        &[I::set(4, QUESTION as i32), I::call(SKB_LOAD_BYTES)],
        &[I::copy(1, 6)],
        &on_stack(2),
        &[I::set(3, tuple), I::set(4, CURRENT_NETNS), I::set(5, 0), I::call(SK_LOOKUP_TCP)],
        // Nobody: there is nothing to give back.
        &[I::skip_unless(0, 0, 2), I::result(0), I::exit(), I::copy(7, 0)],
    ];
    let listens = [I::load_word(1, 7, STATE)];
    let on_its_port = [I::load_word(1, 7, SRC_PORT), I::load_word(2, 10, PORT)];
    let state = [
        &I::load_map(1, states)[..],
        &[I::copy(2, 7), I::set(3, 0), I::set(4, CREATE), I::call(SK_STORAGE_GET)],
    ];
    let seen = [I::copy(8, 0), I::set(9, BEFORE), I::load_byte(1, 8, SEEN)];
    let mark = [
        &[I::set(1, role::LISTENER.into()), I::store_byte(8, ROLE, 1)][..],
        &I::load_map(1, places),
        &[I::copy(2, 10), I::add(2, PLACE.into()), I::copy(3, 7), I::set(4, NOEXIST), I::call(MAP_UPDATE)],
        &[I::copy(9, 0), I::and(9, ERROR), I::copy(2, 9), I::set(1, MARKED), I::or(9, 1)],
        &[I::skip_if(2, TAKEN, 2), I::set(1, run), I::store_byte(8, SEEN, 1)],
    ];
    let steps: Vec<Step> = begin
        .concat()
        .into_iter()
        .chain(listens)
        .map(Step::Do)
        .chain([Step::ToEnd(Box::new(|to| I::skip_unless(1, TCP_LISTEN, to)))])
        .chain(on_its_port.map(Step::Do))
        .chain([Step::ToEnd(Box::new(|to| I::skip_unless_same(1, 2, to)))])
        .chain(state.concat().into_iter().map(Step::Do))
        .chain([Step::ToEnd(Box::new(|to| I::skip_if_zero(0, to)))])
        .chain(seen.map(Step::Do))
        .chain([Step::ToEnd(Box::new(move |to| I::skip_if(1, run, to)))])
        .chain(mark.concat().into_iter().map(Step::Do))
        .collect();
    let length = steps.len();
    let resolve = |(at, step)| match step {
        Step::Do(instruction) => instruction,
        Step::ToEnd(jump) => jump((length - at - 1) as i16),
    };
    let mut program: Vec<I> = steps.into_iter().enumerate().map(resolve).collect();
    program.extend([I::copy(1, 7), I::call(SK_RELEASE), I::copy(0, 9), I::exit()]);
    program
}
