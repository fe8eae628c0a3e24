//! Flags and environment, as a command line would give them.

mod faults;
mod fuzz;
mod sources;

use std::{io, path::Path};

use super::*;
use crate::config::{ConfigFaults, Host, Lookup};

/// A host with the user envoy (7), the user and group istio-proxy (1234, 1235) and one DNS server.
struct TestHost;

impl Host for TestHost {
    fn user_id(&self, name: &str) -> Lookup {
        match name {
            "envoy" => Lookup::Found(7),
            "istio-proxy" => Lookup::Found(1234),
            _ => Lookup::Unknown("is neither a uid nor a user of this host".into()),
        }
    }

    fn group_id(&self, name: &str) -> Lookup {
        match name {
            "istio-proxy" => Lookup::Found(1235),
            "java" => Lookup::Found(203),
            _ => Lookup::Unknown("is neither a gid nor a group of this host".into()),
        }
    }

    fn resolv_conf(&self) -> io::Result<String> {
        Ok("# made by hand\nnameserver 10.96.0.10\nsearch a b\nnameserver fe80::1%eth0\n".into())
    }
}

fn resolve(args: &[&str], env: &[(&str, &str)]) -> Result<Resolved, ConfigFaults> {
    Given::from_words(args).expect("the flags parse").resolve(&env.iter().copied().collect(), &TestHost)
}

fn config(args: &[&str], env: &[(&str, &str)]) -> Config {
    resolve(args, env).expect("valid").config
}

fn run(args: &[&str], env: &[(&str, &str)]) -> RunOptions {
    resolve(args, env).expect("valid").run
}

fn env_file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("write the file");
    path.display().to_string()
}
