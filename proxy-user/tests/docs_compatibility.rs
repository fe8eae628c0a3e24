//! docs/compatibility.md has the feature table, as the code has it. SIDESTEP_UPDATE_DOCS=1 writes it.

use std::{fs, path::PathBuf};

use proxy_plane::kernel::feature::Feature;

fn table() -> String {
    let head = "| Feature | Since | Needed by | Without it |\n|---|---|---|---|\n".to_owned();
    Feature::ALL.iter().map(|feature| feature.row()).fold(head, |table, row| {
        table + &format!("| `{}` | {} | {} | {} |\n", row.name, row.since, row.needed_by, row.without)
    })
}

#[test]
fn the_page_has_every_feature() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("<!-- features: begin").expect("the begin mark");
    let (mark, rest) = rest.split_once("-->\n").expect("the begin mark's end");
    let (there, after) = rest.split_once("<!-- features: end -->").expect("the end mark");
    let wanted = table();
    if std::env::var_os("SIDESTEP_UPDATE_DOCS").is_some() {
        let page = format!("{before}<!-- features: begin{mark}-->\n{wanted}<!-- features: end -->{after}");
        fs::write(&path, page).unwrap();
        return;
    }
    assert_eq!(
        there, wanted,
        "docs/compatibility.md is behind the code: run this test with SIDESTEP_UPDATE_DOCS=1"
    );
}
