//! The runtime's networks: where it reads their configuration, and what it has loaded.

use std::path::PathBuf;

use serde::{Deserialize, de::DeserializeOwned};
use tracing::debug;

use super::{connection::shown, v1::StatusResponse};

const LONGEST: usize = 4 << 20;

/// As the runtime itself says it. CRI-O says none of it but whether a network is ready.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkSetup {
    /// Where it looks for plugins, in this order.
    pub plugin_dirs: Vec<PathBuf>,
    /// Where it reads lists of plugins.
    pub list_dir: Option<PathBuf>,
    /// The networks that it has loaded. None: it does not say.
    pub loaded: Option<Vec<Loaded>>,
    /// Why it could not load what lies there now.
    pub load_error: Option<String>,
    /// Its condition `NetworkReady`: pods can be started. Else its reason.
    pub ready: Result<(), String>,
}

/// A network that is loaded, with the types of its plugins in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    pub name: String,
    pub plugins: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    cni: Option<ConfigCni>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConfigCni {
    /// Of containerd up to 2.0.
    bin_dir: Option<PathBuf>,
    bin_dirs: Option<Vec<PathBuf>>,
    conf_dir: Option<PathBuf>,
}

/// containerd/go-cni: ConfigResult.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Cni {
    plugin_dirs: Option<Vec<PathBuf>>,
    plugin_conf_dir: Option<PathBuf>,
    networks: Option<Vec<CniNetwork>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CniNetwork {
    config: Option<CniList>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CniList {
    name: Option<String>,
    plugins: Option<Vec<CniPlugin>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CniPlugin {
    network: Option<CniConf>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CniConf {
    r#type: Option<String>,
}

impl NetworkSetup {
    pub(super) fn of(status: &StatusResponse) -> Self {
        let config: Config = part(status, "config").unwrap_or_default();
        let cni: Option<Cni> = part(status, "cniconfig");
        let told = config.cni.unwrap_or_default();
        let (mut plugin_dirs, mut list_dir) = (told.bin_dirs.unwrap_or_default(), told.conf_dir);
        plugin_dirs.extend(told.bin_dir.filter(|_| plugin_dirs.is_empty()));
        let mut loaded = None;
        if let Some(cni) = cni {
            // These are in use; the configuration may have changed since.
            plugin_dirs = cni.plugin_dirs.filter(|dirs| !dirs.is_empty()).unwrap_or(plugin_dirs);
            list_dir = cni.plugin_conf_dir.or(list_dir);
            loaded = Some(cni.networks.unwrap_or_default().into_iter().filter_map(network).collect());
        }
        plugin_dirs.retain(|dir| dir.is_absolute());
        Self {
            plugin_dirs,
            list_dir: list_dir.filter(|dir| dir.is_absolute()),
            loaded,
            load_error: (status.info.get("lastCNILoadStatus"))
                .filter(|text| !matches!(text.as_str(), "OK" | "\"OK\""))
                .map(|text| shown(text)),
            ready: ready(status),
        }
    }

    /// Whether a network with this plugin is loaded. None: the runtime does not say.
    pub fn has_loaded(&self, plugin: &str) -> Option<bool> {
        let loaded = self.loaded.as_ref()?;
        Some(loaded.iter().any(|network| network.plugins.iter().any(|it| it == plugin)))
    }
}

fn network(network: CniNetwork) -> Option<Loaded> {
    let list = network.config?;
    let plugins = list.plugins.unwrap_or_default().into_iter();
    Some(Loaded {
        name: shown(&list.name?),
        plugins: plugins.filter_map(|plugin| plugin.network?.r#type).map(|it| shown(&it)).collect(),
    })
}

fn ready(status: &StatusResponse) -> Result<(), String> {
    let conditions = status.status.iter().flat_map(|status| &status.conditions);
    match conditions.into_iter().find(|it| it.r#type == "NetworkReady") {
        Some(condition) if condition.status => Ok(()),
        Some(condition) => Err(shown(&format!("{}: {}", condition.reason, condition.message))),
        None => Err("the runtime has no condition NetworkReady".to_owned()),
    }
}

/// A part that cannot be read is one that was not said.
fn part<T: DeserializeOwned>(status: &StatusResponse, name: &str) -> Option<T> {
    let text = status.info.get(name).filter(|text| text.len() <= LONGEST)?;
    let read = serde_json::from_str(text);
    read.inspect_err(|error| debug!("the runtime's status, {name}: {}", shown(&error.to_string()))).ok()
}

#[cfg(test)]
mod tests;
