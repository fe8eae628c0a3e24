//! A container image as a layout of OCI (image-spec 1.1) in one archive: what `ctr images import`, `skopeo`, `crane` and
//! `podman load` take. The manifest that `docker save` writes is in it as well, for `docker load`.

use std::collections::BTreeMap;

use anyhow::Result;
use flate2::Compression;
use serde_json::{Value, json};

use super::{
    source::Source,
    tree::{Tree, gzip, sum},
};

/// Where the image has its programs. Not `/bin`: containers may have the node's directory of plugins mounted there.
pub(crate) const PROGRAMS: &str = "usr/local/bin";
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) struct Image<'a> {
    /// With registry and tag.
    pub(crate) name: &'a str,
    /// As images name it: `amd64`.
    pub(crate) architecture: &'a str,
    pub(crate) source: &'a Source,
    pub(crate) compression: Compression,
}

/// What it says of itself to whoever asks a registry.
fn labels(source: &Source) -> BTreeMap<&'static str, &str> {
    BTreeMap::from([
        ("org.opencontainers.image.title", "sidestep"),
        ("org.opencontainers.image.description", "eBPF programs in the place of Istio's iptables rules"),
        ("org.opencontainers.image.version", VERSION),
        ("org.opencontainers.image.revision", &source.revision),
        ("org.opencontainers.image.created", &source.date),
        ("org.opencontainers.image.source", env!("CARGO_PKG_REPOSITORY")),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")),
    ])
}

/// Blobs by their sums.
#[derive(Default)]
struct Blobs(Tree);

impl Blobs {
    fn path(digest: &str) -> String {
        format!("blobs/{}", digest.replacen(':', "/", 1))
    }

    /// Keeps it; what a manifest says of it.
    fn put(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let digest = format!("sha256:{}", sum(&content));
        let size = content.len();
        self.0.text(&Self::path(&digest), content);
        json!({ "mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": digest, "size": size })
    }
}

/// The archive of an image with this one layer.
pub(crate) fn layout(image: &Image<'_>, layer: &Tree) -> Result<Vec<u8>> {
    let &Image { name, architecture, source, compression } = image;
    let labels = labels(source);
    let mut blobs = Blobs::default();
    let tar = layer.tar(source.time)?;
    let diff = format!("sha256:{}", sum(&tar));
    let layer = blobs.put("layer.v1.tar+gzip", gzip(&tar, compression)?);
    let config = json!({
        "created": source.date, "architecture": architecture, "os": "linux",
        "config": {
            "Env": [format!("PATH=/{PROGRAMS}")], "Entrypoint": [format!("/{PROGRAMS}/sidestep")],
            "Labels": labels,
        },
        "rootfs": { "type": "layers", "diff_ids": [diff] },
        "history": [{ "created": source.date, "created_by": "cargo xtask" }],
    });
    let config = blobs.put("config.v1+json", config.to_string().into());
    let path = |blob: &Value| blob["digest"].as_str().map(Blobs::path);
    let of_docker = json!([{ "Config": path(&config), "RepoTags": [name], "Layers": [path(&layer)] }]);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layer], "annotations": labels,
    });
    let mut manifest = blobs.put("manifest.v1+json", manifest.to_string().into());
    manifest["platform"] = json!({ "architecture": architecture, "os": "linux" });
    // The first is containerd's, the other one skopeo's.
    manifest["annotations"] = json!({
        "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag(name),
    });
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest],
    });
    let Blobs(mut tree) = blobs;
    tree.text("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }).to_string());
    tree.text("index.json", index.to_string());
    tree.text("manifest.json", of_docker.to_string());
    tree.tar(source.time)
}

/// Behind the last colon, but for a registry's port.
fn tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => "latest",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn source() -> Source {
        let (revision, date) = ("cab62b0f".to_owned(), "1970-01-01T00:00:17Z".to_owned());
        Source { revision, time: 17, date, told: String::new(), is_changed: false }
    }

    fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(path, content);
        }
        files
    }

    #[test]
    fn every_blob_is_the_one_that_is_named() {
        let mut layer = Tree::default();
        layer.text("usr/local/bin/sidestep", "program");
        let (name, compression) = ("registry.example.com:5000/mesh/sidestep:0.1.0", Compression::best());
        let source = source();
        let image = Image { name, architecture: "amd64", source: &source, compression };
        let archive = layout(&image, &layer).unwrap();
        assert_eq!(archive, layout(&image, &layer).unwrap(), "it is the same again");
        let files = unpacked(&archive);
        let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
        let blob = |of: &Value| {
            let digest = of["digest"].as_str().unwrap();
            let content = &files[&Blobs::path(digest)];
            assert_eq!(digest, format!("sha256:{}", sum(content)));
            assert_eq!(of["size"], content.len());
            content.clone()
        };
        let index = json(&files["index.json"]);
        let manifest = &index["manifests"][0];
        assert_eq!(manifest["annotations"]["io.containerd.image.name"], name);
        assert_eq!(manifest["annotations"]["org.opencontainers.image.ref.name"], "0.1.0");
        let manifest = json(&blob(manifest));
        let config = json(&blob(&manifest["config"]));
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&blob(&manifest["layers"][0])[..]).read_to_end(&mut tar).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", sum(&tar))]));
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.revision"], "cab62b0f");
        assert_eq!(unpacked(&tar)["usr/local/bin/sidestep"], b"program");
        let of_docker = json(&files["manifest.json"]);
        assert!(files.contains_key(of_docker[0]["Config"].as_str().unwrap()), "{of_docker}");
        assert!(files.contains_key(of_docker[0]["Layers"][0].as_str().unwrap()), "{of_docker}");
    }

    /// Who builds it of the Containerfile gets the same places.
    #[test]
    fn the_containerfile_says_the_same() {
        let text = include_str!("../../../deploy/Containerfile");
        let steps: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            steps,
            [
                "FROM scratch".to_owned(),
                format!("COPY {} /{PROGRAMS}/", super::super::image::BINARIES.join(" ")),
                format!("ENV PATH=/{PROGRAMS}"),
                format!("ENTRYPOINT [\"/{PROGRAMS}/sidestep\"]"),
            ]
        );
        assert!(text.contains(&format!("sidestep-{VERSION}-linux-amd64.tar.gz")), "the archive it names");
    }

    #[test]
    fn a_tag_is_behind_the_last_colon() {
        for (name, expected) in
            [("a/b:1", "1"), ("host:5000/a", "latest"), ("host:5000/a:2", "2"), ("a", "latest")]
        {
            assert_eq!(tag(name), expected);
        }
    }
}
