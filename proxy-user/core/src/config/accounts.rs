//! What a configuration has to ask the host: account names and the resolver's servers.

use std::{fs, io};

use nix::unistd::{Group, User};

use super::go_value::{LEADING_ZERO, parse_number};

/// The host a configuration is resolved on. Tests and `sidestep rules` bring their own.
pub trait Host {
    fn user_id(&self, name: &str) -> Lookup;
    fn group_id(&self, name: &str) -> Lookup;
    /// The text of /etc/resolv.conf.
    fn resolv_conf(&self) -> io::Result<String>;
}

/// An account's number, or why there is none ("is not a group on this host").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Found(u32),
    Unknown(String),
}

impl Lookup {
    /// A number, or else a name.
    pub(super) fn of(text: &str, by_name: impl FnOnce(&str) -> Self) -> Self {
        match parse_number(text) {
            Ok(id) => Self::of_number(id),
            Err(LEADING_ZERO) => Self::Unknown(LEADING_ZERO.into()),
            Err(_) => by_name(text),
        }
    }

    pub(super) fn of_number(id: u32) -> Self {
        match id {
            // (uid_t)-1: iptables refuses it, and no process has it (setresuid: "leave it as it is").
            u32::MAX => Self::Unknown("stands for nobody: the last id is 4294967294".into()),
            id => Self::Found(id),
        }
    }
}

/// The machine we run on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisHost;

/// No machine at all: nothing has a name, there is no resolv.conf.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHost;

impl Host for ThisHost {
    fn user_id(&self, name: &str) -> Lookup {
        match User::from_name(name) {
            Ok(Some(user)) => Lookup::Found(user.uid.as_raw()),
            Ok(None) => Lookup::Unknown("is neither a uid nor a user of this host".into()),
            Err(errno) => Lookup::Unknown(format!("cannot be looked up as a user: {errno}")),
        }
    }

    fn group_id(&self, name: &str) -> Lookup {
        match Group::from_name(name) {
            Ok(Some(group)) => Lookup::Found(group.gid.as_raw()),
            Ok(None) => Lookup::Unknown("is neither a gid nor a group of this host".into()),
            Err(errno) => Lookup::Unknown(format!("cannot be looked up as a group: {errno}")),
        }
    }

    fn resolv_conf(&self) -> io::Result<String> {
        fs::read_to_string("/etc/resolv.conf")
    }
}

impl Host for NoHost {
    fn user_id(&self, _: &str) -> Lookup {
        Lookup::Unknown("is not a uid, and names are not looked up here".into())
    }

    fn group_id(&self, _: &str) -> Lookup {
        Lookup::Unknown("is not a gid, and names are not looked up here".into())
    }

    fn resolv_conf(&self) -> io::Result<String> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "the host's resolv.conf is not read here"))
    }
}
