//! Where a verb gets its configuration from: the istio flags, or a pod's annotations.

use std::{collections::BTreeMap, io::Read as _, path::PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use proxy_core::{
    config::{
        Config, Defaults, Environment, Host, Interception, IstioFlags, OptOut, ProxySettings, RunOptions,
        from_annotations, opted_out, parse_annotations,
    },
    exit::{Class, Failure},
};

use super::{Output, acceleration::ANNOTATION};

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SettingsArgs {
    /// Pod annotations in place of the istio options that say the same: a JSON object, or key="value" lines as the
    /// downward API writes them; - reads standard input
    #[arg(long, value_name = "FILE", help_heading = "Pod annotations", conflicts_with_all = SAID_BY_ANNOTATIONS)]
    annotations: Option<PathBuf>,

    /// Whose defaults and checks the annotations get
    #[arg(long, value_enum, default_value_t, requires = "annotations", help_heading = "Pod annotations")]
    defaults: DefaultsOf,

    #[command(flatten)]
    pub(crate) flags: IstioFlags,
}

/// The flags an annotation stands for.
const SAID_BY_ANNOTATIONS: [&str; 9] = [
    "istio_inbound_interception_mode",
    "istio_inbound_ports",
    "istio_local_exclude_ports",
    "istio_exclude_interfaces",
    "istio_service_cidr",
    "istio_service_exclude_cidr",
    "istio_outbound_ports",
    "istio_local_outbound_ports_exclude",
    "kube_virt_interfaces",
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum DefaultsOf {
    /// The sidecar injector with istio-init
    #[default]
    Injector,
    /// The CNI plugin
    Cni,
}

/// What a verb is told.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) run: RunOptions,
    pub(crate) capture: Capture,
    /// The pod's annotation turns the acceleration off.
    pub(crate) opted_out_of_acceleration: bool,
}

#[derive(Debug)]
pub(crate) enum Capture {
    /// Boxed: a configuration is large.
    Of(Box<Config>),
    /// The pod wants nothing captured, for this reason.
    Nothing(&'static str),
}

impl SettingsArgs {
    pub(crate) fn has_annotations(&self) -> bool {
        self.annotations.is_some()
    }

    pub(crate) fn resolve(&self, host: &dyn Host) -> Result<Settings> {
        let env = Environment::of_process();
        let resolved = self.flags.resolve(&env, host).map_err(usage)?;
        let Some(path) = &self.annotations else {
            return Ok(Settings {
                run: resolved.run,
                capture: Capture::Of(Box::new(resolved.config)),
                opted_out_of_acceleration: false,
            });
        };
        let shown = path.display().to_string();
        let annotations = parse_annotations(&shown, &read(path)?).map_err(usage)?;
        Ok(Settings {
            run: resolved.run,
            capture: self.of_annotations(&annotations, host)?,
            opted_out_of_acceleration: opts_out(&annotations)?,
        })
    }

    fn of_annotations(&self, annotations: &BTreeMap<String, String>, host: &dyn Host) -> Result<Capture> {
        let defaults = match self.defaults {
            DefaultsOf::Injector => Defaults::Injector,
            DefaultsOf::Cni => Defaults::Cni,
        };
        // That the injector wrote its status is for an agent to ask; who names a pod's annotations means that pod.
        if opted_out(annotations, &BTreeMap::new(), defaults) == Some(OptOut::InjectFalse) {
            return Ok(Capture::Nothing("sidecar.istio.io/inject is false"));
        }
        let proxy = ProxySettings { env: variables(), flags: self.flags.clone(), ..ProxySettings::default() };
        match from_annotations(annotations, defaults, &proxy, host).map_err(usage)? {
            Interception::Capture(config) => Ok(Capture::Of(config)),
            Interception::None => Ok(Capture::Nothing("sidecar.istio.io/interceptionMode is NONE")),
        }
    }
}

/// `sidestep.io/accelerate`.
fn opts_out(annotations: &BTreeMap<String, String>) -> Result<bool> {
    match annotations.get(ANNOTATION).map(String::as_str) {
        None | Some("true") => Ok(false),
        Some("false") => Ok(true),
        Some(other) => Err(Failure::error(
            Class::Usage,
            format!("invalid value '{other}' for annotation '{ANNOTATION}': use \"true\" or \"false\""),
        )),
    }
}

/// Says that a verb has nothing to do, and why.
pub(crate) fn say_nothing(output: Output, done: &str, reason: &str) {
    match output {
        Output::Table => println!("nothing is {done}: {reason}"),
        Output::Json => {
            println!("{}", serde_json::json!({ "schema": 1, "captured": false, "reason": reason }))
        }
    }
}

fn variables() -> BTreeMap<String, String> {
    let utf8 = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    utf8.collect()
}

fn read(path: &std::path::Path) -> Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read the annotations from standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(|error| {
        Failure::error(
            Class::Usage,
            format!(
                "--annotations {}: cannot be read: {error}; give the path of a readable file, or -",
                path.display()
            ),
        )
    })
}

fn usage(faults: proxy_core::config::ConfigFaults) -> anyhow::Error {
    Failure::error(Class::Usage, faults.to_string())
}
