//! What `docker/` ships: each pipeline.toml checks, and has its plugins and its variables where it runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate_harness::host::run;

use crate::host::{cache, plugins, program};

/// Values for what the files leave to their surroundings.
const VARIABLES: [(&str, &str); 5] = [
    ("AMQP_URL", "amqp://check:check@check/%2f"),
    ("REDIS_URL", "redis://check"),
    ("DATABASE_URL", "postgres://check:check@check/check"),
    ("TIDEGATE_ADMIN_TOKEN", "only-for-the-check"),
    ("MESSAGES_K1", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
];

fn docker() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker")
}

fn read(name: &str) -> String {
    fs::read_to_string(docker().join(name)).unwrap()
}

/// Every pipeline.toml in a folder of `docker/`, and its name there.
fn shipped() -> Vec<(String, String)> {
    let folders = fs::read_dir(docker()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = folders.map(|folder| format!("{folder}/pipeline.toml")).filter(|name| docker().join(name).is_file());
    names.map(|name| (name.clone(), read(&name))).collect()
}

/// What stands between two marks, wherever it does.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> BTreeSet<&'a str> {
    text.split(begin).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0)).collect()
}

/// The paths of a container, as this machine has them.
fn here(text: &str, folder: &Path) -> String {
    let plugins = plugins().display().to_string();
    text.replace("\"/usr/local/lib/tidegate/plugins/", &format!("\"{plugins}/"))
        .replace("\"/plugins/", &format!("\"{plugins}/"))
        .replace("\"/var/lib/tidegate/cache\"", &format!("\"{}\"", cache().display()))
        .replace("\"/var/lib/tidegate/", &format!("\"{}/", folder.display()))
}

#[test]
fn every_pipeline_that_the_containers_come_with_checks_and_is_warned_of_its_open_port_alone() {
    let shipped = shipped();
    let names: BTreeSet<&str> = shipped.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.is_superset(&BTreeSet::from(["pipeline/pipeline.toml", "kubernetes/pipeline.toml"])), "{names:?}");
    for (name, text) in &shipped {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("pipeline.toml"), here(text, folder.path())).unwrap();
        let checked = run(&program(), folder.path(), &["check"], &VARIABLES, b"").unwrap();
        let (out, err) = (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
        assert_eq!(checked.status.code(), Some(0), "{name}:\n{out}{err}");
        assert!(out.contains("well; 2 test(s) passed"), "{name}:\n{out}{err}");
        assert!(err.contains("exposed_listener") && err.contains("pipeline.toml: 1 warning"), "{name}:\n{out}{err}");
    }
}

#[test]
fn every_variable_of_a_shipped_pipeline_is_set_where_it_runs() {
    let (compose, deployment) = (read("compose.yaml"), read("kubernetes/tidegate.yaml"));
    for variable in between(&read("pipeline/pipeline.toml"), "${", "}") {
        assert!(compose.contains(&format!("      {variable}: ")), "compose.yaml does not set {variable}");
    }
    for variable in between(&read("kubernetes/pipeline.toml"), "${", "}") {
        assert!(deployment.contains(&format!("- {{ name: {variable}, ")), "tidegate.yaml does not set {variable}");
    }
}

#[test]
fn every_plugin_of_a_shipped_pipeline_is_part_of_the_image_or_of_the_config_map() {
    let dockerfile = read("Dockerfile");
    let list = dockerfile.split_once("for plugin in ").and_then(|(_, rest)| rest.split_once(';')).map(|(list, _)| list);
    let image: BTreeSet<&str> = list.unwrap().split_whitespace().collect();
    let pipeline = read("pipeline/pipeline.toml");
    let named = between(&pipeline, "\"/usr/local/lib/tidegate/plugins/", ".wasm\"");
    assert!(!named.is_empty() && named.is_subset(&image), "{named:?} of {image:?}");

    let (pipeline, kustomization) = (read("kubernetes/pipeline.toml"), read("kubernetes/kustomization.yaml"));
    let (named, there) = (between(&pipeline, "\"/plugins/", ".wasm\""), between(&kustomization, "- plugins/", ".wasm\n"));
    assert!(!named.is_empty() && named == there, "{named:?}, {there:?}");
    let bytes: u64 = there.iter().map(|name| fs::metadata(plugins().join(name).with_extension("wasm")).unwrap().len()).sum();
    assert!(bytes <= 1 << 20, "{bytes} bytes do not fit into one config map");
}
