//! A pcapng file, as Wireshark and `tcpdump -r` read it.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context as _, Result};
use pcap_file::{
    DataLink, PcapError,
    pcapng::{
        PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};
use proxy_core::harmless::harmless;
use proxy_plane::dataplane::Message;

use super::{Names, Sink, packets::Packets, path, sender};

/// Times are in nanoseconds: a power of ten.
const NANOSECONDS: u8 = 9;

/// Counts what passes.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

pub(crate) struct File<W: Write> {
    writer: PcapNgWriter<Counted<W>>,
    names: Names,
    /// Numbers of the workloads' interfaces in the file.
    interfaces: HashMap<u64, u32>,
    packets: Packets,
}

impl<W: Write> File<W> {
    pub(crate) fn begin(to: W, names: Names) -> Result<Self> {
        let program = concat!("sidestep ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(program))],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(Counted { inner: to, bytes: 0 }, section)
            .context("write the head of the capture")?;
        Ok(Self { writer, names, interfaces: HashMap::new(), packets: Packets::default() })
    }

    /// Each workload is an interface.
    fn interface_of(&mut self, message: &Message) -> Result<u32, PcapError> {
        if let Some(number) = self.interfaces.get(&message.tenancy) {
            return Ok(*number);
        }
        let name = harmless(sender(&self.names, message)).into_owned();
        self.writer.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(name)),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        })?;
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(message.tenancy, number);
        Ok(number)
    }

    fn packet(&mut self, message: &Message, data: &[u8]) -> Result<(), PcapError> {
        let interface_id = self.interface_of(message)?;
        let mut comment = path(message);
        let kept = message.bytes.len();
        if kept < message.size as usize {
            comment.push_str(&format!("; the first {kept} of {} bytes", message.size));
        }
        self.writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_micros(message.at),
            original_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(data),
            options: vec![EnhancedPacketOption::Comment(Cow::Owned(comment))],
        })?;
        Ok(())
    }
}

impl<W: Write> Sink for File<W> {
    fn take(&mut self, message: &Message) -> Result<bool> {
        let data = self.packets.of(message)?;
        is_read(self.packet(message, &data).map_err(|error| match error {
            PcapError::IoError(error) => error,
            other => io::Error::other(other),
        }))
    }

    fn written(&self) -> u64 {
        self.writer.get_ref().bytes
    }

    fn flush(&mut self) -> Result<bool> {
        is_read(self.writer.get_mut().flush())
    }
}

/// Who reads a pipe may go.
fn is_read(written: io::Result<()>) -> Result<bool> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true).context("write the capture"),
    }
}
