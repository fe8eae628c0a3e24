//! The same setting said in four ways, by flags, variables, an env file and annotations, gives one result: the same
//! configuration and rules, or the same refusal. Settings are random ones, valid and not.
//!
//! `SIDESTEP_SETTINGS=<number>` tries more of them, `SIDESTEP_SEED=<number>` others, `SIDESTEP_SETTING=<number>` one.

use std::{collections::BTreeMap, io};

use proxy_core::{
    config::{
        Capture, Config, ConfigFaults, Defaults, Environment, Given, Host, Lookup, ProxySettings, Resolved,
        Value, from_annotations, setting,
    },
    rules,
};
use tests::settings::{
    Kind, Name, Settings,
    host::{GROUPS, USERS},
    name,
};

const SEED: u64 = 1;
const SETTINGS: u64 = 3_000;

/// The host of the settings.
struct ThatHost<'a>(&'a Settings);

impl Host for ThatHost<'_> {
    fn user_id(&self, name: &str) -> Lookup {
        look_up(&USERS, name)
    }

    fn group_id(&self, name: &str) -> Lookup {
        look_up(&GROUPS, name)
    }

    fn resolv_conf(&self) -> io::Result<String> {
        Ok(self.0.host.resolv_conf.clone())
    }
}

fn look_up(known: &[(&str, u32)], name: &str) -> Lookup {
    let found = known.iter().find(|(known, _)| *known == name);
    found.map_or_else(|| Lookup::Unknown(format!("{name} is unknown")), |(_, id)| Lookup::Found(*id))
}

/// What came of settings: the configuration, and everything that was said against them.
type Outcome = Result<Resolved, String>;

fn of_line(settings: &Settings, args: &[String], env: &Environment) -> Outcome {
    let resolved = Given::from_words(args)?.resolve(env, &ThatHost(settings));
    resolved.map_err(|faults| faults.to_string())
}

fn by_line(settings: &Settings) -> Outcome {
    let line = settings.command_line();
    of_line(settings, &line.args, &Environment::from_iter(line.env))
}

fn by_file(settings: &Settings, folder: &tempfile::TempDir) -> Outcome {
    let line = settings.by_variables().command_line();
    let path = folder.path().join("cluster.env");
    let quoted = |text: &str| text.replace('\'', r"'\''");
    let lines: String = line.env.iter().map(|(name, text)| format!("{name}='{}'\n", quoted(text))).collect();
    std::fs::write(&path, lines).expect("write the file");
    let file = [format!("--env-file={}", path.display())];
    of_line(settings, &[&file[..], &line.args].concat(), &Environment::default())
}

/// What annotations can say, and under which name.
const ANNOTATED: [(&Name, &setting::Setting); 9] = [
    (&name::MODE, &setting::MODE),
    (&name::INBOUND_PORTS, &setting::INBOUND_PORTS),
    (&name::INBOUND_EXCLUDE, &setting::INBOUND_EXCLUDE),
    (&name::EXCLUDE_INTERFACES, &setting::EXCLUDE_INTERFACES),
    (&name::SERVICE_CIDR, &setting::SERVICE_CIDR),
    (&name::EXCLUDE_CIDR, &setting::SERVICE_EXCLUDE_CIDR),
    (&name::OUTBOUND_PORTS, &setting::OUTBOUND_PORTS),
    (&name::OUTBOUND_EXCLUDE, &setting::OUTBOUND_PORTS_EXCLUDE),
    (&name::KUBE_VIRT, &setting::KUBE_VIRT_INTERFACES),
];

/// The settings that annotations can say, and the rest as flags and variables.
fn split(settings: &Settings) -> (BTreeMap<&'static str, String>, Settings) {
    let mut rest = settings.by_flags();
    rest.said.retain(|said| !ANNOTATED.iter().any(|(name, _)| *name == said.name));
    let texts = ANNOTATED
        .iter()
        .filter_map(|(name, setting)| settings.text_of(name).map(|text| (setting.annotation, text)));
    (texts.collect(), rest)
}

/// By annotations what they can say, by flags the rest. The CNI plugin reads no variable of the rest.
fn by_annotations(settings: &Settings, defaults: Defaults) -> Result<Config, String> {
    let (annotations, rest) = split(settings);
    let annotations = annotations.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    let line = rest.command_line();
    let env = Environment::from_iter(line.env);
    let proxy = ProxySettings { given: Given::from_words(line.args)?, env, ..ProxySettings::default() };
    match from_annotations(&annotations, defaults, &proxy, &ThatHost(settings)) {
        Ok(Capture::Of(config)) => Ok(*config),
        Ok(Capture::Nothing(reason)) => Err(reason.to_owned()),
        Err(faults) => Err(faults.to_string()),
    }
}

