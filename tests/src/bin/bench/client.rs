//! Who sends the requests.

use std::net::SocketAddr;

use ::tests::pod::Pod;
use anyhow::Result;
use serde::Serialize;

use crate::case::Work;
use crate::wrk::Answered;
use crate::{h2load, wrk};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Client {
    /// Asks FIONREAD before it reads, which few applications do, and some kernels answer wrongly.
    Wrk,
    H2load,
}

impl Client {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wrk => "wrk",
            Self::H2load => "h2load",
        }
    }

    pub(crate) fn run(self, pod: &Pod, at: SocketAddr, work: Work, seconds: u32) -> Result<Answered> {
        match self {
            Self::Wrk => wrk::run(pod, at, work, seconds),
            Self::H2load => h2load::run(pod, at, work, seconds),
        }
    }
}
