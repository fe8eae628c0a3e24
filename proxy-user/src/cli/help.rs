//! What the help of a verb shows: the usual options first, and nothing that has no meaning there. Everything is still taken.

use clap::{Arg, Command};
use proxy_core::config::setting::{self, ISTIO, Setting};

/// What nearly every call has; `-h` shows these, `--help` all.
const USUAL: [Setting; 13] = [
    setting::ENVOY_PORT,
    setting::INBOUND_CAPTURE_PORT,
    setting::PROXY_UID,
    setting::PROXY_GID,
    setting::MODE,
    setting::INBOUND_PORTS,
    setting::INBOUND_EXCLUDE,
    setting::SERVICE_CIDR,
    setting::SERVICE_EXCLUDE_CIDR,
    setting::OUTBOUND_PORTS_EXCLUDE,
    setting::REDIRECT_DNS,
    setting::DUAL_STACK,
    setting::DRY_RUN,
];

/// What to do, not what to capture: only of verbs that do something.
const ACTIONS: [Setting; 8] = [
    setting::DRY_RUN,
    setting::CLEANUP_ONLY,
    setting::SKIP_RULE_APPLY,
    setting::RUN_VALIDATION,
    setting::PROBE_PORT,
    setting::PROBE_TIMEOUT,
    setting::NETWORK_NAMESPACE,
    setting::RECONCILE,
];

/// Verbs that only read the settings.
const READERS: [&str; 3] = ["rules", "explain", "audit"];

/// Rare options come after all others of their heading.
const RARE: usize = 1000;

pub(super) fn arrange(command: Command) -> Command {
    let verbs: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    verbs.into_iter().fold(command, |command, name| {
        let reads = READERS.contains(&name.as_str());
        command.mut_subcommand(name, |verb| arrange_verb(verb, reads))
    })
}

/// `reads`: the verb changes nothing.
pub(super) fn arrange_verb(verb: Command, reads: bool) -> Command {
    verb.mut_args(|arg| {
        match ISTIO.iter().find(|setting| !setting.flag.is_empty() && arg.get_id() == setting.flag) {
            Some(setting) => arrange_arg(arg, setting, reads),
            None => arg,
        }
    })
}

fn arrange_arg(arg: Arg, setting: &Setting, reads: bool) -> Arg {
    let is = |one: &Setting| one.flag == setting.flag;
    let without_meaning = setting.hidden || is_no_op(setting) || reads && ACTIONS.iter().any(is);
    if USUAL.iter().any(is) {
        return arg.hide(without_meaning);
    }
    arg.hide(without_meaning).hide_short_help(true).display_order(RARE)
}

fn is_no_op(setting: &Setting) -> bool {
    setting.help().contains("; no-op")
}
