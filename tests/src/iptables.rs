//! The baseline: Istio's rules as the real iptables programs load them.

use anyhow::{Context, Result, ensure};

use crate::pod::Pod;
use crate::{process, sidestep};

/// Which iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Legacy,
    Nft,
}

impl Backend {
    fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Nft => "nft",
        }
    }
}

/// istio-init's rules for `-p 15001 -z 15006 -u 1337 -g 1337 -m REDIRECT -i * -x "" -b * -d 15090,15021,15020`.
const DEFAULT_RULES: &str = "\
* nat
-N ISTIO_INBOUND
-N ISTIO_REDIRECT
-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
";

/// The rules istio-init makes of [`sidestep::DEFAULT_FLAGS`], with no help of ours.
pub fn default_rules() -> &'static str {
    DEFAULT_RULES
}

/// The rules istio-iptables would load for `flags`, as `sidestep rules` prints them.
pub fn rules_for(flags: &[&str]) -> Result<String> {
    let binary = sidestep::binary()?;
    let output = std::process::Command::new(&binary)
        .arg("rules")
        .args(flags)
        .output()
        .with_context(|| format!("run {}", binary.display()))?;
    ensure!(output.status.success(), "sidestep rules: {}", String::from_utf8_lossy(&output.stderr).trim());
    String::from_utf8(output.stdout).context("sidestep rules printed no UTF-8")
}

/// Why `backend` cannot be used here, if so.
pub fn missing(backend: Backend) -> Option<String> {
    let program = format!("iptables-{}-restore", backend.name());
    (!process::on_path(&program)).then(|| format!("{program} is missing: `apt-get install iptables`"))
}

/// Loads `rules` (iptables-restore text, IPv4 tables first, the same tables again for IPv6) into the pod's namespace.
/// They go with the namespace.
pub fn apply(pod: &Pod, rules: &str, backend: Backend) -> Result<()> {
    if let Some(why) = missing(backend) {
        anyhow::bail!(why);
    }
    let (v4, v6) = by_family(rules);
    for (program, text) in [("iptables", v4), ("ip6tables", v6)] {
        if !text.is_empty() {
            let program = format!("{program}-{}-restore", backend.name());
            pod.command(program).args(["--wait", "--noflush"]).input(&text).run()?;
        }
    }
    Ok(())
}

/// Loads `rules` for IPv6 only.
pub fn apply_v6(pod: &Pod, rules: &str, backend: Backend) -> Result<()> {
    let program = format!("ip6tables-{}-restore", backend.name());
    pod.command(program).args(["--wait", "--noflush"]).input(rules).run().map(drop)
}

/// Splits restore text where a table comes for the second time.
fn by_family(rules: &str) -> (String, String) {
    let mut seen = Vec::new();
    let mut texts = [String::new(), String::new()];
    let mut family = 0;
    for line in rules.lines().map(str::trim).filter(|line| !line.ends_with("tables-save")) {
        if let Some(table) = line.strip_prefix('*').map(str::trim) {
            if seen.contains(&table) {
                family = 1;
            }
            seen.push(table);
        }
        texts[family].push_str(line);
        texts[family].push('\n');
    }
    let [v4, v6] = texts;
    (v4, v6)
}

/// The rules of a namespace with their counters, for a failing test to print.
pub fn listing(pod: &Pod, backend: Backend) -> Result<String> {
    pod.command(format!("iptables-{}-save", backend.name())).arg("--counters").run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_table_is_ipv6() {
        let text = "iptables-save\n* raw\nCOMMIT\n* nat\n-A a\nCOMMIT\n* nat\n-A b\nCOMMIT\nip6tables-save\n";
        let (v4, v6) = by_family(text);
        assert_eq!(v4, "* raw\nCOMMIT\n* nat\n-A a\nCOMMIT\n");
        assert_eq!(v6, "* nat\n-A b\nCOMMIT\n");
    }
}
