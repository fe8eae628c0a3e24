//! The flags of istio-iptables, as `sidestep attach`, `rules`, `explain`, `audit` and `istio-iptables` take them.
//!
//! clap keeps the texts only: environment, defaults and validation come in `Given::resolve`, so that all faults are
//! reported together. Every flag may be repeated, the last one counts (pflag).

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind, value_parser};
use proxy_core::config::{
    Given, Value,
    setting::{ISTIO, Kind, Setting},
};

/// What was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct IstioArgs(pub(crate) Given);

impl Args for IstioArgs {
    fn augment_args(command: Command) -> Command {
        let command = command.args_override_self(true).next_help_heading("Istio options");
        command.args(flags().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for IstioArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut found = Self::default();
        found.update_from_arg_matches(matches)?;
        Ok(found)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in flags() {
            if let Some(value) = value(setting, matches)? {
                self.0.set(setting, value);
            }
        }
        Ok(())
    }
}

/// The ids of the flags that an annotation stands for.
pub(super) fn said_by_annotations() -> Vec<&'static str> {
    flags().filter(|setting| !setting.annotation.is_empty()).map(|setting| setting.flag).collect()
}

fn flags() -> impl Iterator<Item = &'static Setting> {
    ISTIO.iter().copied().filter(|setting| !setting.flag.is_empty())
}

fn arg(setting: &'static Setting) -> Arg {
    let mut arg = Arg::new(setting.flag).long(setting.flag).value_name(setting.value_name);
    arg = arg.help(setting.help()).hide(setting.hidden);
    if let Some(short) = setting.short {
        arg = arg.short(short);
    }
    match setting.kind {
        Kind::Text | Kind::Value => arg,
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Repeated => arg.action(ArgAction::Append),
        Kind::Files => arg.action(ArgAction::Append).value_parser(value_parser!(PathBuf)),
    }
}

fn value(setting: &Setting, matches: &ArgMatches) -> Result<Option<Value>, clap::Error> {
    let id = setting.flag;
    let broken = |error| clap::Error::raw(ErrorKind::Format, format!("--{id}: {error}"));
    Ok(match setting.kind {
        Kind::Text | Kind::Value | Kind::Switch => {
            matches.try_get_one::<String>(id).map_err(broken)?.map(|text| Value::Text(text.clone()))
        }
        Kind::Repeated => {
            let all = matches.try_get_many::<String>(id).map_err(broken)?;
            all.map(|all| Value::Items(all.cloned().collect()))
        }
        Kind::Files => {
            let all = matches.try_get_many::<PathBuf>(id).map_err(broken)?;
            all.map(|all| Value::Files(all.cloned().collect()))
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        istio: IstioArgs,
    }

    fn check(words: &[&str]) {
        let line = ["sidestep"].iter().chain(words);
        let given = Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{words:?}: {error}")).istio.0;
        assert_eq!(Given::from_words(words), Ok(given), "{words:?}");
    }

    /// Whoever has only the words reads them as the command line does.
    #[test]
    fn clap_reads_what_given_reads() {
        for setting in flags() {
            let long = format!("--{}", setting.flag);
            check(&[&format!("{long}=a"), &format!("{long}=b,c")]);
            if setting.kind != Kind::Files {
                // Of an empty path clap says itself that it is none.
                check(&[&format!("{long}=")]);
            }
            if setting.kind == Kind::Switch {
                check(&[&long]);
                check(&[&long, &format!("{long}=false")]);
            } else {
                check(&[&long, "a", &long, "b"]);
            }
            if let Some(short) = setting.short {
                let short = format!("-{short}");
                check(&[&format!("{short}=*")]);
                if setting.kind != Kind::Switch {
                    check(&[&short, "*"]);
                    check(&[&format!("{short}80")]);
                }
            }
        }
    }
}
