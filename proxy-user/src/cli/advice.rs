//! What to write in place of a word that clap does not know: flags of older istio-iptables, and values of switches.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags that istio-iptables had once, and what became of them.
const GONE: [(&str, &str); 6] = [
    ("--cleanup", "--cleanup is --cleanup-only now"),
    ("--remove", "to remove what is attached, write --cleanup-only"),
    ("--restore-format", "--restore-format is gone, in Istio as well: leave it out"),
    (
        "--iptables-trace-logging",
        "--iptables-trace-logging is gone, in Istio as well: `sidestep flows` shows connections",
    ),
    ("--iptables-version", "--iptables-version is gone, in Istio as well: no iptables is run, leave it out"),
    ("--output-paths", "--output-paths is gone, in Istio as well: leave it out"),
];

/// More than clap says itself.
pub(super) fn about(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return None };
    let bare = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
    if let Some((_, advice)) = GONE.iter().find(|(gone, _)| *gone == bare) {
        return Some((*advice).to_owned());
    }
    matches!(word.as_str(), "true" | "false")
        .then(|| format!("a switch takes its value with an equals sign: --redirect-dns={word}"))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::cli::{Cli, IstioIptables};

    #[test]
    fn old_flags_are_known_by_name() {
        for (gone, advice) in GONE {
            let error = IstioIptables::try_parse_from(["istio-iptables", gone]).unwrap_err();
            assert_eq!(about(&error).as_deref(), Some(advice));
        }
        let error = Cli::try_parse_from(["sidestep", "rules", "--dual-stack", "false"]).unwrap_err();
        assert!(about(&error).unwrap().contains("--redirect-dns=false"));
        let error = Cli::try_parse_from(["sidestep", "rules", "--nope"]).unwrap_err();
        assert_eq!(about(&error), None);
    }

    /// Commands that our messages, helps and documents name take the flags they are named with.
    #[test]
    fn no_advice_names_a_flag_that_is_refused() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        for folder in ["src", "core/src", "plane/src", "../docs"] {
            collect(&here.join(folder), &mut files);
        }
        files.push(here.join("../README.md"));
        let mut found = 0;
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            // A Rust string goes on in the next line.
            let text = text.split('\\').map(str::trim_start).collect::<Vec<_>>().join("");
            for quoted in text.split('`').filter(|quoted| !quoted.contains('\n')) {
                found += usize::from(check(quoted, &file));
            }
        }
        assert!(found > 15, "only {found} commands found");
    }

    /// Whether it is a command with flags.
    fn check(quoted: &str, file: &Path) -> bool {
        let mut words = quoted.split_whitespace().peekable();
        let mut command = match words.next() {
            Some("istio-iptables") => IstioIptables::command(),
            Some("sidestep") => {
                let cli = Cli::command();
                let Some(verb) = words.next().and_then(|verb| cli.find_subcommand(verb)) else {
                    return false;
                };
                verb.clone()
            }
            _ => return false,
        };
        // `cluster status` and the like.
        while let Some(verb) = words.peek().and_then(|verb| command.find_subcommand(verb)) {
            command = verb.clone();
            words.next();
        }
        let mut flags = words.filter_map(|word| word.strip_prefix("--")).peekable();
        let is_one = flags.peek().is_some();
        for flag in flags {
            let flag: String = flag.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            let known = command.get_arguments().any(|arg| arg.get_long() == Some(flag.as_str()));
            assert!(known || flag == "help" || flag == "version", "{}: `{quoted}`: --{flag}", file.display());
        }
        is_one
    }

    fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|ending| ending == "rs" || ending == "md") {
                files.push(path);
            }
        }
    }
}
