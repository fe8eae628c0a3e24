//! Takes the CNI plugin off the node: its entry, and its binary once the runtime has read that the entry is gone. Pods
//! start and stop at every moment of it, and whoever was interrupted begins again.

use std::{fs, io, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use proxy_cni::entry::{Entry, TYPE, ready_marker};
use proxy_common::names::map;
use proxy_core::{
    exit::{Class, Failure},
    harmless::harmless_path,
};
use proxy_plane::dataplane::{Meta, Node, WorkloadPins, prune};
use tokio::time::{Instant, sleep};

use crate::{
    cri::{NetworkSetup, Runtime},
    install::{Installer, Placement},
    plugin,
    single::Single,
};

/// A runtime sees another list at once, or when somebody touches its directory.
pub const READ_WITHIN: Duration = Duration::from_secs(60);
pub const SET_UP_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is to be taken away, and from where.
#[derive(Debug)]
pub struct Options {
    /// Where the plugin asks; the agent's lock is beside it.
    pub socket: PathBuf,
    /// None: nobody says what is loaded.
    pub runtime: Option<Runtime>,
    /// None: as the runtime says.
    pub networks: Option<PathBuf>,
    pub plugins: Option<PathBuf>,
    /// Pods that run leave the mesh too.
    pub force: bool,
    /// How long the runtime may take to read its lists again.
    pub read_within: Duration,
    /// How long a set-up has to end that had begun with the old list: a runtime does not say which do.
    pub set_up_within: Duration,
}

/// Says each step when it is done.
pub type Say<'a> = &'a mut dyn FnMut(String) -> Result<()>;

/// # Errors
/// When an agent runs, which would put the entry back; when something cannot be read, written or removed; when the
/// runtime goes on with the old list. Whatever was done until then stays done.
pub async fn run(options: Options, say: Say<'_>) -> Result<()> {
    let Options { socket, mut runtime, networks, plugins, force, read_within, set_up_within } = options;
    let directory = socket.parent().unwrap_or(&socket).to_owned();
    // Held to the end: an agent that starts meanwhile would put the entry back.
    let _single = Single::take(&directory).context("uninstall the CNI plugin")?;
    let paths = plugin::paths(PathBuf::from(TYPE), networks, plugins, runtime.as_mut())
        .await
        .map_err(|why| Failure::error(Class::Unavailable, format!("uninstall the CNI plugin: {why}")))?;
    let binary = paths.plugins.join(TYPE);
    let lists = harmless_path(&paths.networks);

    let mut installer = Installer::new(paths, Entry::default(), Placement::InList);
    installer.take_out()?;
    say(format!("no list in {lists} has {TYPE}"))?;
    let reading = wait(runtime.as_mut(), &mut installer, read_within).await?;
    match reading {
        Reading::Gone => say(format!("the container runtime has not loaded {TYPE} any more"))?,
        Reading::NotAsked => say(format!(
            "no container runtime is asked whether it has read that (--runtime none): one that has not starts no \
             pod without {TYPE}"
        ))?,
        Reading::Silent => say("the container runtime does not say what it has loaded".to_owned())?,
        Reading::KeepsLists => {
            say(format!(
                "{} stays: CRI-O calls it when pods end that have started with it. Drain the node, then remove it: \
                 sidestep uninstall --runtime none --cni-conf-dir {lists} --cni-bin-dir {}",
                harmless_path(&binary),
                harmless_path(binary.parent().unwrap_or(&binary)),
            ))?;
            return pods(force, say);
        }
    }
    if reading != Reading::NotAsked {
        say(format!("pods whose set-up has begun with it have {} s to end that", set_up_within.as_secs()))?;
        sleep(set_up_within).await;
    }
    installer.remove_binary()?;
    say(format!("{} is not there any more", harmless_path(&binary)))?;
    let marker = ready_marker(&socket);
    match fs::remove_file(&marker) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", marker.display()));
        }
        _ => {}
    }
    pods(force, say)
}

/// What the runtime has made of the list without our entry.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Reading {
    Gone,
    NotAsked,
    /// It has not said which networks it has loaded.
    Silent,
    /// The same, and it ends a pod by the list that the pod has started with.
    KeepsLists,
}

/// None: it still goes by the old one.
fn reading(runtime: &str, setup: &NetworkSetup) -> Option<Reading> {
    match setup.has_loaded(TYPE) {
        Some(true) => None,
        Some(false) => Some(Reading::Gone),
        // cri-o/ocicni: TearDownPod takes the list out of libcni's cache.
        None if runtime == "cri-o" => Some(Reading::KeepsLists),
        None => Some(Reading::Silent),
    }
}

async fn wait(runtime: Option<&mut Runtime>, installer: &mut Installer, within: Duration) -> Result<Reading> {
    let Some(runtime) = runtime else { return Ok(Reading::NotAsked) };
    let until = Instant::now() + within;
    loop {
        let why = match runtime.networks().await {
            Ok(setup) => {
                let name = runtime.about().map_or("", |about| about.name.as_str());
                if let Some(reading) = reading(name, &setup) {
                    return Ok(reading);
                }
                let why = setup.load_error.map(|why| format!(" ({why})")).unwrap_or_default();
                format!("the container runtime has still loaded {TYPE}{why}")
            }
            Err(away) => away.to_string(),
        };
        if Instant::now() > until {
            return Err(Failure::error(
                Class::Unavailable,
                format!(
                    "{why}: the binary stays, so that pods start and stop; run `sidestep uninstall` again when the \
                     runtime has read its lists"
                ),
            ));
        }
        installer.nudge()?;
        sleep(LOOK_EVERY).await;
    }
}

/// Those that the agent has enrolled, and that run.
fn pods(force: bool, say: Say<'_>) -> Result<()> {
    match prune() {
        Ok(_) => {}
        // Nothing was ever enrolled here.
        Err(error) if Class::of(&error) == Class::Unavailable => return Ok(()),
        Err(error) => return Err(error.context("look for enrolled pods")),
    }
    for pins in WorkloadPins::all()? {
        let Ok(meta) = Meta::read(&pins.map(map::META)) else { continue };
        if meta.sandbox.is_none() {
            continue;
        }
        let name = meta.called(&pins);
        if force {
            Node::open()?.release(&pins).with_context(|| format!("release {name}"))?;
            say(format!("{name} has left the mesh: its new connections pass its sidecar by"))?;
        } else {
            say(format!("{name} stays captured until it ends (--force releases it)"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::cri::Loaded;

    fn loaded(plugins: &[&str]) -> Option<Vec<Loaded>> {
        let plugins = plugins.iter().map(|&plugin| plugin.to_owned()).collect();
        Some(vec![Loaded { name: "k8s".to_owned(), plugins }])
    }

    #[rstest]
    #[case::old_list("containerd", loaded(&["bridge", TYPE]), None)]
    #[case::new_list("containerd", loaded(&["bridge"]), Some(Reading::Gone))]
    #[case::no_list("containerd", Some(vec![]), Some(Reading::Gone))]
    #[case::says_nothing("containerd", None, Some(Reading::Silent))]
    #[case::crio("cri-o", None, Some(Reading::KeepsLists))]
    fn readings(
        #[case] runtime: &str,
        #[case] loaded: Option<Vec<Loaded>>,
        #[case] expected: Option<Reading>,
    ) {
        let setup =
            NetworkSetup { plugin_dirs: Vec::new(), list_dir: None, loaded, load_error: None, ready: Ok(()) };
        assert_eq!(reading(runtime, &setup), expected);
    }
}
