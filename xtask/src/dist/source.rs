//! What is built, as it is told to others: the commit, its time, and whether anything was changed since.

use anyhow::{Context as _, Result, bail};

use crate::{step, workspace::Workspace};

/// What the build script of `sidestep` takes for the commit.
pub(crate) const GIVEN: &str = "SIDESTEP_COMMIT";

pub(crate) struct Source {
    /// Of the commit, or `-dirty` behind it.
    pub(crate) revision: String,
    /// Of the commit, in seconds since 1970; `SOURCE_DATE_EPOCH` in its place.
    pub(crate) time: u64,
    /// The same, as RFC 3339 has it.
    pub(crate) date: String,
    /// What the program says of itself.
    pub(crate) told: String,
    pub(crate) is_changed: bool,
}

impl Source {
    /// Of the clone, or as the environment says it, where an archive is built.
    pub(crate) fn of(workspace: &Workspace) -> Result<Self> {
        let root = workspace.root.display().to_string();
        let git = |args: &[&str]| step::ask("git", &[&["-C", root.as_str()], args].concat());
        let epoch = std::env::var("SOURCE_DATE_EPOCH").ok();
        let Some(said) = git(&["log", "-1", "--format=%H %h %ct %cs", "--abbrev=12"]) else {
            let told = std::env::var(GIVEN).unwrap_or_else(|_| "commit unknown".to_owned());
            return Self::read("unknown unknown 0 unknown", false, epoch.as_deref())
                .map(|source| Self { told, ..source });
        };
        let changed =
            git(&["status", "--porcelain", "--untracked-files=no"]).context("`git status` failed")?;
        Self::read(&said, !changed.is_empty(), epoch.as_deref())
    }

    fn read(said: &str, is_changed: bool, given: Option<&str>) -> Result<Self> {
        let fields: Vec<&str> = said.split(' ').collect();
        let [revision, short, seconds, day] = fields[..] else {
            bail!("`git log` said {said:?}");
        };
        let time = given.unwrap_or(seconds);
        let time = time.parse().with_context(|| format!("SOURCE_DATE_EPOCH={time}: no number of seconds"))?;
        let (dirty, changes) = if is_changed { ("-dirty", " and changes") } else { ("", "") };
        Ok(Self {
            revision: format!("{revision}{dirty}"),
            time,
            date: rfc3339(time),
            told: format!("{short}{changes}, {day}"),
            is_changed,
        })
    }
}

/// A time in UTC. The days are counted in eras of 400 years that begin in March, so that a leap day ends its year.
fn rfc3339(time: u64) -> String {
    let (days, second) = (time / 86_400 + 719_468, time % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_says_its_time() {
        let said = "cab62b0f cab62b0 1800000000 2027-01-15";
        let source = Source::read(said, false, None).unwrap();
        assert_eq!((source.revision.as_str(), source.told.as_str()), ("cab62b0f", "cab62b0, 2027-01-15"));
        assert_eq!((source.time, source.date.as_str()), (1_800_000_000, "2027-01-15T08:00:00Z"));
        let changed = Source::read(said, true, Some("17")).unwrap();
        assert_eq!(changed.revision, "cab62b0f-dirty");
        assert_eq!((changed.told.as_str(), changed.time), ("cab62b0 and changes, 2027-01-15", 17));
        let Err(error) = Source::read(said, true, Some("today")) else { panic!("it is no time") };
        assert!(error.to_string().contains("SOURCE_DATE_EPOCH=today"), "{error}");
    }

    /// As `date -u -d @TIME +%FT%TZ` prints them.
    #[test]
    fn times_are_those_of_date() {
        for (time, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(time), date);
        }
    }
}
