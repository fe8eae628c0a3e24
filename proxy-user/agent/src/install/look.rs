//! What is in a runtime's directory of networks, in the order in which the runtime looks at it.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{
    disk::{self, Text},
    list::{self, List},
};

/// Of a list that we have made of somebody's single plugin. `-` sorts before the `.` of his file's ending, so
/// that the runtime finds it first, and his file stays as it is.
const WRAPPED: &str = "-sidestep.conflist";

/// libcni appends `<network>/*.conf` to a list (libcni/conf.go: NetworkPluginConfsFromFiles).
const DROP_IN: &str = "99-sidestep-cni.conf";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    List,
    /// One plugin alone.
    Single,
    /// Made by us of one plugin alone.
    Wrapped,
}

pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    pub(super) content: Content,
}

pub(super) enum Content {
    Read(Text),
    /// Cannot be parsed. Somebody may be in the middle of writing it.
    Unparsable {
        text: Text,
        why: String,
    },
    /// We may not or cannot read it.
    Refused(String),
}

#[derive(Default)]
pub(super) struct Look {
    pub(super) files: Vec<Found>,
    /// Ours, whichever list they belong to.
    pub(super) drop_ins: Vec<(PathBuf, Option<Text>)>,
}

impl Look {
    /// # Errors
    /// When the directory cannot be read. One that is not there is empty.
    pub(super) fn at(directory: &Path) -> Result<Self> {
        let mut look = Self::default();
        for name in disk::names(directory)? {
            let path = directory.join(&name);
            let Ok(there) = fs::symlink_metadata(&path) else { continue };
            if there.is_dir() {
                let drop_in = path.join(DROP_IN);
                if fs::symlink_metadata(&drop_in).is_ok() {
                    let text = disk::read(&drop_in).ok().flatten();
                    look.drop_ins.push((drop_in, text));
                }
                continue;
            }
            let Some(kind) = kind(&name) else { continue };
            let content = match disk::read(&path) {
                Ok(None) => continue,
                Ok(Some(text)) => parsed(kind, text),
                Err(why) => Content::Refused(format!("{why:#}")),
            };
            look.files.push(Found { path, kind, content });
        }
        Ok(look)
    }
}

/// Directories in a directory, in which drop-ins may be.
///
/// # Errors
/// When it cannot be read.
pub(super) fn directories(directory: &Path) -> Result<Vec<PathBuf>> {
    let paths = disk::names(directory)?.into_iter().map(|name| directory.join(name));
    Ok(paths.filter(|path| fs::symlink_metadata(path).is_ok_and(|there| there.is_dir())).collect())
}

fn parsed(kind: Kind, text: Text) -> Content {
    let outcome = match kind {
        Kind::Single => list::check_single(&text.text),
        Kind::List | Kind::Wrapped => List::parse(&text.text).map(drop),
    };
    match outcome {
        Ok(()) => Content::Read(text),
        Err(why) => Content::Unparsable { text, why: format!("{why:#}") },
    }
}

/// Endings as containerd and CRI-O take them (go-cni/opts.go: loadFromConfDir). A name that begins with a dot
/// counts too.
fn kind(name: &OsStr) -> Option<Kind> {
    let name = name.as_bytes();
    if name.ends_with(WRAPPED.as_bytes()) {
        return Some(Kind::Wrapped);
    }
    if name.ends_with(b".conflist") {
        return Some(Kind::List);
    }
    (name.ends_with(b".conf") || name.ends_with(b".json")).then_some(Kind::Single)
}

/// The list that takes the place of a single plugin's file.
pub(super) fn wrapped(single: &Path) -> PathBuf {
    let mut name = single.file_name().unwrap_or_default().as_bytes().to_vec();
    // Both endings have this length.
    name.truncate(name.len().saturating_sub(".conf".len()));
    name.extend(WRAPPED.as_bytes());
    single.with_file_name(OsStr::from_bytes(&name))
}

/// Our file of a network's directory. None: the network's name leads elsewhere.
pub(super) fn drop_in(directory: &Path, network: &str) -> Option<PathBuf> {
    let is_name = !matches!(network, "" | "." | "..") && !network.contains(['/', '\0']);
    is_name.then(|| directory.join(OsString::from(network)).join(DROP_IN))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rstest::rstest;

    use super::*;

    #[test]
    fn files_come_in_the_runtimes_order() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let single = r#"{"type":"a"}"#;
        for name in
            ["10-b.conf", "10-b-sidestep.conflist", "9-c.json", "10-a.conflist", "README", "x.conf.bak"]
        {
            fs::write(at(name), single).unwrap();
        }
        fs::create_dir_all(at("05-net.conf")).unwrap();
        symlink("10-b.conf", at("00.conf")).unwrap();
        fs::create_dir_all(at("net")).unwrap();
        fs::write(at("net").join(DROP_IN), "{}").unwrap();

        let look = Look::at(directory.path()).unwrap();
        let names: Vec<_> =
            look.files.iter().map(|found| found.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["00.conf", "10-a.conflist", "10-b-sidestep.conflist", "10-b.conf", "9-c.json"]);
        assert!(matches!(&look.files[0].content, Content::Refused(why) if why.contains("symbolic link")));
        assert!(matches!(look.files[1].content, Content::Unparsable { .. }));
        assert!(matches!(look.files[3].content, Content::Read(_)));
        assert_eq!(look.drop_ins.len(), 1);
    }

    #[test]
    fn a_directory_that_is_not_there_is_empty() {
        assert!(Look::at(Path::new("/nonexistent/net.d")).unwrap().files.is_empty());
    }

    #[rstest]
    #[case("/d/10-b.conf", "/d/10-b-sidestep.conflist")]
    #[case("/d/10-b.json", "/d/10-b-sidestep.conflist")]
    fn what_wraps_a_file_comes_before_it(#[case] single: &str, #[case] expected: &str) {
        assert_eq!(wrapped(Path::new(single)), Path::new(expected));
        assert!(expected < single);
    }

    #[rstest]
    #[case("k8s", true)]
    #[case("../k8s", false)]
    #[case("..", false)]
    #[case("", false)]
    #[case("a/b", false)]
    fn a_networks_name_may_lead_elsewhere(#[case] network: &str, #[case] is_name: bool) {
        assert_eq!(drop_in(Path::new("/d"), network).is_some(), is_name);
    }
}
