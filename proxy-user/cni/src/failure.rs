//! What the runtime hears when something must not go on: an error object of the CNI specification.

use serde::Serialize;

use crate::harmless::harmless;

/// The numbers that the specification gives to errors (SPEC.md, "Error").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    IncompatibleVersion = 1,
    InvalidEnvironment = 4,
    Io = 5,
    Undecodable = 6,
    InvalidConfiguration = 7,
    TryAgainLater = 11,
    /// Of STATUS alone.
    NotAvailable = 50,
}

/// Kubelet shows `msg` and `details` in the pod's events, and tries again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub code: Code,
    pub msg: String,
    pub details: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    cni_version: &'a str,
    code: u32,
    msg: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    details: String,
}

impl Failure {
    pub fn new(code: Code, msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: details.into() }
    }

    /// The object, for the version that the runtime has asked in.
    pub fn object(&self, cni_version: &str) -> String {
        let shown = Shown {
            cni_version,
            code: self.code as u32,
            msg: harmless(&self.msg),
            details: harmless(&self.details),
        };
        serde_json::to_string(&shown).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_it_reaches_a_terminal() {
        let failure = Failure::new(Code::TryAgainLater, "pod a\u{1b}[2J", "b\u{9b}\nc");
        assert_eq!(
            failure.object("1.0.0"),
            r#"{"cniVersion":"1.0.0","code":11,"msg":"pod a\\u{1b}[2J","details":"b\\u{9b}\\u{a}c"}"#
        );
    }

    #[test]
    fn no_details_is_no_key() {
        let failure = Failure::new(Code::Io, "m", "");
        assert_eq!(failure.object("0.3.1"), r#"{"cniVersion":"0.3.1","code":5,"msg":"m"}"#);
    }
}
