//! Where things are, and how cargo is run.

use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_harness::failure::While;
use tidegate_harness::programs::say;
use tidegate_harness::{Failure, Result};

use crate::plugins;

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// The folder that cargo builds into.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Builds the components, optimised as users run them, and gives their folder.
pub(crate) fn build_plugins() -> Result<PathBuf> {
    let built = plugins::build(true).map_err(|failure| Failure::new(failure.to_string()))?;
    let folder = built.first().and_then(|first| first.parent());
    folder.map(Path::to_owned).ok_or_else(|| Failure::new("there is no plugin under plugins/"))
}

/// Builds the host and gives the program.
pub(crate) fn build_host() -> Result<PathBuf> {
    cargo(&["build", "--package", "tidegate", "--bin", "tidegate"])?;
    Ok(target().join("debug/tidegate"))
}

/// Takes away what `cargo run` told this program about its package: build scripts watch these variables, and a cargo that inherits them
/// compiles half of the world again, each time that it is called the other way.
pub(crate) fn forget_package(command: &mut Command) {
    let told = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_BIN_NAME";
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(told) {
            command.env_remove(name);
        }
    }
}

/// Runs cargo in the workspace, its output shown.
pub(crate) fn cargo(arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    forget_package(&mut command);
    command.args(arguments);
    run(&mut command)
}

/// Runs a command in the workspace, its output shown.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    say(&format!("$ {shown}"));
    let status = command.current_dir(root()).status().doing(format!("starting `{shown}`"))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{shown}` ended with {status}"))) }
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}
