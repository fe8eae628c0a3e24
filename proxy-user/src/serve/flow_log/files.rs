//! The files: one that is written, and a bounded number of older ones beside it, FILE.1 the youngest.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    /// Bytes of one file.
    most: u64,
    /// Of them all.
    keep: usize,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    ino: u64,
    size: u64,
    /// A device or a pipe is as it is.
    is_regular: bool,
}

impl Files {
    pub(super) fn new(path: &Path, most: u64, keep: usize) -> Self {
        Self { path: path.to_owned(), most, keep, open: None }
    }

    /// Whole lines, or none of them.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        // Somebody may have moved it away.
        let here = fs::metadata(&self.path).map(|found| found.ino()).ok();
        if self.open.as_ref().is_some_and(|open| here != Some(open.ino)) {
            self.open = None;
        }
        let most = self.most;
        let is_full = |open: &Open| {
            open.is_regular && open.size > 0 && open.size.saturating_add(lines.len() as u64) > most
        };
        if is_full(self.opened()?) {
            self.open = None;
            self.rotate()?;
        }
        let open = self.opened()?;
        match open.file.write_all(lines) {
            Ok(()) => {
                open.size += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A part of a line would spoil the next one.
                let _ = open.file.set_len(open.size);
                self.open = None;
                Err(error)
            }
        }
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                // Addresses and names of programs: root's alone.
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
                let found = file.metadata()?;
                Open { file, ino: found.ino(), size: found.len(), is_regular: found.is_file() }
            }
        };
        Ok(self.open.insert(open))
    }

    /// Each becomes the next older one, and the oldest goes.
    fn rotate(&self) -> io::Result<()> {
        let older = |number: usize| match number {
            0 => self.path.clone(),
            number => {
                let mut name = self.path.clone().into_os_string();
                name.push(format!(".{number}"));
                PathBuf::from(name)
            }
        };
        if self.keep <= 1 {
            return fs::remove_file(&self.path);
        }
        for number in (0..self.keep - 1).rev() {
            match fs::rename(older(number), older(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<(String, String)> {
        let entry = |entry: fs::DirEntry| {
            (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
        };
        let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|found| entry(found.unwrap())).collect();
        all.sort();
        all
    }

    fn written(keep: usize, lines: &[&str]) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::new(&dir.path().join("flows"), 8, keep);
        lines.iter().for_each(|line| files.write(line.as_bytes()).unwrap());
        names(dir.path())
    }

    #[test]
    fn the_oldest_goes_and_no_line_is_cut() {
        let lines = ["one\n", "two\n", "three\n", "four\n", "longer than a file\n", "six\n"];
        let of = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(
            written(3, &lines),
            [of("flows", "six\n"), of("flows.1", "longer than a file\n"), of("flows.2", "four\n")]
        );
        assert_eq!(written(1, &lines), [of("flows", "six\n")]);
        assert_eq!(written(2, &lines[..2]), [of("flows", "one\ntwo\n")]);
    }

    #[test]
    fn one_that_was_moved_away_begins_anew_and_one_that_is_there_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flows");
        fs::write(&path, "old\n").unwrap();
        let mut files = Files::new(&path, 100, 3);
        files.write(b"new\n").unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        files.write(b"newer\n").unwrap();
        let of = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(names(dir.path()), [of("flows", "newer\n"), of("moved", "old\nnew\n")]);
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_later_lines_are_whole() {
        let mut full = Files::new(Path::new("/dev/full"), 100, 3);
        assert_eq!(full.write(b"line\n").unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        let missing = Path::new("/nonexistent/flows");
        assert_eq!(Files::new(missing, 100, 3).write(b"line\n").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
