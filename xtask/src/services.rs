//! Services of packages that were installed for their programs: they are neither started now nor at boot.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::step;

const POLICY: &str = "usr/sbin/policy-rc.d";

/// An installation: what it brings starts nowhere. The tests need the nginx and haproxy binaries, and nobody asked for a
/// web server on port 80 of this machine.
pub(crate) struct Asleep {
    root: PathBuf,
    /// There was no policy before.
    ours: bool,
    before: BTreeSet<Service>,
}

/// Something that starts at boot, by the tool that can take it out.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Service {
    Systemd(String),
    SysV(String),
}

impl Asleep {
    /// From here on nothing starts.
    pub(crate) fn begin() -> Result<Self> {
        Self::under(Path::new("/"))
    }

    fn under(root: &Path) -> Result<Self> {
        let policy = root.join(POLICY);
        let ours = !policy.exists();
        if ours {
            let text = "#!/bin/sh\n# cargo xtask setup: no services during this installation\nexit 101\n";
            fs::write(&policy, text).with_context(|| format!("write {}", policy.display()))?;
            fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("chmod {}", policy.display()))?;
        }
        Ok(Self { root: root.to_owned(), ours, before: at_boot(root) })
    }

    /// Services that would start at boot since then.
    fn added(&self) -> BTreeSet<Service> {
        at_boot(&self.root).difference(&self.before).cloned().collect()
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        let mut names = BTreeSet::new();
        for service in self.added() {
            let (program, args, name) = match &service {
                Service::Systemd(unit) => ("deb-systemd-helper", ["disable", unit.as_str()], unit),
                Service::SysV(script) => ("update-rc.d", [script.as_str(), "disable"], script),
            };
            // deb-systemd-helper does nothing unless it believes that dpkg calls it.
            let run = step::command(program).args(args).env("DPKG_MAINTSCRIPT_PACKAGE", name).output();
            let done = run.is_ok_and(|output| output.status.success());
            if done {
                names.insert(name.trim_end_matches(".service").to_owned());
            } else {
                step::say("Warning", format!("{name} starts at boot: `systemctl disable {name}` ends that"));
            }
        }
        if !names.is_empty() {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            step::say("Disabled", format!("at boot: {names}"));
        }
        if self.ours {
            // Left behind, it would only keep services from starting on later installs; nothing to do about it here.
            let _ = fs::remove_file(self.root.join(POLICY));
        }
    }
}

/// What starts at boot: links in systemd's directories of wanted units, and in those of the run levels.
fn at_boot(root: &Path) -> BTreeSet<Service> {
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let units = root.join("etc/systemd/system");
    let wanted = names(&units)
        .into_iter()
        .filter(|dir| dir.ends_with(".wants") || dir.ends_with(".requires"))
        .flat_map(|dir| names(&units.join(dir)))
        .map(Service::Systemd);
    let started = ["rc2.d", "rc3.d", "rc4.d", "rc5.d"]
        .into_iter()
        .flat_map(|level| names(&root.join("etc").join(level)))
        .filter_map(|link| Some(Service::SysV(link.strip_prefix('S')?.get(2..)?.to_owned())));
    wanted.chain(started).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_installation_adds_is_told() {
        let root = std::env::temp_dir().join(format!("xtask-services-{}", std::process::id()));
        for dir in ["usr/sbin", "etc/systemd/system/multi-user.target.wants", "etc/rc3.d"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let link = |path: &str| fs::write(root.join(path), "").unwrap();
        link("etc/systemd/system/multi-user.target.wants/cron.service");
        link("etc/rc3.d/S01cron");
        let asleep = Asleep::under(&root).unwrap();
        assert!(root.join(POLICY).is_file());
        assert!(asleep.added().is_empty());
        link("etc/systemd/system/multi-user.target.wants/nginx.service");
        link("etc/rc3.d/S01nginx");
        link("etc/rc3.d/K01redis-server");
        let added: Vec<_> = asleep.added().into_iter().collect();
        assert_eq!(added, [Service::Systemd("nginx.service".into()), Service::SysV("nginx".into())]);
        fs::remove_file(root.join("etc/systemd/system/multi-user.target.wants/nginx.service")).unwrap();
        fs::remove_file(root.join("etc/rc3.d/S01nginx")).unwrap();
        drop(asleep);
        assert!(!root.join(POLICY).exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
