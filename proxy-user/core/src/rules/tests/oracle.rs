//! Every rule set of tests/oracle against `render` of its flags.

use tests::oracle;

use crate::{
    config::{Environment, Given, NoHost},
    rules::render,
};

#[test]
fn rule_sets_equal_istios() {
    let cases = oracle::cases().unwrap();
    assert!(!cases.is_empty());
    for (name, case) in cases {
        let given = Given::from_words(case.args).expect(&name);
        let config = given.resolve(&Environment::from_iter(case.env), &NoHost).expect(&name).config;
        assert_eq!(render(&config), normalised(&oracle::rules(&name).unwrap()), "{name}");
    }
}

/// Without the framing lines, `* nat` as `*nat`, and the group names java and ftp as the gids that stand for them in
/// configs.json.
fn normalised(rules: &str) -> String {
    rules
        .lines()
        .filter(|line| !matches!(*line, "iptables-save" | "ip6tables-save"))
        .map(|line| match line.strip_prefix("* ") {
            Some(table) => format!("*{table}\n"),
            None => format!("{line}\n"),
        })
        .collect::<String>()
        .replace("--gid-owner java ", "--gid-owner 203 ")
        .replace("--gid-owner ftp ", "--gid-owner 204 ")
}
