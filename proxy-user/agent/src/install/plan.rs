//! What has to be written and removed so that our entry is once in what the runtime reads, and nowhere else.

use std::path::{Path, PathBuf};

use proxy_cni::entry::{Entry, TYPE};
use proxy_core::harmless::harmless_path;
use serde_json::Value;

use super::{
    Placement,
    disk::{Like, Text},
    list::{self, List},
    look::{self, Content, Found, Kind, Look},
};

/// Only root reads it, as the CIS benchmark has it of files here.
const DROP_IN: Like = Like { mode: 0o600, owner: None };

#[derive(PartialEq, Eq)]
pub(super) struct Plan {
    /// Where our entry is when all is done.
    pub(super) target: PathBuf,
    /// The runtime does not see what changes there by itself.
    pub(super) is_drop_in: bool,
    /// In this order: our entry is there twice before it is nowhere.
    pub(super) changes: Vec<Change>,
}

#[derive(PartialEq, Eq)]
pub(super) enum Change {
    Write { path: PathBuf, was: Option<String>, text: String, like: Like },
    Remove { path: PathBuf },
}

impl Change {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Write { path, .. } | Self::Remove { path } => path,
        }
    }
}

/// # Errors
/// Why there is nothing to do yet. `is_abandoned` says which files nobody is in the middle of writing,
/// although they cannot be parsed: CRI-O passes such a file over.
pub(super) fn install(
    look: &Look,
    directory: &Path,
    placement: Placement,
    entry: &Entry,
    is_abandoned: &dyn Fn(&Path) -> bool,
) -> Result<Plan, String> {
    let (found, text) = used(look, directory, is_abandoned)?;
    let refused =
        |why: anyhow::Error| format!("{} cannot take our entry: {why:#}", harmless_path(&found.path));
    let network = (found.kind == Kind::List && placement == Placement::DropIn)
        .then(|| List::parse(&text.text))
        .transpose()
        .map_err(refused)?
        .filter(List::takes_drop_ins);
    let mut changes = Vec::new();
    let (target, is_drop_in) = if let Some(network) = network {
        network.check_version().map_err(refused)?;
        let Some(target) = look::drop_in(directory, &network.name) else {
            return Err(format!("{} names its network as no directory can be", harmless_path(&found.path)));
        };
        let known = look.drop_ins.iter().find(|(path, _)| *path == target);
        let was = known.and_then(|(_, text)| text.as_ref());
        if !says(was, entry) {
            let text = format!("{}\n", serde_json::to_string(entry).map_err(|why| refused(why.into()))?);
            changes.push(write(&target, was.map(|was| was.text.clone()), text, DROP_IN));
        }
        (target, true)
    } else if found.kind == Kind::Single {
        let target = look::wrapped(&found.path);
        let wanted = list::wrap(&text.text, entry).map_err(refused)?;
        let was = look.files.iter().find(|found| found.path == target).and_then(Found::text);
        if was.is_none_or(|was| was.text != wanted) {
            changes.push(write(&target, was.map(|was| was.text.clone()), wanted, text.like));
        }
        (target, false)
    } else {
        let wanted = list::chain(&text.text, entry).map_err(refused)?;
        if wanted != text.text {
            changes.push(write(&found.path, Some(text.text.clone()), wanted, text.like));
        }
        (found.path.clone(), false)
    };
    changes.extend(elsewhere(look, Some(&target)));
    Ok(Plan { target, is_drop_in, changes })
}

/// # Errors
/// When our entry may be in a file that cannot be parsed.
pub(super) fn take_out(look: &Look) -> Result<Vec<Change>, String> {
    for found in &look.files {
        if let Content::Unparsable { text, why } = &found.content
            && found.kind == Kind::List
            && text.text.contains(TYPE)
        {
            return Err(format!("{} names {TYPE} and cannot be parsed: {why}", harmless_path(&found.path)));
        }
    }
    Ok(elsewhere(look, None))
}

/// Where the drop-ins of the networks here are, or were.
pub(super) fn drop_in_directories(look: &Look, directory: &Path) -> Vec<PathBuf> {
    let lists = look.files.iter().filter(|found| found.kind == Kind::List).filter_map(Found::text);
    let names = lists.filter_map(|text| List::parse(&text.text).ok().map(|list| list.name));
    let drop_ins = names.filter_map(|name| look::drop_in(directory, &name));
    drop_ins.filter_map(|drop_in| drop_in.parent().map(Path::to_owned)).collect()
}

/// Takes our entry out of every file but one.
fn elsewhere(look: &Look, but: Option<&Path>) -> Vec<Change> {
    let others = look.files.iter().filter(|found| Some(found.path.as_path()) != but);
    let files = others.filter_map(|found| match (found.kind, found.text()) {
        (Kind::Wrapped, _) => Some(Change::Remove { path: found.path.clone() }),
        (Kind::List, Some(text)) => {
            let wanted = list::without(&text.text).ok()?;
            (wanted != text.text).then(|| write(&found.path, Some(text.text.clone()), wanted, text.like))
        }
        (Kind::List | Kind::Single, _) => None,
    });
    let drop_ins = look.drop_ins.iter().filter(|(path, _)| Some(path.as_path()) != but);
    files.chain(drop_ins.map(|(path, _)| Change::Remove { path: path.clone() })).collect()
}

/// The file whose network pods get: the first, as containerd has it, and of those that can be parsed, as
/// CRI-O has it.
fn used<'a>(
    look: &'a Look,
    directory: &Path,
    is_abandoned: &dyn Fn(&Path) -> bool,
) -> Result<(&'a Found, &'a Text), String> {
    for found in look.files.iter().filter(|found| found.kind != Kind::Wrapped) {
        match &found.content {
            Content::Read(text) => return Ok((found, text)),
            Content::Refused(why) => return Err(why.clone()),
            Content::Unparsable { .. } if is_abandoned(&found.path) => {}
            Content::Unparsable { why, .. } => {
                return Err(format!(
                    "{} cannot be parsed, and somebody may be writing it: {why}",
                    harmless_path(&found.path)
                ));
            }
        }
    }
    Err(format!("no network is configured in {} yet", harmless_path(directory)))
}

fn says(text: Option<&Text>, entry: &Entry) -> bool {
    let said = text.and_then(|text| serde_json::from_str::<Value>(&text.text).ok());
    said.is_some() && said == serde_json::to_value(entry).ok()
}

fn write(path: &Path, was: Option<String>, text: String, like: Like) -> Change {
    Change::Write { path: path.to_owned(), was, text, like }
}

impl Found {
    fn text(&self) -> Option<&Text> {
        match &self.content {
            Content::Read(text) | Content::Unparsable { text, .. } => Some(text),
            Content::Refused(_) => None,
        }
    }
}
