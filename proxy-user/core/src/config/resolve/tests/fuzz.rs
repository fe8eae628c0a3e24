//! Any text: no panic, and every item is either in the configuration or reported.

use proptest::prelude::*;

use super::*;
use crate::rules::render;

const LISTS: [&str; 9] = ["-u", "-g", "-b", "-d", "-c", "-i", "-x", "-q", "-o"];
const TEXTS: [&str; 8] = ["-p", "-z", "-e", "-m", "-t", "-r", "--redirect-dns", "--probe-timeout"];

fn item() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => any::<u16>().prop_map(|port| port.to_string()),
        3 => (any::<[u8; 4]>(), 0..40u8).prop_map(|([a, b, c, d], length)| format!("{a}.{b}.{c}.{d}/{length}")),
        1 => (any::<u128>(), 0..140u8).prop_map(|(bits, length)| {
            format!("{}/{length}", std::net::Ipv6Addr::from_bits(bits))
        }),
        1 => "[a-z*+:/.% \"'$-]{0,17}",
        1 => Just(String::new()),
        1 => any::<String>().prop_map(|text| text.replace(',', "")),
    ]
}

fn list() -> impl Strategy<Value = String> {
    prop::collection::vec(item(), 0..6).prop_map(|items| items.join(","))
}

/// How many items of this list made it into the configuration; `None` if the text is no list.
fn kept(config: &Config, flag: &str) -> Option<usize> {
    Some(match flag {
        "-u" => config.proxy_uids.len(),
        "-g" => config.proxy_gids.len(),
        "-b" => match &config.inbound_include {
            PortSet::None => 0,
            PortSet::All => return None,
            PortSet::List(ports) => ports.len(),
        },
        "-d" => config.inbound_exclude.len(),
        "-c" => config.exclude_interfaces.len(),
        "-i" => match &config.outbound_include {
            CidrSet::All => return None,
            CidrSet::List(nets) => nets.len(),
        },
        "-x" => config.outbound_exclude.len(),
        "-q" => config.outbound_ports_include.len(),
        "-o" => config.outbound_ports_exclude.len(),
        other => unreachable!("{other}"),
    })
}

proptest! {
    #[test]
    fn lists_lose_nothing(flag in prop::sample::select(&LISTS[..]), text in list()) {
        let given = text.split(',').filter(|item| !item.trim().is_empty()).count();
        // Only with this one is -d read.
        let all = if flag == "-d" { "-b=*" } else { "-b=" };
        match resolve(&[all, &format!("{flag}={text}")], &[]) {
            Ok(Resolved { config, .. }) => {
                // An empty text stands for the default in these two.
                let defaulted = matches!(flag, "-u" | "-g") && text.is_empty();
                if let Some(kept) = kept(&config, flag).filter(|_| !defaulted) {
                    prop_assert_eq!(kept, given);
                }
                render(&config);
            }
            Err(ConfigFaults(faults)) => prop_assert!(!faults.is_empty()),
        }
    }

    #[test]
    fn single_values_never_panic(flag in prop::sample::select(&TEXTS[..]), text in any::<String>()) {
        let argument = format!("{flag}={text}");
        if let Err(ConfigFaults(faults)) = resolve(&[&argument], &[]) {
            prop_assert!(!faults.is_empty());
            prop_assert!(faults.iter().all(|fault| fault.to_string().lines().count() == 1));
        }
    }

    #[test]
    fn env_files_never_panic(text in "[A-Z=' \"\\\\$#;\n*,0-9]{0,60}") {
        let folder = tempfile::tempdir().unwrap();
        let path = env_file(folder.path(), "fuzz.env", &text);
        let _ = resolve(&["--env-file", &path], &[]);
    }

    #[test]
    fn rules_follow_any_valid_list(
        nets in prop::collection::vec((any::<[u8; 4]>(), 0..=32u8), 0..20),
        ports in prop::collection::vec(any::<u16>(), 0..20),
    ) {
        let nets: Vec<String> =
            nets.into_iter().map(|([a, b, c, d], length)| format!("{a}.{b}.{c}.{d}/{length}")).collect();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let text = render(&config(&["-i", &nets.join(","), "-o", &ports.join(",")], &[]));
        let wanted: Vec<String> =
            nets.iter().map(|net| format!("-A ISTIO_OUTPUT -d {net} -j ISTIO_REDIRECT")).collect();
        let found: Vec<&str> = text.lines().filter(|line| line.ends_with("-j ISTIO_REDIRECT")).collect();
        prop_assert_eq!(found, wanted);
        for port in ports {
            let line = format!("-A ISTIO_OUTPUT -p udp --dport {port} -j RETURN\n");
            prop_assert!(text.contains(&line));
        }
    }
}

#[test]
fn long_lists() {
    let nets: Vec<String> = (0..10_000u32).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256)).collect();
    let ports: Vec<String> = (1..=u16::MAX).map(|port| port.to_string()).collect();
    let config = config(&["-i", &nets.join(","), "-b", &ports.join(",")], &[]);
    assert_eq!(kept(&config, "-i"), Some(10_000));
    assert_eq!(kept(&config, "-b"), Some(65_535));
    assert!(render(&config).lines().count() > 75_000);
    let wrong = vec!["x"; 65_535].join(",");
    let error = resolve(&["-b", "*", "-d", &wrong], &[]).unwrap_err();
    assert_eq!(error.0.len(), 65_535);
}
