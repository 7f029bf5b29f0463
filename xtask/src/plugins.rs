//! Builds every plugin under `plugins/` into a component, and sees to the toolchain that this takes.

mod component;
mod debian;
mod toolchain;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use toolchain::Toolchain;

use crate::workspace;

/// What plugins are compiled for. It has no imports of its own: what a component asks for is what its plugin calls.
const TARGET: &str = "wasm32-unknown-unknown";

/// Why plugins cannot be built, with what to do about it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// For `map_err`: what was being done, and to which file.
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self(format!("cannot {doing} {}: {error}", path.display()))
    }
}

/// Builds the plugins, optimised if `release`, and gives the components' paths: `<target folder>/plugins/NAME.wasm`, sorted.
///
/// A component whose content did not change is not written again. A written one is put in place by a rename, so that a host that watches
/// it never reads half of it. `CARGO_TARGET_DIR` is respected.
///
/// # Errors
/// When there is no toolchain for wasm32 and none can be had, or a plugin does not compile, or imports what no host offers.
pub(crate) fn build(release: bool) -> Result<Vec<PathBuf>, Failure> {
    let root = workspace_root();
    let target_dir = target_dir(&root);
    let names = plugin_names(&root.join("plugins"))?;
    let toolchain = toolchain::find()?;
    note(&format!("building {} plugins ({})", names.len(), toolchain.compiler.description));
    compile(&root, &target_dir, &toolchain, &names, release)?;
    let profile = if release { "release" } else { "debug" };
    let compiled = target_dir.join(TARGET).join(profile);
    let output = target_dir.join("plugins");
    fs::create_dir_all(&output).map_err(Failure::io("make the folder", &output))?;
    names.iter().map(|name| install(&compiled, &output, name)).collect()
}

/// `cargo run` says where this crate lies; the folder it was compiled in is the same unless the binary was moved.
fn workspace_root() -> PathBuf {
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
    Path::new(&manifest_dir).parent().expect("xtask lies in a folder of the workspace").to_owned()
}

fn target_dir(root: &Path) -> PathBuf {
    let given = env::var_os("CARGO_TARGET_DIR").filter(|given| !given.is_empty());
    // `join` keeps an absolute path as it is.
    root.join(given.unwrap_or_else(|| OsString::from("target")))
}

/// The names of the packages under `plugins/` that are components: those that say `cdylib`, at most two folders deep.
fn plugin_names(plugins: &Path) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for folder in folders(plugins)? {
        names.extend(component_name(&folder)?);
        for inner in folders(&folder)? {
            names.extend(component_name(&inner)?);
        }
    }
    names.sort();
    Ok(names)
}

fn folders(of: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(of).map_err(Failure::io("list", of))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect())
}

fn component_name(folder: &Path) -> Result<Option<String>, Failure> {
    let path = folder.join("Cargo.toml");
    if !path.is_file() {
        return Ok(None);
    }
    let manifest = fs::read_to_string(&path).map_err(Failure::io("read", &path))?;
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    Ok(name.filter(|_| manifest.contains("\"cdylib\"")).map(str::to_owned))
}

fn compile(root: &Path, target_dir: &Path, toolchain: &Toolchain, names: &[String], release: bool) -> Result<(), Failure> {
    let mut cargo = Command::new(cargo());
    cargo.current_dir(root).args(["build", "--target", TARGET]).args(names.iter().flat_map(|name| ["--package", name]));
    if release {
        cargo.arg("--release");
    }
    cargo.env("CARGO_TARGET_DIR", target_dir).env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-component-ld");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rustflags(root)).env_remove("RUSTFLAGS");
    workspace::forget_package(&mut cargo);
    toolchain.apply(&mut cargo)?;
    let status = cargo.stdin(Stdio::null()).status().map_err(|error| Failure::new(format!("cannot start cargo: {error}")))?;
    if status.success() { Ok(()) } else { Err(Failure::new("the plugins do not compile: see cargo's errors above")) }
}

/// The caller's flags, and no folder of this machine in a component: the same source gives the same digest wherever it is built.
fn rustflags(root: &Path) -> OsString {
    let mut flags: Vec<OsString> = match env::var("CARGO_ENCODED_RUSTFLAGS") {
        Ok(encoded) => encoded.split('\u{1f}').map(OsString::from).collect(),
        Err(_) => env::var("RUSTFLAGS").unwrap_or_default().split_whitespace().map(OsString::from).collect(),
    };
    flags.retain(|flag| !flag.is_empty());
    let remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flag
    };
    flags.push(remap(root, "tidegate"));
    flags.extend(cargo_home().map(|home| remap(&home, "cargo")));
    flags.join(std::ffi::OsStr::new("\u{1f}"))
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))
}

fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}

/// Checks a component and puts it in place.
fn install(compiled: &Path, output: &Path, name: &str) -> Result<PathBuf, Failure> {
    let source = compiled.join(format!("{}.wasm", name.replace('-', "_")));
    let bytes = fs::read(&source).map_err(Failure::io("read", &source))?;
    component::check(&bytes).map_err(|problem| Failure::new(format!("{}: {problem}", source.display())))?;
    let path = output.join(format!("{name}.wasm"));
    if fs::read(&path).is_ok_and(|present| present == bytes) {
        return Ok(path);
    }
    let fresh = output.join(format!(".{name}.wasm.{}", std::process::id()));
    fs::write(&fresh, &bytes).map_err(Failure::io("write", &fresh))?;
    fs::rename(&fresh, &path).map_err(Failure::io("put in place", &path))?;
    Ok(path)
}

/// Tells the person who waits.
#[expect(clippy::print_stderr, reason = "progress for a person; stdout stays free for answers")]
fn note(line: &str) {
    eprintln!("plugins: {line}");
}

#[cfg(test)]
mod tests {
    use super::{component_name, plugin_names, workspace_root};

    #[test]
    fn every_plugin_of_the_workspace_is_found_and_no_library() {
        let names = plugin_names(&workspace_root().join("plugins")).unwrap();
        for expected in ["aes-256-cbc", "aes-256-gcm", "reshape", "saboteur-cipher", "template", "validate-message"] {
            assert!(names.iter().any(|name| name == expected), "{expected} is missing in {names:?}");
        }
        assert!(!names.iter().any(|name| name == "tidegate-plugin" || name == "saboteur"), "{names:?}");
    }

    #[test]
    fn a_folder_without_a_manifest_is_no_plugin() {
        assert_eq!(component_name(&workspace_root().join("plugins")).unwrap(), None);
    }
}
