//! Network interface names.

use super::{fault::ConfigFaults, go_value::items, setting::Setting};

/// IFNAMSIZ - 1.
const LONGEST: usize = 15;

/// Reads a comma list of interface names. The names end up in the text of `sidestep rules`, so what a shell or
/// iptables-restore would read differently is refused, among it iptables' `eth+` (any interface starting with eth),
/// which Istio passes on by accident.
pub(super) fn parse_interfaces(setting: &Setting, text: &str, faults: &mut ConfigFaults) -> Vec<String> {
    let mut names = Vec::new();
    for item in items(text) {
        match check_name(item, |first| first.is_ascii_alphanumeric() || first == b'_') {
            Ok(()) => names.push(item.to_owned()),
            Err(reason) => {
                faults.add(setting.fault(text, reason, "list interface names as `ip link` shows them"))
            }
        }
    }
    names
}

/// Istio's checks and texts (pkg/util/net: ValidateInterfaceNames); releases differ in what a name may start with.
pub(super) fn check_name(name: &str, starts: impl Fn(u8) -> bool) -> Result<(), String> {
    let Some(first) = name.bytes().next() else {
        return Err("empty interface name".into());
    };
    if name.len() > LONGEST {
        return Err(format!("interface name {name:?} too long (max {LONGEST} chars)"));
    }
    if !starts(first) || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) {
        return Err(format!("interface name {name:?} contains invalid characters"));
    }
    Ok(())
}
