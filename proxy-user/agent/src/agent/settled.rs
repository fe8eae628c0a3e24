//! What was told when nothing was left to do. Most looks find that again, and an idle node shall not pay for them.

use std::{collections::BTreeMap, path::PathBuf};

use proxy_plane::dataplane::Stamp;

use crate::pod::{Complete, Network, Pod};

pub(super) struct Settled {
    told: Vec<Pod>,
    complete: Complete,
    places: Places,
}

/// The directories that the pods' network namespaces are in. One that leads to another namespace by now was made anew there;
/// one that was mounted over in its place is found by the look that is closer.
#[derive(PartialEq, Eq)]
pub(super) struct Places(BTreeMap<PathBuf, Option<Stamp>>);

impl Places {
    /// As they are. To be taken before what is in them is looked at.
    pub(super) fn of(pods: &[Pod]) -> Self {
        let mut places = BTreeMap::new();
        for pod in pods {
            if let Network::Own(path) = &pod.network
                && let Some(directory) = path.parent()
                && !places.contains_key(directory)
            {
                places.insert(directory.to_owned(), Stamp::of(directory));
            }
        }
        Self(places)
    }

    fn are_known(&self) -> bool {
        self.0.values().all(Option::is_some)
    }
}

impl Settled {
    pub(super) fn new(told: Vec<Pod>, complete: Complete, places: Places) -> Self {
        Self { told, complete, places }
    }

    /// Whether the same is told, and each pod is where it was. `is_there` says that of all, where their directories do not.
    pub(super) fn is_again(&mut self, told: &[Pod], by: Complete, is_there: impl FnOnce() -> bool) -> bool {
        if self.told != told || self.complete != by {
            return false;
        }
        let places = Places::of(told);
        if places.are_known() && places == self.places {
            return true;
        }
        self.places = places;
        is_there()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        time::{Duration, SystemTime},
    };

    use super::*;

    #[test]
    fn a_pod_is_looked_at_when_its_directory_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web");
        fs::write(&path, "").unwrap();
        let long_ago = || {
            let before = SystemTime::now() - Duration::from_secs(60);
            File::open(directory.path()).unwrap().set_modified(before).unwrap();
        };
        long_ago();
        let told = [Pod::of_machine("shop/web".parse().unwrap(), path.clone(), "/pod".as_ref(), &[])];
        let complete = Complete { files: true, runtime: true };
        let mut settled = Settled::new(told.to_vec(), complete, Places::of(&told));
        let looks = |settled: &mut Settled| {
            let mut looked = false;
            assert!(settled.is_again(&told, complete, || {
                looked = true;
                true
            }));
            looked
        };
        assert!(!looks(&mut settled), "nothing has changed");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(looks(&mut settled), "it was made anew");
        assert!(looks(&mut settled), "and may be once more in the same moment");
        long_ago();
        assert!(looks(&mut settled), "it was, by then");
        assert!(!looks(&mut settled));
        assert!(!settled.is_again(&[], complete, || true), "something else is told");
        assert!(!settled.is_again(&told, Complete::default(), || true), "by others");
    }
}
