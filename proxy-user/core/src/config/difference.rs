//! What another attach changes of a workload: each setting under the name of its flag, before and after. And the name that a
//! set of settings has, to see whether two workloads have the same.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Acceleration, Config, Observe, PodName, setting};

/// Longer ones are cut: lists may have thousands of ranges.
const LONGEST: usize = 60;
/// Bytes of a digest that are shown.
const HASHED: usize = 8;

/// Everything of a workload that its user decides.
#[derive(Serialize)]
pub struct Settings<'a> {
    pub pod: Option<&'a PodName>,
    pub config: &'a Config,
    pub acceleration: &'a Acceleration,
    pub observe: Observe,
}

/// A setting that differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Its flag, or what it is called where no flag sets it.
    pub setting: String,
    pub before: String,
    pub after: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.setting, self.before, self.after)
    }
}

impl Settings<'_> {
    /// What is other in `new`.
    pub fn changes(&self, new: &Settings<'_>) -> Vec<Change> {
        let (old, new) = (flat(self), flat(new));
        let changed = old.iter().zip(&new).filter(|(old, new)| old != new);
        let change = |((name, before), (_, after)): (&(String, String), &(String, String))| {
            let (before, after) = shortened(before, after);
            Change { setting: name.clone(), before, after }
        };
        changed.map(change).collect()
    }

    /// The same for the same settings, whatever pod has them and in whatever order lists were given.
    pub fn hash(&self) -> String {
        // Structures of plain fields have a JSON form, with the names in one order.
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value["pod"] = Value::Null;
        sort_lists(&mut value);
        let digest = Sha256::digest(value.to_string());
        digest.iter().take(HASHED).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn sort_lists(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(sort_lists);
            items.sort_by_key(Value::to_string);
        }
        Value::Object(fields) => fields.values_mut().for_each(sort_lists),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Name and value of each setting, always the same ones in the same order.
fn flat(settings: &Settings<'_>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    // Structures of plain fields have a JSON form.
    let value = serde_json::to_value(settings).unwrap_or_default();
    let object = |value: &Value| value.as_object().cloned().unwrap_or_default();
    for (name, value) in object(&value["config"]) {
        if name == "ports" {
            found.extend(object(&value).iter().map(|(port, value)| (port_flag(port), shown(value))));
        } else {
            found.push((flag(&name), shown(&value)));
        }
    }
    let acceleration = |name: &str| if name == "mode" { dashed(&setting::ACCELERATE) } else { flag(name) };
    found.extend(
        object(&value["acceleration"]).iter().map(|(name, value)| (acceleration(name), shown(value))),
    );
    found.push((flag("observe"), shown(&value["observe"])));
    found.push((flag("pod"), settings.pod.map_or_else(|| "none".to_owned(), ToString::to_string)));
    found
}

fn port_flag(port: &str) -> String {
    match port {
        "outbound" => dashed(&setting::ENVOY_PORT),
        "inbound" => dashed(&setting::INBOUND_CAPTURE_PORT),
        "tunnel" => dashed(&setting::INBOUND_TUNNEL_PORT),
        other => format!("{other} port"),
    }
}

/// The flag that sets it; of what has none, the name it has among the settings.
fn flag(name: &str) -> String {
    let setting = match name {
        "proxy_uids" => &setting::PROXY_UID,
        "proxy_gids" => &setting::PROXY_GID,
        "mode" => &setting::MODE,
        "tproxy_mark" => &setting::TPROXY_MARK,
        "tproxy_route_table" => &setting::TPROXY_ROUTE_TABLE,
        "inbound_include" => &setting::INBOUND_PORTS,
        "inbound_exclude" => &setting::INBOUND_EXCLUDE,
        "outbound_ports_include" => &setting::OUTBOUND_PORTS,
        "outbound_ports_exclude" => &setting::OUTBOUND_PORTS_EXCLUDE,
        "outbound_include" => &setting::SERVICE_CIDR,
        "outbound_exclude" => &setting::SERVICE_EXCLUDE_CIDR,
        "exclude_interfaces" => &setting::EXCLUDE_INTERFACES,
        "kube_virt_interfaces" => &setting::KUBE_VIRT_INTERFACES,
        "owner_groups" => &setting::OWNER_GROUPS,
        "dns" => &setting::REDIRECT_DNS,
        "loopback_cidr" => &setting::LOOPBACK_CIDR,
        "drop_invalid" => &setting::DROP_INVALID,
        "dual_stack" => &setting::DUAL_STACK,
        "inflight_limit" => &setting::INFLIGHT_LIMIT,
        "trusted" => &setting::TRUST_PROGRAM,
        "observe" => &setting::OBSERVE,
        "pod" => return "--pod".to_owned(),
        other => return other.replace('_', "-"),
    };
    dashed(setting)
}

fn dashed(setting: &setting::Setting) -> String {
    match (setting.flag, setting.short) {
        ("", _) => setting.name().to_owned(),
        (flag, Some(short)) => format!("-{short} (--{flag})"),
        (flag, None) => format!("--{flag}"),
    }
}

/// As the flag would take it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => match text.as_str() {
            "All" | "Everyone" => "*".to_owned(),
            "None" | "" => "none".to_owned(),
            mode @ ("Redirect" | "Tproxy") => mode.to_uppercase(),
            other => other.to_owned(),
        },
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        Value::Object(fields) => match (fields.get("gid"), fields.iter().next()) {
            (Some(gid), _) => {
                fields.get("name").filter(|name| name.is_string()).map_or_else(|| shown(gid), shown)
            }
            (None, Some((name, inner))) if name == "Except" => format!("* but {}", shown(inner)),
            (None, Some((_, inner))) => shown(inner),
            (None, None) => "none".to_owned(),
        },
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Of lists that differ somewhere behind, how long they are.
fn shortened(before: &str, after: &str) -> (String, String) {
    let short = |text: &str| {
        if text.chars().count() <= LONGEST {
            return text.to_owned();
        }
        let head: String = text.chars().take(LONGEST).collect();
        let head = head.rsplit_once(',').map_or(head.as_str(), |(head, _)| head);
        format!("{head},... ({} in all)", text.split(',').count())
    };
    (short(before), short(after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Given, NoHost};

    fn config(words: &[&str]) -> Config {
        Given::from_words(words).unwrap().resolve(&Environment::default(), &NoHost).unwrap().config
    }

    fn lines(old: &Settings<'_>, new: &Settings<'_>) -> Vec<String> {
        old.changes(new).iter().map(ToString::to_string).collect()
    }

    fn between(old: &[&str], new: &[&str]) -> Vec<String> {
        let (old, new) = (config(old), config(new));
        let acceleration = Acceleration::default();
        let settings =
            |config| Settings { pod: None, config, acceleration: &acceleration, observe: Observe::On };
        lines(&settings(&old), &settings(&new))
    }

    #[test]
    fn each_change_has_the_name_of_its_flag() {
        assert_eq!(between(&["-b", "*"], &["-b", "*"]), [""; 0]);
        let changed = between(
            &["-i", "*", "-b", "*", "-p", "15001", "-m", "REDIRECT"],
            &["-i", "10.96.0.0/16,10.97.0.0/16", "-d", "15090", "-p", "15101", "-m", "TPROXY"],
        );
        assert_eq!(
            changed,
            [
                "-d (--istio-local-exclude-ports): none -> 15090",
                "-b (--istio-inbound-ports): * -> none",
                "-m (--istio-inbound-interception-mode): REDIRECT -> TPROXY",
                "-i (--istio-service-cidr): * -> 10.96.0.0/16,10.97.0.0/16",
                "-p (--envoy-port): 15001 -> 15101",
            ]
        );
        assert_eq!(between(&[], &["--redirect-dns", "--capture-all-dns"]), ["--redirect-dns: none -> *"]);
    }

    #[test]
    fn what_is_not_the_rules_is_said_too() {
        let (config, pod) = (config(&[]), "shop/reviews-0".parse().unwrap());
        let (old, new) = (
            Acceleration::default(),
            Acceleration { trusted: vec!["/bin/a".into()], ..Acceleration::default() },
        );
        let old = Settings { pod: None, config: &config, acceleration: &old, observe: Observe::On };
        let new = Settings { pod: Some(&pod), acceleration: &new, observe: Observe::Off, ..old };
        let said =
            ["--trust-program: none -> /bin/a", "--observe: on -> off", "--pod: none -> shop/reviews-0"];
        assert_eq!(lines(&old, &new), said);
    }

    #[test]
    fn the_same_settings_have_the_same_hash() {
        let hash = |words: &[&str], pod: Option<&str>, trusted: &[&str]| {
            let (config, pod) = (config(words), pod.map(|pod| pod.parse().unwrap()));
            let trusted = trusted.iter().map(Into::into).collect();
            let acceleration = Acceleration { trusted, ..Acceleration::default() };
            Settings { pod: pod.as_ref(), config: &config, acceleration: &acceleration, observe: Observe::On }
                .hash()
        };
        let first = hash(&["-i", "*", "-d", "80,443"], Some("shop/a"), &[]);
        assert_eq!(first, hash(&["-d", "443,80", "-i", "*"], None, &[]), "order and pod are not settings");
        assert_eq!(first.len(), 16, "{first}");
        for (words, trusted) in [(&["-i", "*", "-d", "80"][..], &[][..]), (&["-d", "80,443"], &[])]
            .into_iter()
            .chain([(&["-i", "*", "-d", "80,443"][..], &["/bin/a"][..])])
        {
            assert_ne!(first, hash(words, Some("shop/a"), trusted), "{words:?} {trusted:?}");
        }
    }

    /// A new setting gets its flag's name here.
    #[test]
    fn every_setting_of_the_rules_is_known() {
        let value = serde_json::to_value(Config::default()).unwrap();
        for name in value.as_object().unwrap().keys().filter(|name| *name != "ports") {
            assert!(
                flag(name).starts_with('-') || flag(name).starts_with("ISTIO_"),
                "{name}: {}",
                flag(name)
            );
        }
        assert!(flag("mode").starts_with("-m"));
    }

    #[test]
    fn long_lists_are_cut() {
        let ranges: Vec<String> = (0..200).map(|number| format!("10.{number}.0.0/16")).collect();
        let said = between(&["-i", "*"], &["-i", &ranges.join(",")]);
        assert_eq!(said.len(), 1);
        assert!(said[0].len() < 140 && said[0].ends_with(",... (200 in all)"), "{}", said[0]);
    }
}
