//! One netlink socket, used synchronously.

use std::{io, marker::PhantomData};

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_ROUTE, NETLINK_SOCK_DIAG},
};

/// A table that changes all the time is not waited for.
const DUMP_ATTEMPTS: usize = 100;

/// Messages of one protocol.
pub(super) trait Message: NetlinkSerializable + NetlinkDeserializable + Clone {
    const PROTOCOL: isize;
}

impl Message for RouteNetlinkMessage {
    const PROTOCOL: isize = NETLINK_ROUTE;
}

impl Message for SockDiagMessage {
    const PROTOCOL: isize = NETLINK_SOCK_DIAG;
}

pub(super) struct Netlink<M> {
    socket: Socket,
    sequence: u32,
    messages: PhantomData<M>,
}

/// What a single request came back with.
pub(super) enum Answer<M> {
    Message(Box<M>),
    /// The kernel's refusal: for a route, that there is none.
    Refused,
}

impl<M: Message> Netlink<M> {
    pub(super) fn open() -> Result<Self> {
        let mut socket = Socket::new(M::PROTOCOL).context("open a netlink socket")?;
        socket.bind_auto().context("bind the netlink socket")?;
        socket.connect(&SocketAddr::new(0, 0)).context("connect the netlink socket")?;
        Ok(Self { socket, sequence: 0, messages: PhantomData })
    }

    pub(super) fn dump(&mut self, request: M) -> Result<Vec<M>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(found) = self.dump_once(request.clone())? {
                return Ok(found);
            }
        }
        bail!(
            "netlink: the kernel's tables changed during each of {DUMP_ATTEMPTS} attempts to read them; try again"
        )
    }

    /// None: a change came in between (`NLM_F_DUMP_INTR`), and what was read may lack entries.
    fn dump_once(&mut self, request: M) -> Result<Option<Vec<M>>> {
        self.send(request, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut found = Vec::new();
        let mut interrupted = false;
        loop {
            for message in self.receive()? {
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok((!interrupted).then_some(found)),
                    NetlinkPayload::InnerMessage(inner) => found.push(inner),
                    NetlinkPayload::Error(error) => bail!("netlink: {}", error.to_io()),
                    _ => {}
                }
            }
        }
    }

    pub(super) fn ask(&mut self, request: M) -> Result<Answer<M>> {
        self.send(request, NLM_F_REQUEST)?;
        for message in self.receive()? {
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => return Ok(Answer::Message(Box::new(inner))),
                NetlinkPayload::Error(_) => return Ok(Answer::Refused),
                _ => {}
            }
        }
        bail!("netlink: empty answer")
    }

    /// Makes what is not there yet.
    pub(super) fn create(&mut self, request: M) -> io::Result<()> {
        self.acknowledged(request, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Changes or removes what is there.
    pub(super) fn change(&mut self, request: M) -> io::Result<()> {
        self.acknowledged(request, 0)
    }

    fn acknowledged(&mut self, request: M, flags: u16) -> io::Result<()> {
        self.send(request, NLM_F_REQUEST | NLM_F_ACK | flags).map_err(io::Error::other)?;
        for message in self.receive().map_err(io::Error::other)? {
            if let NetlinkPayload::Error(answer) = message.payload {
                // Code 0 is the acknowledgement.
                return if answer.code.is_none() { Ok(()) } else { Err(answer.to_io()) };
            }
        }
        Err(io::Error::other("netlink: empty answer"))
    }

    fn send(&mut self, request: M, flags: u16) -> Result<()> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        self.socket.send(&buffer, 0).context("send to netlink")?;
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<NetlinkMessage<M>>> {
        let (data, _) = self.socket.recv_from_full().context("receive from netlink")?;
        let mut messages = Vec::new();
        let mut rest = &data[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<M>::deserialize(rest).context("decode a netlink message")?;
            let length = (message.header.length as usize).next_multiple_of(4).max(16);
            rest = rest.get(length..).unwrap_or(&[]);
            messages.push(message);
        }
        Ok(messages)
    }
}
