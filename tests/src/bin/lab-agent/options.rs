//! The answers of getsockopt on one connection, once at the start and once more when standard input closes: what lies
//! between must not have changed them.

use std::fmt::Write as _;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use clap::Args;
use nix::errno::Errno;
use tests::report::{Answer, Options as Answers};

/// Levels and options; each is asked with every length.
const LEVELS: [(i32, std::ops::Range<i32>); 4] =
    [(libc::SOL_SOCKET, 1..80), (libc::SOL_IP, 1..100), (libc::SOL_IPV6, 1..100), (libc::SOL_TCP, 1..45)];
const LENGTHS: [usize; 6] = [0, 1, 4, 16, 128, 8192];
/// More than any option writes.
const BUFFER: usize = 16384;
const ORIGINAL_DST: i32 = 80;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(long)]
    to: SocketAddr,
    /// SO_ORIGINAL_DST alone, with these lengths.
    #[arg(long, value_delimiter = ',')]
    original_dst: Vec<usize>,
}

impl Options {
    pub(crate) fn run(self) -> Result<()> {
        let stream = TcpStream::connect(self.to).context("connect")?;
        self.print(&stream)?;
        std::io::stdin().read_to_end(&mut Vec::new()).context("wait on standard input")?;
        self.print(&stream)
    }

    fn print(&self, stream: &TcpStream) -> Result<()> {
        let mut answers = Answers::new();
        if self.original_dst.is_empty() {
            for (level, options) in LEVELS {
                for option in options.filter(|option| *option != ORIGINAL_DST) {
                    for length in LENGTHS {
                        answers
                            .insert(format!("{level}/{option}/{length}"), ask(stream, level, option, length));
                    }
                }
            }
        }
        for &length in &self.original_dst {
            for level in [libc::SOL_IP, libc::SOL_IPV6] {
                answers.insert(format!("{level}/80/{length}"), ask(stream, level, ORIGINAL_DST, length));
            }
        }
        println!("{}", serde_json::to_string(&answers)?);
        Ok(())
    }
}

fn ask(stream: &TcpStream, level: i32, option: i32, length: usize) -> Answer {
    // What the kernel does not write stays visible.
    let mut buffer = vec![0xa5u8; BUFFER];
    let mut optlen = length as libc::socklen_t;
    // SAFETY: the buffer is larger than any length asked with, and both pointers outlive the call.
    let result = unsafe {
        libc::getsockopt(stream.as_raw_fd(), level, option, buffer.as_mut_ptr().cast(), &mut optlen)
    };
    let errno = Errno::result(result).err().map(|errno| errno as i32);
    // These change by themselves: only their lengths are kept.
    let moving = level == libc::SOL_TCP
        && matches!(option, libc::TCP_INFO | libc::TCP_CC_INFO | libc::TCP_TIMESTAMP)
        || level == libc::SOL_SOCKET && option == libc::SO_MEMINFO;
    let shown = if moving { 0 } else { 128 };
    let value = buffer[..shown].iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    });
    Answer { errno, length: optlen, value }
}
