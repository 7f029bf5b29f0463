//! The third way, for machines that reach Debian's mirrors and crates.io but not rustup's server: Debian's `rustc-web`, which is as new as a browser
//! needs it, and a standard library for wasm32 that is built once from the sources of `rust-web-src`.
//!
//! The packages are downloaded and unpacked into a cache folder of the user, not installed: that takes no root, and no program of the
//! machine is replaced. rustup's compiler cannot be used with these sources, because they are of another version.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::toolchain::{Compiler, has_std, host, run};
use super::{Failure, TARGET, cargo, note};

/// The compiler, and the sources of its standard library.
const PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// Runs the unpacked compiler with its own libraries. The folder is found from the script's own path, so that it can be moved.
const WRAPPER: &str = r#"#!/bin/sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd) || exit 1
for folder in "$here"/debian/usr/lib/*-linux-gnu*; do
    LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done
export LD_LIBRARY_PATH
exec "$here/debian/usr/bin/rustc" --sysroot "$here/sysroot" "$@"
"#;

/// The compiler, made on first use.
pub(super) fn toolchain() -> Result<Compiler, Failure> {
    let folder = cache_folder()?.join("wasm32-toolchain");
    if !is_whole(&folder) {
        make(&folder)?;
    }
    let description = format!("Debian's compiler in {}", folder.display());
    Ok(Compiler { description, rustc: Some(rustc_of(&folder)) })
}

fn cache_folder() -> Result<PathBuf, Failure> {
    let given = env::var_os("XDG_CACHE_HOME").filter(|given| !given.is_empty()).map(PathBuf::from);
    let cache = given.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    cache
        .map(|cache| cache.join("tidegate"))
        .ok_or_else(|| Failure::new("no folder to keep a toolchain in: neither XDG_CACHE_HOME nor HOME is set"))
}

fn rustc_of(folder: &Path) -> PathBuf {
    folder.join("sysroot/bin/rustc")
}

fn library_of(folder: &Path) -> PathBuf {
    folder.join("sysroot/lib/rustlib").join(TARGET).join("lib")
}

fn is_whole(folder: &Path) -> bool {
    rustc_of(folder).is_file() && has_std(&library_of(folder))
}

/// Makes it beside its place and moves it there when it is whole: neither a cut-off run nor a second one at the same time leaves half of it.
fn make(folder: &Path) -> Result<(), Failure> {
    let draft = folder.with_extension(format!("draft-{}", std::process::id()));
    let made = fill(&draft).and_then(|()| {
        if !is_whole(folder) {
            remove(folder)?;
            fs::rename(&draft, folder).map_err(Failure::io("put in place", folder))?;
        }
        Ok(())
    });
    remove(&draft)?;
    // Another run may have been faster.
    if is_whole(folder) { Ok(()) } else { made }
}

fn fill(draft: &Path) -> Result<(), Failure> {
    remove(draft)?;
    let root = draft.join("debian");
    unpack(&root)?;
    let sysroot = draft.join("sysroot/lib/rustlib");
    let host = host()?;
    for folder in [sysroot.join(&host), draft.join("sysroot/bin"), library_of(draft)] {
        fs::create_dir_all(&folder).map_err(Failure::io("make the folder", &folder))?;
    }
    link(&format!("../../../../debian/usr/lib/rustlib/{host}/lib"), &sysroot.join(&host).join("lib"))?;
    link("../../../debian/usr/lib/rustlib/src", &sysroot.join("src"))?;
    let wrapper = rustc_of(draft);
    fs::write(&wrapper, WRAPPER).map_err(Failure::io("write", &wrapper))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).map_err(Failure::io("make executable", &wrapper))?;
    build_std(draft)?;
    // Most of the space, and not needed again.
    remove(&root.join("usr/src"))
}

/// Downloads the packages and what they need of this machine's Debian, and unpacks them.
fn unpack(root: &Path) -> Result<(), Failure> {
    let packages = packages().map_err(|failure| {
        Failure::new(format!("{failure}. This way needs a Debian (12 with its security updates, or newer) whose package lists are there: `apt-get update`, as root"))
    })?;
    let downloads = root.with_extension("downloads");
    for folder in [root, &downloads] {
        fs::create_dir_all(folder).map_err(Failure::io("make the folder", folder))?;
    }
    note(&format!("downloading {} (about 140 MB)", packages.join(", ")));
    let mut apt = Command::new("apt-get");
    apt.current_dir(&downloads).arg("download").args(&packages);
    run(apt)?;
    for entry in fs::read_dir(&downloads).map_err(Failure::io("list", &downloads))?.flatten() {
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("--extract").arg(entry.path()).arg(root);
        run(dpkg)?;
    }
    remove(&downloads)
}

/// The two packages, the compiler's own library, and whatever else an installation would bring. Asking takes no root.
fn packages() -> Result<Vec<String>, Failure> {
    let mut simulation = Command::new("apt-get");
    simulation.args(["install", "--simulate", "--no-install-recommends"]).args(PACKAGES);
    let mut depends = Command::new("apt-cache");
    depends.args([
        "depends",
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
        "--no-replaces",
        "--no-enhances",
        "rustc-web",
    ]);
    let mut packages: Vec<String> = PACKAGES.map(str::to_owned).into();
    // What is installed already is not simulated; the compiler's library is needed in the folder all the same.
    packages.extend(run(depends)?.lines().filter(|line| line.starts_with("libstd-rust-web")).map(str::to_owned));
    packages.extend(run(simulation)?.lines().filter_map(|line| Some(line.strip_prefix("Inst ")?.split(' ').next()?.to_owned())));
    packages.sort();
    packages.dedup();
    Ok(packages)
}

/// Compiles the standard library as cargo's `-Zbuild-std` does, and keeps its parts where a compiler looks for them.
fn build_std(draft: &Path) -> Result<(), Failure> {
    note("building the standard library for wasm32, once (a minute or two)");
    let crate_dir = draft.join("std");
    let source = crate_dir.join("lib.rs");
    let manifest = crate_dir.join("Cargo.toml");
    fs::create_dir_all(&crate_dir).map_err(Failure::io("make the folder", &crate_dir))?;
    fs::write(&source, "#![no_std]\n").map_err(Failure::io("write", &source))?;
    let text =
        "[package]\nname = \"std-for-wasm32\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[lib]\npath = \"lib.rs\"\n";
    fs::write(&manifest, text).map_err(Failure::io("write", &manifest))?;
    let mut build = Command::new(cargo());
    build.current_dir(&crate_dir).args(["build", "--release", "-Zbuild-std=std,panic_abort", "--target", TARGET]);
    // The bootstrap variable unlocks `-Z` here alone; without bitcode, plugins could not be built with lto.
    build.env("RUSTC", rustc_of(draft)).env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", crate_dir.join("target"));
    let remap = format!("--remap-path-prefix={}=rust", draft.join("sysroot/lib/rustlib/src/rust").display());
    build.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", format!("-Cembed-bitcode=yes\u{1f}{remap}"));
    run(build)?;
    let built = crate_dir.join("target").join(TARGET).join("release/deps");
    for entry in fs::read_dir(&built).map_err(Failure::io("list", &built))?.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let is_std = path.extension().is_some_and(|extension| extension == "rlib")
            && !name.to_string_lossy().starts_with("libstd_for_wasm32");
        if is_std {
            fs::copy(&path, library_of(draft).join(&name)).map_err(Failure::io("copy", &path))?;
        }
    }
    remove(&crate_dir)
}

fn link(to: &str, at: &Path) -> Result<(), Failure> {
    symlink(to, at).map_err(Failure::io("link", at))
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::io("remove", folder)(error)),
        _ => Ok(()),
    }
}
