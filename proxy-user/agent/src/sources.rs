//! Who tells which pods there are, and by which values they are decided.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use proxy_core::exit::{Class, Failure};

use crate::{
    cgroup_tree::CgroupTree,
    cri::{Runtime, State},
    pod::{Complete, Pod},
    static_file,
    values::Values,
    values_file,
};

/// Where pods and values come from.
#[derive(Debug)]
pub struct Sources {
    /// None: no container runtime is asked.
    pub runtime: Option<Runtime>,
    /// Files that list workloads.
    pub files: Vec<PathBuf>,
    /// Directories of cgroup2 in which each one is a workload.
    pub cgroups: Vec<PathBuf>,
    /// As the command line has them.
    pub flags: Values,
    /// What it says comes before the flags.
    pub values: Option<PathBuf>,
}

pub(crate) struct Looking {
    pub(crate) runtime: Option<Runtime>,
    files: Vec<PathBuf>,
    trees: Vec<CgroupTree>,
    mount: PathBuf,
    flags: Values,
    file_of_values: Option<PathBuf>,
    values: Values,
}

/// What the sources tell at one moment.
pub(crate) struct Told {
    pub(crate) pods: Vec<Pod>,
    pub(crate) complete: Complete,
    pub(crate) values: Values,
    /// What is wrong, by source.
    pub(crate) wrong: Vec<(&'static str, Option<String>)>,
}

impl Looking {
    /// # Errors
    /// When a file cannot be read: somebody who has just written it wants to know.
    pub(crate) fn begin(sources: Sources, mount: &Path) -> Result<Self> {
        let Sources { runtime, files, cgroups, flags, values: file_of_values } = sources;
        let trees = cgroups.into_iter().map(|path| CgroupTree::new(mount.join(path))).collect();
        let values = flags.clone();
        let mut looking =
            Self { runtime, files, trees, mount: mount.to_owned(), flags, file_of_values, values };
        let read = looking.values_now().and_then(|values| {
            looking.values = values;
            looking.machines_own()
        });
        match read {
            Ok(_) => Ok(looking),
            Err(error) => {
                let class = match Class::of(&error) {
                    Class::Other => Class::Usage,
                    known => known,
                };
                Err(Failure::error(class, format!("{error:#}")))
            }
        }
    }

    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    pub(crate) async fn look(&mut self) -> Told {
        let wrong_values = match self.values_now() {
            Ok(values) => {
                self.values = values;
                None
            }
            Err(error) => Some(format!("{error:#}")),
        };
        let (mut pods, mut complete) = (Vec::new(), Complete::default());
        let mut away = None;
        if let Some(runtime) = &mut self.runtime {
            match runtime.pods().await {
                Ok(seen) => {
                    let ready = seen.sandboxes.into_iter().filter(|sandbox| sandbox.state == State::Ready);
                    pods.extend(ready.map(|sandbox| sandbox.pod));
                    // Of a sandbox that is not understood nothing is known, not even that it is gone.
                    complete.runtime = seen.unclear.is_empty();
                    away = seen.unclear.split_first().map(|(one, more)| {
                        format!("sandbox of {}: {} (and {} more)", one.name, one.reason, more.len())
                    });
                }
                Err(error) => away = Some(error.to_string()),
            }
        }
        let wrong_list = match self.machines_own() {
            Ok((own, faults)) => {
                pods.extend(own);
                complete.files = faults.is_empty();
                faults.first().map(|fault| format!("{fault:#}"))
            }
            Err(error) => Some(format!("{error:#}")),
        };
        let wrong =
            vec![("container runtime", away), ("list of workloads", wrong_list), ("--values", wrong_values)];
        Told { pods, complete, values: self.values.clone(), wrong }
    }

    fn values_now(&self) -> Result<Values> {
        match &self.file_of_values {
            Some(path) => values_file::read(path, &self.flags),
            None => Ok(self.flags.clone()),
        }
    }

    /// The workloads that no runtime lists, and why some are left out.
    fn machines_own(&mut self) -> Result<(Vec<Pod>, Vec<anyhow::Error>)> {
        let (mut pods, mut faults) = (Vec::new(), Vec::new());
        for path in &self.files {
            pods.extend(static_file::read(path, &self.mount, &self.values)?);
        }
        for tree in &mut self.trees {
            let (children, wrong) = tree.look()?;
            pods.extend(children.into_iter().map(|child| {
                Pod::of_machine(child.name, child.netns, &child.cgroup, &self.values.waits_for)
            }));
            faults.extend(wrong);
        }
        let mut names = BTreeSet::new();
        for pod in &pods {
            ensure!(names.insert(&pod.sandbox), "{} is there twice: in two files or cgroups", pod.name);
        }
        Ok((pods, faults))
    }
}
