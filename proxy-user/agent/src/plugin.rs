//! The CNI plugin of this node: put where the runtime looks, put back when others overwrite it, and seen to be loaded.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use proxy_cni::entry::{Entry, TYPE};

use crate::{
    cri::Runtime,
    install::{Installer, Paths, Placement, State},
};

/// Between two questions to the runtime, once it has loaded the plugin.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// What is to be installed, and where.
#[derive(Clone, Debug)]
pub struct Install {
    /// The plugin's binary, to be copied.
    pub source: PathBuf,
    /// None: as the runtime says.
    pub networks: Option<PathBuf>,
    pub plugins: Option<PathBuf>,
    pub entry: Entry,
}

/// How it is about the plugin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plugin {
    /// None: pods that start go through it.
    pub missing: Option<String>,
    /// How often our entry was put back, by file.
    pub repairs: BTreeMap<PathBuf, u64>,
}

impl Plugin {
    /// Before the first look: nobody knows whether pods that start go through it.
    pub fn unknown() -> Self {
        Self {
            missing: Some("nobody has looked yet whether the runtime has it".to_owned()),
            ..Self::default()
        }
    }
}

pub(crate) struct Keeper {
    install: Install,
    installer: Option<Installer>,
    /// When the runtime said last that it has loaded the plugin.
    loaded: Option<Instant>,
}

impl Keeper {
    pub(crate) fn new(install: Install) -> Self {
        Self { install, installer: None, loaded: None }
    }

    /// The entry says which pods need the agent.
    pub(crate) fn set_waits_for(&mut self, names: &[String]) {
        if self.install.entry.waits_for == names {
            return;
        }
        self.install.entry.waits_for = names.to_vec();
        if let Some(installer) = &mut self.installer {
            installer.set_entry(self.install.entry.clone());
        }
    }

    pub(crate) async fn step(&mut self, runtime: Option<&mut Runtime>) -> Plugin {
        let missing = match self.ensure(runtime).await {
            Ok(()) => None,
            Err(why) => {
                self.loaded = None;
                Some(why)
            }
        };
        let repairs = self.installer.as_ref().map(|installer| installer.repairs().clone());
        Plugin { missing, repairs: repairs.unwrap_or_default() }
    }

    async fn ensure(&mut self, mut runtime: Option<&mut Runtime>) -> Result<(), String> {
        if self.installer.is_none() {
            let paths = self.paths(runtime.as_deref_mut()).await?;
            let about = runtime.as_ref().and_then(|runtime| runtime.about());
            let placement =
                about.map_or(Placement::InList, |about| Placement::of(&about.name, &about.version));
            self.installer = Some(Installer::new(paths, self.install.entry.clone(), placement));
        }
        let Some(installer) = &mut self.installer else { return Ok(()) };
        match installer.step(Instant::now()) {
            Ok(State::Installed { .. }) => {}
            Ok(State::Waiting { why }) => return Err(why),
            Err(error) => return Err(format!("{error:#}")),
        }
        if self.loaded.is_some_and(|when| when.elapsed() < ASK_EVERY) {
            return Ok(());
        }
        let Some(runtime) = runtime else { return Ok(()) };
        let setup = runtime.networks().await.map_err(|away| away.to_string())?;
        match setup.has_loaded(TYPE) {
            // A runtime that does not say has it in its list, as far as anybody can see.
            Some(true) | None => {
                self.loaded = Some(Instant::now());
                Ok(())
            }
            Some(false) => {
                let why = setup.load_error.map(|why| format!(": {why}")).unwrap_or_default();
                Err(format!("the container runtime has not loaded {TYPE}{why}"))
            }
        }
    }

    async fn paths(&self, runtime: Option<&mut Runtime>) -> Result<Paths, String> {
        let Install { source, networks, plugins, .. } = self.install.clone();
        paths(source, networks, plugins, runtime).await
    }
}

/// Where lists and plugins are: as somebody has said it, and the rest as the runtime says it.
pub(crate) async fn paths(
    source: PathBuf,
    networks: Option<PathBuf>,
    plugins: Option<PathBuf>,
    runtime: Option<&mut Runtime>,
) -> Result<Paths, String> {
    const NEXT: &str = "say it with --cni-conf-dir and --cni-bin-dir";
    let (networks, plugins) = match (networks, plugins) {
        (Some(networks), Some(plugins)) => return Ok(Paths { networks, plugins, source }),
        some => some,
    };
    let runtime = runtime.ok_or_else(|| format!("no runtime says where it looks for plugins; {NEXT}"))?;
    let setup = runtime.networks().await.map_err(|away| away.to_string())?;
    match (networks.or(setup.list_dir), plugins.or_else(|| setup.plugin_dirs.first().cloned())) {
        (Some(networks), Some(plugins)) => Ok(Paths { networks, plugins, source }),
        _ => Err(format!("the container runtime does not say where it looks for plugins; {NEXT}")),
    }
}
