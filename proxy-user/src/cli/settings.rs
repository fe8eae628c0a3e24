//! Where a verb gets its configuration from: the istio flags, or a pod's annotations.

use std::{collections::BTreeMap, io::Read as _, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use proxy_core::{
    config::{
        Capture, Choice as _, ConfigFaults, Defaults, Environment, Fault, Host, OptOut, ProxySettings,
        RunOptions, Value, accelerate_opt_out, from_annotations, opted_out, parse_annotations,
        setting::{ANNOTATIONS, DEFAULTS, OUTBOUND_PORTS_EXCLUDE},
    },
    exit::{Class, Failure},
};

use super::{
    Output, choice,
    istio_args::{IstioArgs, said_by_annotations},
};
use crate::out;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SettingsArgs {
    #[arg(
        long = ANNOTATIONS.flag,
        help = ANNOTATIONS.help(),
        value_name = ANNOTATIONS.value_name,
        help_heading = "Pod annotations",
        conflicts_with_all = said_by_annotations()
    )]
    annotations: Option<PathBuf>,

    #[arg(
        long = DEFAULTS.flag,
        help = DEFAULTS.help(),
        value_parser = choice::parser::<Defaults>(),
        default_value = Defaults::default().word(),
        requires = "annotations",
        help_heading = "Pod annotations"
    )]
    defaults: Defaults,

    #[command(flatten)]
    pub(crate) istio: IstioArgs,
}

/// What a verb is told.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) run: RunOptions,
    pub(crate) capture: Capture,
    /// The pod's annotation turns the acceleration off.
    pub(crate) opted_out_of_acceleration: bool,
}

impl SettingsArgs {
    /// Whether rules are described.
    pub(crate) fn are_given(&self) -> bool {
        !self.istio.0.is_empty() || self.annotations.is_some()
    }

    pub(crate) fn resolve(&self, host: &dyn Host) -> Result<Settings> {
        self.refuse_output()?;
        let env = Environment::of_process();
        let Some(path) = &self.annotations else {
            let resolved = self.istio.0.resolve(&env, host).map_err(usage)?;
            return Ok(Settings {
                run: resolved.run,
                capture: Capture::Of(Box::new(resolved.config)),
                opted_out_of_acceleration: false,
            });
        };
        let shown = path.display().to_string();
        let annotations = parse_annotations(&shown, &read(path)?).map_err(usage)?;
        let run = self.istio.0.run_options(&env);
        let capture = self.of_annotations(&annotations, env, host);
        let opted_out = accelerate_opt_out(&annotations);
        match (run, capture, opted_out) {
            (Ok(run), Ok(capture), Ok(opted_out)) => {
                Ok(Settings { run, capture, opted_out_of_acceleration: opted_out })
            }
            (run, capture, opted_out) => {
                let mut faults: Vec<Fault> = Vec::new();
                for some in [run.err(), capture.err(), opted_out.err()].into_iter().flatten() {
                    // What the injector's istio-init is told counts among both of the first two.
                    faults.extend(
                        some.0.into_iter().filter(|fault| !faults.contains(fault)).collect::<Vec<_>>(),
                    );
                }
                Err(usage(ConfigFaults(faults)))
            }
        }
    }

    /// `-o` is istio-iptables' here, for ports; who writes `-o json` means something else.
    pub(crate) fn refuse_output(&self) -> Result<()> {
        let given = self.istio.0.get(&OUTBOUND_PORTS_EXCLUDE);
        match given {
            Some(Value::Text(text)) if matches!(text.as_str(), "json" | "yaml" | "table") => {
                Err(Failure::error(
                    Class::Usage,
                    format!(
                        "-o {text}: -o is istio-iptables' -o, a list of outbound ports to leave alone; verbs that print for \
                     programs take --output {text}"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    fn of_annotations(
        &self,
        annotations: &BTreeMap<String, String>,
        env: Environment,
        host: &dyn Host,
    ) -> Result<Capture, ConfigFaults> {
        let proxy = ProxySettings { env, given: self.istio.0.clone(), ..ProxySettings::default() };
        // That the injector wrote its status is for an agent to ask; who names a pod's annotations means that pod.
        match opted_out(annotations, &BTreeMap::new(), &proxy, self.defaults) {
            None | Some(OptOut::NotInjected) => {}
            Some(no) => return Ok(Capture::Nothing(no.reason())),
        }
        from_annotations(annotations, self.defaults, &proxy, host)
    }
}

/// Says that a verb has nothing to do, and why.
pub(crate) fn say_nothing(output: Output, done: &str, reason: &str) -> Result<()> {
    match output {
        Output::Table => out::line(format!("nothing is {done}: {reason}")),
        Output::Json | Output::Yaml => output
            .document(&serde_json::json!({ "schema": 1, "captured": false, "reason": reason }))
            .map(drop),
    }
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

fn usage(faults: ConfigFaults) -> anyhow::Error {
    Failure::error(Class::Usage, faults.to_string())
}
