//! docs/cluster-tests.md has every case with its answers, as the tests expect them. SIDESTEP_UPDATE_DOCS=1 writes them.

use std::fmt::Write as _;

use tests::agent;
use tests::cluster::case::{Answer, Case, How};
use tests::cluster::way::Way;

use crate::GROUPS;

const BEGIN: &str = "<!-- cases -->\n";
const END: &str = "<!-- end of cases -->\n";

fn lines(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("`{}`", line.replace('|', "\\|"))).collect::<Vec<_>>().join("<br>")
}

fn row(case: &Case) -> String {
    let asked = match case.how {
        How::Ask(pod, questions) => format!("`{pod}`: {}", lines(questions)),
        How::Do(_) => String::new(),
    };
    let answer = match case.answer {
        Answer::Same(answer) => lines(answer),
        Answer::Differs { why, .. } => {
            let of = |way| lines(case.answer.of(way));
            format!("iptables: {}<br>sidestep: {}<br>**{why}**", of(Way::Iptables), of(Way::Sidestep))
        }
    };
    format!("| {} | {} | {asked} | {answer} |\n", case.name.replace('_', " "), case.what)
}

fn tables() -> String {
    let mut text = String::new();
    for (title, cases) in GROUPS {
        let head = "| Case | What | Asked by, for | Answer |\n|---|---|---|---|\n";
        write!(text, "\n### {title}\n\n{head}").unwrap();
        cases.iter().for_each(|case| text.push_str(&row(case)));
    }
    text + "\n"
}

#[test]
fn has_every_case() {
    let path = agent::repository().join("docs/cluster-tests.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}{}{END}{after}", tables());
    if std::env::var_os("SIDESTEP_UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).unwrap();
        return;
    }
    assert!(
        page == wanted,
        "docs/cluster-tests.md is behind the tests: run this one with SIDESTEP_UPDATE_DOCS=1"
    );
}
