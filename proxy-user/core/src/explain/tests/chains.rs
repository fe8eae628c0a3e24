//! The chain walked, and the rules quoted.

use super::{ask, pod};
use crate::{config::Environment, explain::Answer};

const DEFAULT: [&str; 8] = ["-u", "1337", "-b", "*", "-i", "*", "-d", "15090,15021,15020"];

fn flags(more: &[&str]) -> super::Pod {
    pod(&[&DEFAULT, more].concat(), &["10.0.0.2"], Environment::default())
}

fn rows(answer: &Answer) -> Vec<&str> {
    answer.chain.iter().map(|step| step.row).collect()
}

#[test]
fn rows_that_do_not_exist_are_not_walked() {
    let answer = ask(&flags(&[]), "1000:1000", "10.96.0.1:80");
    assert_eq!(rows(&answer), ["O2", "O3", "O4", "O5", "O6", "O7", "O8", "O12", "O15"]);
    let answer = ask(&flags(&["-o", "25", "-x", "10.1.0.0/16,10.2.0.0/16"]), "1000:1000", "10.96.0.1:80");
    assert_eq!(rows(&answer), ["O1", "O2", "O3", "O4", "O5", "O6", "O7", "O8", "O12", "O13", "O15"]);
    assert_eq!(answer.chain[9].rules, 2);
}

#[test]
fn the_walk_ends_at_the_match() {
    let answer = ask(&flags(&[]), "1337:1337", "10.0.0.2:8080");
    assert_eq!(rows(&answer), ["O2", "O3"]);
    assert!(answer.chain[1].matched && !answer.chain[0].matched);
    let rules: Vec<&str> = answer.rules.iter().map(|rule| rule.rule.as_str()).collect();
    assert!(rules[0].contains("--uid-owner 1337 -j ISTIO_IN_REDIRECT"), "{rules:?}");
    assert_eq!(rules[1..], ["-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006"]);
}

#[test]
fn of_two_owners_the_one_that_matched_is_quoted() {
    let answer = ask(&flags(&["-u", "1337,2000", "-g", "1337"]), "2000:7", "10.96.0.1:80");
    assert_eq!(rows(&answer), ["O2", "O3", "O4", "O5", "O3", "O4", "O5"]);
    assert_eq!(answer.rules[0].rule, "-A ISTIO_OUTPUT -m owner --uid-owner 2000 -j RETURN");
}

#[test]
fn inserted_rules_come_first() {
    let pod = pod(&[&DEFAULT[..], &["-k", "eth0"]].concat(), &[], Environment::default());
    let answer = ask(&pod, "@10.0.0.9", "10.0.0.2:80");
    assert_eq!((answer.row, rows(&answer)), (Some("I1"), vec!["I1"]));
    let answer = ask(&pod, "@10.0.0.9", "udp:10.0.0.2:80");
    assert_eq!(answer.row, Some("I2"));
}

#[test]
fn tproxy_walks_mangle_first_and_after_output() {
    let pod = flags(&["-m", "TPROXY"]);
    assert_eq!(rows(&ask(&pod, "@10.0.0.9", "10.0.0.2:80")), ["T1", "T2", "T3", "T4", "T5", "T6"]);
    let answer = ask(&pod, "0:1337", "10.0.0.2:8080");
    assert_eq!(answer.row, Some("T6"));
    assert_eq!(rows(&answer), ["O2", "O3", "O4", "T1", "T2", "T3", "T4", "T5", "T6"]);
}

#[test]
fn where_no_rule_matches_the_text_says_so() {
    let pod = pod(&["-u", "1337"], &[], Environment::default());
    let answer = ask(&pod, "1000:1000", "10.96.0.1:80");
    assert_eq!(answer.row, Some("O16"));
    assert!(answer.rules.is_empty() && answer.chain.iter().all(|step| !step.matched));
    let text = answer.to_string();
    assert!(
        text.contains("the chains end without a match") && text.contains("-> O16 no rule matched"),
        "{text}"
    );
}

#[test]
fn a_call_the_kernel_refuses_meets_no_rule() {
    let answer = ask(&flags(&[]), "0:0@127.0.0.6", "10.96.0.1:80");
    assert_eq!((answer.row, answer.chain.len()), (None, 0));
    assert!(answer.to_string().contains("refused: an IPv4 loopback source"));
    let answer = ask(&flags(&[]), "@10.0.0.9", "127.0.0.1:80");
    assert!(answer.row.is_none() && answer.to_string().contains("for a loopback address is dropped"));
}

#[test]
fn a_loopback_source_of_ipv6_is_no_reason_to_refuse() {
    let flags = [&DEFAULT[..], &["--dual-stack"]].concat();
    let pod = pod(&flags, &["10.0.0.2", "fd00::2"], Environment::default());
    let answer = ask(&pod, "1000:1000@::1", "[fd00:96::1]:80");
    assert_eq!(answer.row, Some("O15"), "{answer}");
}

#[test]
fn no_ipv6_rules_are_said_to_be_missing() {
    let answer = ask(&flags(&[]), "0:0", "[fd00::1]:80");
    assert_eq!(answer.row, Some("none"));
    assert!(answer.notes[0].contains("--dual-stack"));
}
