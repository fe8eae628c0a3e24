//! The files of code a process runs, as its own mappings name them: what stands at their paths may be anything by now, put
//! there by whoever is in the container. Nothing is opened but regular files, and little is read of a process that maps
//! very many.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

/// More of a process's mappings is not read: a few thousand files.
const MAX_MAPS: u64 = 4 << 20;
/// Larger files are not looked into.
const MAX_FILE: u64 = 256 << 20;
/// Between two looks at the clock.
const PIECE: u64 = 4 << 20;

/// A file by device and number, and the bytes in it by the time of its inode's last change.
pub(super) type Identity = (u64, u64, (i64, i64));

/// The program of a process, and the libraries it has mapped, each once.
pub(super) fn files_of(pid: i32) -> Result<Vec<Code>> {
    let mut maps = String::new();
    let file = File::open(format!("/proc/{pid}/maps")).context("open its mappings")?;
    let read = file.take(MAX_MAPS).read_to_string(&mut maps).context("read its mappings")?;
    ensure!((read as u64) < MAX_MAPS, "it maps too many files");
    let libraries: BTreeMap<_, _> = maps.lines().filter_map(executable_mapping).collect();
    let program = Code { path: PathBuf::from(format!("/proc/{pid}/exe")), is_program: true };
    let of_range = |(first, last): Range| Code {
        path: PathBuf::from(format!("/proc/{pid}/map_files/{first:x}-{last:x}")),
        is_program: false,
    };
    Ok(std::iter::once(program).chain(libraries.into_values().map(of_range)).collect())
}

/// Device and number, as the kernel writes them there.
type Named<'a> = (&'a str, &'a str);
/// First and last address.
type Range = (u64, u64);

/// The file, and where it is mapped; none: no code, or of no file.
fn executable_mapping(line: &str) -> Option<(Named<'_>, Range)> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights, _, device, inode) =
        (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    let (first, last) = range.split_once('-')?;
    let range = (u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(last, 16).ok()?);
    (rights.as_bytes().get(2) == Some(&b'x') && inode != "0").then_some(((device, inode), range))
}

/// One file of code.
pub(super) struct Code {
    /// A link the kernel resolves, whatever the container calls the file.
    path: PathBuf,
    pub(super) is_program: bool,
}

impl Code {
    /// Opens it; without following what it may be besides a file.
    pub(super) fn open(&self) -> Result<(Identity, Readable)> {
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
            .open(&self.path)
            .with_context(|| format!("open {}", self.path.display()))?;
        let meta = file.metadata().context("stat")?;
        ensure!(meta.is_file(), "{} is no regular file", self.path.display());
        let changed = (meta.ctime(), meta.ctime_nsec());
        Ok(((meta.dev(), meta.ino(), changed), Readable { file, size: meta.len() }))
    }
}

/// A regular file.
pub(super) struct Readable {
    /// Opened by its path alone: nothing has been read.
    file: File,
    size: u64,
}

impl Readable {
    /// The whole file; an error if that is too much, or takes too long.
    pub(super) fn read(&self, deadline: Instant) -> Result<Vec<u8>> {
        ensure!(self.size <= MAX_FILE, "it is larger than {} MB", MAX_FILE >> 20);
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let mut file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
            .open(Path::new(&path))
            .context("open it")?;
        let mut data = Vec::with_capacity(usize::try_from(self.size)?);
        loop {
            ensure!(Instant::now() < deadline, "there was no time to read it");
            let read = file.by_ref().take(PIECE).read_to_end(&mut data).context("read it")?;
            // It may grow while it is read.
            ensure!(data.len() as u64 <= MAX_FILE, "it is larger than {} MB", MAX_FILE >> 20);
            if read == 0 {
                return Ok(data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_own_program_is_found_by_its_mappings() {
        let own = i32::try_from(std::process::id()).unwrap();
        let files = files_of(own).unwrap();
        assert!(files[0].is_program && files.len() > 1);
        let (identity, program) = files[0].open().unwrap();
        let meta = fs::metadata(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(identity, (meta.dev(), meta.ino(), (meta.ctime(), meta.ctime_nsec())));
        let data = program.read(Instant::now() + Duration::from_secs(60)).unwrap();
        assert_eq!(data.len() as u64, meta.len());
        assert!(program.read(Instant::now()).unwrap_err().to_string().contains("no time"));
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [path, PathBuf::from("/dev/zero")] {
            let error = Code { path, is_program: false }.open().err().unwrap();
            assert!(error.to_string().contains("no regular file"), "{error:#}");
        }
    }

    #[test]
    fn lines_of_code_are_told_from_others() {
        let code = "55d0c0a00000-55d0c0a21000 r-xp 00002000 fe:00 1234   /usr/lib/a b.so (deleted)";
        assert_eq!(executable_mapping(code), Some((("fe:00", "1234"), (0x55d0_c0a0_0000, 0x55d0_c0a2_1000))));
        for other in [
            "55d0c0a00000-55d0c0a21000 r--p 00002000 fe:00 1234 /usr/lib/a.so",
            "7ffd1b5f2000-7ffd1b5f4000 r-xp 00000000 00:00 0 [vdso]",
            "",
        ] {
            assert_eq!(executable_mapping(other), None, "{other}");
        }
    }
}