/// The flags that the injector, or the CNI plugin, makes of the same annotations.
fn as_flags(settings: &Settings, defaults: Defaults) -> Result<Config, String> {
    let (annotations, rest) = split(settings);
    let text = |setting: &setting::Setting, default: &str| {
        annotations.get(setting.annotation).cloned().unwrap_or_else(|| default.to_owned())
    };
    let line = rest.command_line();
    let mut given = Given::from_words(line.args)?;
    for (setting, default) in [
        (&setting::MODE, "REDIRECT"),
        (&setting::INBOUND_PORTS, "*"),
        (&setting::SERVICE_CIDR, "*"),
        (&setting::SERVICE_EXCLUDE_CIDR, ""),
        (&setting::OUTBOUND_PORTS, ""),
        (&setting::EXCLUDE_INTERFACES, ""),
        (&setting::KUBE_VIRT_INTERFACES, ""),
    ] {
        given.set(setting, Value::Text(text(setting, default)));
    }
    let cni = defaults == Defaults::Cni;
    let excluded = text(&setting::INBOUND_EXCLUDE, if cni { "15020" } else { "" });
    let mut ports: Vec<&str> = excluded.split(',').map(str::trim).filter(|port| !port.is_empty()).collect();
    if cni {
        ports.extend(["15020", "15021", "15090"]);
        let mut seen = Vec::new();
        ports.retain(|port| {
            !seen.contains(port) && {
                seen.push(*port);
                true
            }
        });
        let dns = given.get(&setting::REDIRECT_DNS).cloned().unwrap_or(Value::Switch(false));
        given.set_default(&setting::CAPTURE_ALL_DNS, || dns);
    } else {
        let status = (!ports.contains(&"15020")).then_some("15020");
        ports = ["15090", "15021"].into_iter().chain(ports).chain(status).collect();
    }
    given.set(&setting::INBOUND_EXCLUDE, Value::Text(ports.join(",")));
    let outbound = text(&setting::OUTBOUND_PORTS_EXCLUDE, if cni { "15020" } else { "" });
    given.set(&setting::OUTBOUND_PORTS_EXCLUDE, Value::Text(outbound));
    for setting in [&setting::PROXY_UID, &setting::PROXY_GID] {
        given.set_default(setting, || Value::Text("1337".to_owned()));
    }
    let env = if cni { Environment::default() } else { Environment::from_iter(line.env) };
    let resolved = given.resolve(&env, &ThatHost(settings));
    resolved.map(|resolved| resolved.config).map_err(|ConfigFaults(faults)| format!("{faults:?}"))
}

/// Why annotations are stricter than the flags they are handed on as: Istio's webhook and plugin look at all of them.
fn is_stricter(settings: &Settings, defaults: Defaults) -> bool {
    ANNOTATED.iter().any(|(name, _)| {
        let Some(text) = settings.text_of(name) else { return false };
        let whole = text.split(',').all(|item| !item.is_empty() && !item.contains(' '));
        match *name {
            // The empty text is no mode.
            name if *name == name::MODE => text.is_empty(),
            name if *name == name::OUTBOUND_PORTS && defaults == Defaults::Injector => false,
            // Flags of which nobody looks at -d.
            name if *name == name::INBOUND_EXCLUDE && !text.is_empty() => {
                !whole || settings.text_of(&name::INBOUND_PORTS).is_some_and(|ports| ports != "*")
            }
            _ => !text.is_empty() && !whole,
        }
    })
}

#[test]
fn one_setting_said_in_four_ways() {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SIDESTEP_SEED").unwrap_or(SEED);
    let count = number("SIDESTEP_SETTINGS").unwrap_or(SETTINGS);
    let numbers = number("SIDESTEP_SETTING").map_or(0..count, |alone| alone..alone + 1);
    let folder = tempfile::tempdir().expect("a folder");
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = |what| *met.entry(what).or_default() += 1;
    for number in numbers {
        let settings = Settings::draw(seed, number);
        let shown = || format!("SIDESTEP_SEED={seed} SIDESTEP_SETTING={number}: {settings}");
        if settings.odd.is_some_and(|odd| odd.text.is_empty() && odd.name.is_some_and(|name| name.boolean)) {
            // An empty variable is none (templates write VAR=""), an empty flag is no boolean.
            assert!(by_line(&settings.by_variables()).is_ok() && by_line(&settings.by_flags()).is_err());
            continue;
        }
        let flags = by_line(&settings.by_flags());
        count(if flags.is_ok() { "taken" } else { "refused" });
        assert_eq!(by_line(&settings), flags, "as drawn: {}", shown());
        assert_eq!(by_line(&settings.by_variables()), flags, "by variables: {}", shown());
        assert_eq!(by_file(&settings, &folder), flags, "by a file: {}", shown());
        for defaults in [Defaults::Injector, Defaults::Cni] {
            match (by_annotations(&settings, defaults), as_flags(&settings, defaults)) {
                (Ok(annotations), Ok(flags)) => {
                    count("taken as annotations");
                    assert_eq!(annotations, flags, "{defaults:?}: {}", shown());
                    assert_eq!(rules::render(&annotations), rules::render(&flags), "{}", shown());
                }
                (Err(_), Err(_)) => count("refused as annotations"),
                (Err(_), Ok(_)) if is_stricter(&settings, defaults) => count("annotations are stricter"),
                (annotations, flags) => {
                    panic!("{defaults:?}: {}\nannotations {annotations:?}\nflags {flags:?}", shown())
                }
            }
        }
    }
    eprintln!("{met:?}");
    for what in
        ["taken", "refused", "taken as annotations", "refused as annotations", "annotations are stricter"]
    {
        assert!(met.contains_key(what) || number("SIDESTEP_SETTING").is_some(), "{what}: {met:?}");
    }
}

/// Every value that is unusual comes in the first settings.
#[test]
fn every_odd_value_comes() {
    let drawn = |number: u64| Settings::draw(SEED, number).odd.map(|odd| (odd.kind, odd.text));
    let all: Vec<(Kind, &str)> = (0..SETTINGS).filter_map(drawn).collect();
    for odd in &tests::settings::ODD {
        assert!(all.contains(&(odd.kind, odd.text)), "{odd:?}");
    }
}
