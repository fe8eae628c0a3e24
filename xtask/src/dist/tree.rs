//! Files of an archive. What the archive is made of says its bytes: no time, owner or order of this machine is in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

const PROGRAM: u32 = 0o755;
const TEXT: u32 = 0o644;

#[derive(Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, File>,
}

struct File {
    mode: u32,
    content: Vec<u8>,
}

impl Tree {
    /// A copy of what is at `from` here.
    pub(crate) fn program(&mut self, path: &str, from: &Path) -> Result<()> {
        self.copy(path, from, PROGRAM)
    }

    pub(crate) fn document(&mut self, path: &str, from: &Path) -> Result<()> {
        self.copy(path, from, TEXT)
    }

    pub(crate) fn text(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.files.insert(path.to_owned(), File { mode: TEXT, content: content.into() });
    }

    fn copy(&mut self, path: &str, from: &Path, mode: u32) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.files.insert(path.to_owned(), File { mode, content });
        Ok(())
    }

    /// As tar has it, each directory before what is in it; everything is root's and of this time (seconds since 1970).
    pub(crate) fn tar(&self, time: u64) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        let mut directories = BTreeSet::new();
        for (path, file) in &self.files {
            for (end, _) in path.match_indices('/') {
                let directory = &path[..=end];
                if directories.insert(directory) {
                    append(&mut archive, EntryType::Directory, directory, PROGRAM, &[], time)?;
                }
            }
            append(&mut archive, EntryType::Regular, path, file.mode, &file.content, time)?;
        }
        archive.into_inner().context("end the archive")
    }
}

fn append(
    archive: &mut Builder<Vec<u8>>,
    kind: EntryType,
    path: &str,
    mode: u32,
    content: &[u8],
    time: u64,
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_path(path).with_context(|| format!("name {path} in an archive"))?;
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time);
    header.set_size(content.len() as u64);
    header.set_cksum();
    archive.append(&header, content).with_context(|| format!("pack {path}"))
}

/// Compressed, without a name and a time.
pub(crate) fn gzip(content: &[u8], level: Compression) -> Result<Vec<u8>> {
    let mut packed = GzBuilder::new().write(Vec::new(), level);
    packed.write_all(content).and_then(|()| packed.finish()).context("compress")
}

/// SHA-256, in hexadecimal.
pub(crate) fn sum(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.text("b/c/second", "2");
        tree.text("b/first", "1");
        tree.text("a", "0");
        tree
    }

    #[test]
    fn nothing_of_this_machine_is_in_an_archive() {
        let bytes = tree().tar(1_700_000_000).unwrap();
        assert_eq!(bytes, tree().tar(1_700_000_000).unwrap());
        let mut seen = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), 1_700_000_000);
            seen.push(format!("{} {:o}", entry.path().unwrap().display(), header.mode().unwrap()));
        }
        assert_eq!(seen, ["a 644", "b/ 755", "b/c/ 755", "b/c/second 644", "b/first 644"]);
        let packed = gzip(&bytes, Compression::best()).unwrap();
        assert_eq!(packed[3..8], [0; 5], "neither name nor time");
        assert_eq!(packed, gzip(&bytes, Compression::best()).unwrap());
    }

    #[test]
    fn sums_are_those_of_sha256sum() {
        assert_eq!(sum(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
