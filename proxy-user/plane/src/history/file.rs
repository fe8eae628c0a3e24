//! The file, and the one before it. An entry is one write at the end of it; the lock keeps others away while it is turned.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::Flock;
use proxy_core::exit::{Class, Failure};

use super::Entry;
use crate::flock;

/// Beside the agent's socket: it goes when the machine starts anew, as workloads do.
const USUAL: &str = "/run/sidestep/history.jsonl";
const VARIABLE: &str = "SIDESTEP_HISTORY";
/// Bytes of one of the two files: some thousand entries.
const MOST: u64 = 1 << 20;
/// Others write one line. Who holds the lock for longer does not keep an attach waiting.
const PATIENCE: Duration = Duration::from_millis(200);

/// Where it is. None: there is to be none.
pub fn path() -> Option<PathBuf> {
    match std::env::var_os(VARIABLE) {
        Some(none) if none == "none" => None,
        Some(path) => Some(PathBuf::from(path)),
        None => Some(PathBuf::from(USUAL)),
    }
}

/// Keeps an entry.
///
/// # Errors
/// Then it is not kept, which is no reason to undo what it tells of.
pub(crate) fn append(entry: &Entry) -> Result<()> {
    let Some(path) = path() else { return Ok(()) };
    append_to(&path, MOST, entry).with_context(|| format!("write to {}", path.display()))
}

fn append_to(path: &Path, most: u64, entry: &Entry) -> Result<()> {
    let mut line = serde_json::to_vec(entry).context("encode the entry")?;
    line.push(b'\n');
    let mut file = opened(path)?;
    if file.metadata()?.len() + line.len() as u64 > most {
        fs::rename(path, older(path)).context("turn it")?;
        file = opened(path)?;
    }
    let was = file.metadata()?.len();
    // One write: a reader that holds no lock sees the whole line or nothing of it.
    let written = (&*file).write(&line)?;
    if written != line.len() {
        let _ = file.set_len(was);
        bail!(io::Error::from(io::ErrorKind::StorageFull));
    }
    Ok(())
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// The file at this path, locked.
fn opened(path: &Path) -> Result<Flock<File>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let lock = flock::exclusive(open(path)?, deadline).context("lock it")?;
        // Somebody may have turned it meanwhile.
        if fs::metadata(path).is_ok_and(|there| there.ino() == lock.metadata().map_or(0, |ours| ours.ino())) {
            return Ok(lock);
        }
        ensure!(Instant::now() < deadline, "it is another file each time");
    }
}

fn open(path: &Path) -> Result<File> {
    let options = || {
        let mut options = OpenOptions::new();
        // Settings of pods: root's alone. Neither a link nor a pipe that somebody has put there.
        options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        options
    };
    let file = match options().open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().context("it has no directory")?;
            DirBuilder::new().mode(0o700).recursive(true).create(directory).context("make its directory")?;
            options().open(path)?
        }
        other => other?,
    };
    ensure!(file.metadata()?.is_file(), "it is no file");
    Ok(file)
}

/// What there is of it, the oldest first.
#[derive(Debug, Default)]
pub struct Read {
    pub entries: Vec<Entry>,
    /// Lines that are no entries of this version.
    pub unreadable: usize,
}

/// Reads both files; none are an empty history.
pub fn read() -> Result<Read> {
    let Some(path) = path() else {
        return Err(Failure::error(
            Class::Usage,
            format!("no history is kept: {VARIABLE} is none here; leave it out, or name the file"),
        ));
    };
    read_from(&path)
}

fn read_from(path: &Path) -> Result<Read> {
    let mut read = Read::default();
    for path in [older(path), path.to_owned()] {
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let text = format!("may not read {} ({error}): run sidestep as root", path.display());
                return Err(Failure::error(Class::Permission, text));
            }
            other => other.with_context(|| format!("read {}", path.display()))?,
        };
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(entry) => read.entries.push(entry),
                Err(_) => read.unreadable += 1,
            }
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{PermissionsExt as _, symlink},
        thread,
    };

    use super::*;
    use crate::history::Action;

    fn entry(number: usize) -> Entry {
        Entry::now(number.to_string(), Some(&"shop/web-0".parse().unwrap()), Action::Attached)
    }

    #[test]
    fn it_is_bounded_and_the_youngest_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/history.jsonl");
        let most = 2000;
        (0..100).for_each(|number| append_to(&path, most, &entry(number)).unwrap());
        let read = read_from(&path).unwrap();
        let numbers: Vec<usize> = read.entries.iter().map(|entry| entry.workload.parse().unwrap()).collect();
        let first = numbers[0];
        assert_eq!(numbers, (first..100).collect::<Vec<_>>());
        let sizes: u64 =
            [older(&path), path.clone()].iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert!(numbers.len() >= 4 && sizes <= 2 * most, "{numbers:?} {sizes}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
        assert!(read.entries[0].is_of("shop/web-0") && !read.entries[0].is_of("web-0"));
    }

    #[test]
    fn many_write_at_once_and_no_line_is_cut_or_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        // It is turned once, somewhere in between.
        let most = 400 * 200;
        thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    (0..75).for_each(|n| append_to(path, most, &entry(writer * 75 + n)).unwrap())
                });
            }
        });
        let read = read_from(&path).unwrap();
        let mut numbers: Vec<usize> =
            read.entries.iter().map(|entry| entry.workload.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!((numbers, read.unreadable), ((0..300).collect::<Vec<_>>(), 0));
    }

    #[test]
    fn what_is_no_file_is_an_error_and_nobody_waits() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        symlink(at("elsewhere"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("directory")).unwrap();
        for name in ["link", "pipe", "file/below", "directory"] {
            assert!(append_to(&at(name), MOST, &entry(0)).is_err(), "{name}");
        }
        assert!(!at("elsewhere").exists());
        let held = opened(&at("held")).unwrap();
        let began = Instant::now();
        assert!(append_to(&at("held"), MOST, &entry(0)).is_err());
        assert!(began.elapsed() < PATIENCE * 10);
        drop(held);
        append_to(&at("held"), MOST, &entry(0)).unwrap();
        assert!(append_to(Path::new("/dev/full"), MOST, &entry(0)).is_err());
    }

    #[test]
    fn lines_of_other_versions_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        assert!(read_from(&path).unwrap().entries.is_empty());
        fs::write(&path, "{\"schema\":9}\nnonsense\n").unwrap();
        append_to(&path, MOST, &entry(7)).unwrap();
        let read = read_from(&path).unwrap();
        assert_eq!((read.entries, read.unreadable), (vec![read_from(&path).unwrap().entries[0].clone()], 2));
    }
}
