//! Files that runtimes read while we write them: each is there as it was, or as it will be.

use std::{
    ffi::OsStr,
    fmt,
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::OFlag;
use proxy_core::harmless::harmless_path;

/// Bytes of a list. A longer one is none.
const LONGEST: u64 = 1 << 20;

/// What files are called that become others by rename. No runtime reads such a name, and one that is found
/// was left behind by an agent that was killed.
const BESIDE: (&str, &str) = (".sidestep-cni-", ".new");

/// What is about to be done to a file. An error in its place is what a test makes of it, as if the agent were
/// killed there.
pub(super) type Before = Box<dyn FnMut(&str, &Path) -> io::Result<()> + Send>;

pub(super) struct Disk {
    before: Before,
}

/// A regular file's text, and who it belongs to.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) like: Like,
}

/// Mode and owner of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Like {
    pub(super) mode: u32,
    /// None: whoever writes it.
    pub(super) owner: Option<(u32, u32)>,
}

impl Like {
    fn of(metadata: &Metadata) -> Self {
        Self { mode: metadata.mode() & 0o7777, owner: Some((metadata.uid(), metadata.gid())) }
    }
}

/// The file is not as it was when we decided what to write.
#[derive(Debug)]
pub(super) struct Meanwhile(PathBuf);

impl fmt::Display for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "somebody has written {} meanwhile", harmless_path(&self.0))
    }
}

impl std::error::Error for Meanwhile {}

/// Text of a file; None where there is none.
///
/// # Errors
/// When it cannot be read, or is a link, which may lead anywhere, or no text.
pub(super) fn read(path: &Path) -> Result<Option<Text>> {
    let shown = || format!("read {}", harmless_path(path));
    let open =
        OpenOptions::new().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path);
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => {
            bail!("{} is a symbolic link: we write no file that another place names", harmless_path(path))
        }
        Err(error) => return Err(error).with_context(shown),
    };
    let metadata = file.metadata().with_context(shown)?;
    ensure!(metadata.is_file(), "{} is no regular file", harmless_path(path));
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).with_context(shown)?;
    ensure!(bytes.len() as u64 <= LONGEST, "{} is longer than {LONGEST} bytes", harmless_path(path));
    let text = String::from_utf8(bytes).with_context(shown)?;
    Ok(Some(Text { text, like: Like::of(&metadata) }))
}

impl Disk {
    pub(super) fn new(before: Before) -> Self {
        Self { before }
    }

    fn before(&mut self, what: &str, path: &Path) -> Result<()> {
        (self.before)(what, path).with_context(|| format!("{what} {}", harmless_path(path)))
    }

    /// One step, with its name in what it fails with.
    fn act<T>(&mut self, what: &str, path: &Path, act: impl FnOnce() -> io::Result<T>) -> Result<T> {
        self.before(what, path)?;
        act().with_context(|| format!("{what} {}", harmless_path(path)))
    }

    /// `text` in the place of `was`.
    ///
    /// # Errors
    /// [`Meanwhile`] when `was` is not what is there any more. Nobody can rule that out between the last look
    /// and the rename: what is lost then, its owner finds missing as we find our entry missing.
    pub(super) fn replace(&mut self, path: &Path, was: Option<&str>, text: &str, like: Like) -> Result<()> {
        let beside = self.write_beside(path, &mut text.as_bytes(), like)?;
        if read(path)?.as_ref().map(|there| there.text.as_str()) != was {
            return Err(Meanwhile(path.to_owned()).into());
        }
        self.take_place(&beside, path)
    }

    /// A copy of `source` in the place of whatever is there. Who runs that goes on running it.
    ///
    /// # Errors
    /// When one of them cannot be read or written.
    pub(super) fn copy(&mut self, source: &Path, path: &Path, like: Like) -> Result<()> {
        let mut from = File::open(source).with_context(|| format!("open {}", harmless_path(source)))?;
        let beside = self.write_beside(path, &mut from, like)?;
        self.take_place(&beside, path)
    }

    fn write_beside(&mut self, path: &Path, from: &mut dyn io::Read, like: Like) -> Result<PathBuf> {
        let beside = beside(path);
        let mut file = self.act("create", &beside, || {
            let flags = OFlag::O_NOFOLLOW.bits();
            OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(&beside)
        })?;
        self.act("write", &beside, || io::copy(from, &mut file))?;
        self.act("give its owner", &beside, || {
            if let Some((uid, gid)) = like.owner {
                fchown(&file, Some(uid), Some(gid))?;
            }
            // After the owner: a change of that takes bits away.
            file.set_permissions(Permissions::from_mode(like.mode))?;
            file.flush()?;
            file.sync_all()
        })?;
        Ok(beside)
    }

    fn take_place(&mut self, beside: &Path, path: &Path) -> Result<()> {
        self.act("rename into its place", path, || fs::rename(beside, path))?;
        self.sync_directory_of(path)
    }

    /// # Errors
    /// When it is there and cannot be removed.
    pub(super) fn remove(&mut self, path: &Path) -> Result<()> {
        self.act("remove", path, || match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        })?;
        self.sync_directory_of(path)
    }

    /// # Errors
    /// When there is something else of that name, a link to a directory too.
    pub(super) fn make_directory(&mut self, path: &Path) -> Result<()> {
        match fs::symlink_metadata(path) {
            Ok(there) if there.is_dir() => return Ok(()),
            Ok(_) => bail!("{} is no directory", harmless_path(path)),
            Err(_) => {}
        }
        self.act("make the directory", path, || fs::DirBuilder::new().mode(0o755).create(path))
    }

    /// What is no directory, or has something in it, is not ours.
    ///
    /// # Errors
    /// When it cannot be removed although it is empty.
    pub(super) fn remove_directory_if_empty(&mut self, path: &Path) -> Result<()> {
        use io::ErrorKind::{DirectoryNotEmpty, NotADirectory, NotFound};
        self.act("remove the directory", path, || match fs::remove_dir(path) {
            Err(error) if matches!(error.kind(), DirectoryNotEmpty | NotADirectory | NotFound) => Ok(()),
            outcome => outcome,
        })
    }

    /// containerd looks at its directory again when a file in it goes, and at no directory below it
    /// (internal/cri/server/cni_conf_syncer.go).
    ///
    /// # Errors
    /// When a file cannot be made there.
    pub(super) fn nudge(&mut self, directory: &Path) -> Result<()> {
        let scratch = beside(&directory.join("nudge"));
        self.act("create", &scratch, || File::create_new(&scratch).map(drop))?;
        self.remove(&scratch)
    }

    /// What an agent that was killed has left.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) fn tidy(&mut self, directory: &Path) -> Result<()> {
        for path in names(directory)?.into_iter().map(|name| directory.join(name)) {
            if is_beside(&path) {
                self.remove(&path)?;
            }
        }
        Ok(())
    }

    fn sync_directory_of(&mut self, path: &Path) -> Result<()> {
        let Some(directory) = path.parent() else { return Ok(()) };
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .with_context(|| format!("sync {}", harmless_path(directory)))
    }
}

/// Names in a directory, in their order; none where there is no such directory.
///
/// # Errors
/// When it cannot be read.
pub(super) fn names(directory: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", harmless_path(directory))),
    };
    let names: io::Result<Vec<_>> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
    let mut names = names.with_context(|| format!("read {}", harmless_path(directory)))?;
    names.sort();
    Ok(names)
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{}{name}{}", BESIDE.0, BESIDE.1))
}

fn is_beside(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.starts_with(BESIDE.0) && name.ends_with(BESIDE.1)
}
