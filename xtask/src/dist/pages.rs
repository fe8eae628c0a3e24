//! What an archive has beside the programs: completions and manual pages, which the program itself writes, and documents.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::tree::Tree;
use crate::{step, workspace::Workspace};

/// By shell, where they go below the archive's directory.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "completions/sidestep.bash"),
    ("zsh", "completions/_sidestep"),
    ("fish", "completions/sidestep.fish"),
];
/// Of the repository.
const DOCUMENTS: [&str; 5] =
    ["README.md", "CHANGELOG.md", "LICENSE", "LICENSES/README.md", "LICENSES/GPL-2.0-only.txt"];

/// Adds them below `top`. `program` runs here; what it writes is the same for every architecture.
pub(crate) fn add(tree: &mut Tree, top: &str, program: &Path, workspace: &Workspace) -> Result<()> {
    for (shell, path) in COMPLETIONS {
        let said = step::ask(program, &["completions", shell]);
        let said = said.with_context(|| format!("{} completions {shell} failed", program.display()))?;
        tree.text(&format!("{top}/{path}"), said + "\n");
    }
    let pages = workspace.target_for("man");
    fs::create_dir_all(&pages).with_context(|| format!("create {}", pages.display()))?;
    let said = step::ask(program, &["man", "--directory", &pages.display().to_string()]);
    let said = said.with_context(|| format!("{} man --directory failed", program.display()))?;
    // A page for each line; the directory may have those of another version.
    ensure!(said.lines().count() > 1, "{} man --directory has written no pages", program.display());
    for page in said.lines().map(Path::new) {
        let name = page.file_name().context("a page without a name")?.display();
        tree.document(&format!("{top}/man/man1/{name}"), page)?;
    }
    for path in DOCUMENTS {
        tree.document(&format!("{top}/{path}"), &workspace.root.join(path))?;
    }
    Ok(())
}
