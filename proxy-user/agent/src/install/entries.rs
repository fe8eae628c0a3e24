//! Our entries as they are, for who only looks.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Map, Value};

use super::{
    list,
    look::{Content, Kind, Look},
};

/// Entries of our plugin in a runtime's directory of networks, by file; whose list counts is the runtime's affair. A file
/// that cannot be read has none.
///
/// # Errors
/// When the directory cannot be read. One that is not there is empty.
pub fn entries(directory: &Path) -> Result<Vec<(PathBuf, Map<String, Value>)>> {
    let look = Look::at(directory)?;
    let mut found = Vec::new();
    for file in look.files.iter().filter(|file| file.kind != Kind::Single) {
        let Content::Read(text) = &file.content else { continue };
        found.extend(list::ours(&text.text)?.into_iter().map(|entry| (file.path.clone(), entry)));
    }
    for (path, text) in look.drop_ins {
        let entry = text.and_then(|text| serde_json::from_str(&text.text).ok());
        found.extend(entry.map(|entry| (path, entry)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lists_and_drop_ins_have_them() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("net")).unwrap();
        for (name, text) in [
            ("10-a.conflist", r#"{"name":"a","plugins":[{"type":"bridge"},{"type":"sidestep-cni","x":1}]}"#),
            ("20-b.conflist", r#"{"name":"b","plugins":[{"type":"bridge"}]}"#),
            ("30-c.conf", r#"{"name":"c","type":"sidestep-cni"}"#),
            ("40-d.conflist", "{"),
            ("net/99-sidestep-cni.conf", r#"{"type":"sidestep-cni","x":2}"#),
        ] {
            fs::write(at(name), text).unwrap();
        }
        let found = entries(directory.path()).unwrap();
        let found: Vec<_> = found.iter().map(|(path, entry)| (path.clone(), entry["x"].clone())).collect();
        assert_eq!(found, [(at("10-a.conflist"), 1.into()), (at("net/99-sidestep-cni.conf"), 2.into())]);
    }
}
