//! Why a component cannot be used, in words for the one who must act.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::fault::Fault;
use super::manifest::SettingsProblem;
use super::{Kind, v0_1};
use crate::message::Reason;

/// Why a component cannot be loaded or made ready.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The sandbox itself cannot be set up.
    #[error("the sandbox cannot be set up: {0}")]
    Engine(String),
    /// The file cannot be read: missing, no permission, or the system's reason.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        cause: io::Error,
    },
    /// The path is a folder, a pipe, a device.
    #[error("{path} is {what}, not a file", path = path.display())]
    NoFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// There are no bytes, as in a file that is being written.
    #[error("the file is empty")]
    Empty,
    /// No component is this large.
    #[error("the file has {bytes} bytes, and {max} is the most")]
    TooLarge {
        /// How many bytes it has.
        bytes: u64,
        /// How many are allowed.
        max: u64,
    },
    /// Something else than WebAssembly.
    #[error("this is no WebAssembly: {hint}")]
    NotWasm {
        /// What it seems to be.
        hint: &'static str,
    },
    /// A core module.
    #[error(
        "this is a core module, and a component is needed: build it with the linker `wasm-component-ld`, or make one of it with `wasm-tools component new`"
    )]
    CoreModule,
    /// A component that does not validate, or uses what this host does not support.
    #[error("the component is invalid, or uses what this host does not support: {0}")]
    Invalid(String),
    /// It exports none of the three kinds.
    #[error("the component is no step: it exports {}, and one of `validation`, `transformation`, `sealing` of `tidegate:plugin` is needed", list(.exports))]
    NoKind {
        /// What it exports.
        exports: Vec<String>,
    },
    /// It exports several kinds.
    #[error("the component is {} at once, and a step is one of them", list(.0))]
    SeveralKinds(Vec<String>),
    /// It was built for another line of the interface.
    #[error("the component needs line {needed} of `tidegate:plugin`, this host offers {}", v0_1::LINE)]
    Line {
        /// The line that it was built for.
        needed: String,
    },
    /// An export is missing.
    #[error("the component exports no {}, which every {kind} needs", list(.missing))]
    MissingExports {
        /// Its kind.
        kind: Kind,
        /// What is missing, as `interface.function`.
        missing: Vec<String>,
    },
    /// An export has another type than the interface gives it.
    #[error("an export has another type than line {} of `tidegate:plugin` gives it: {problem}", v0_1::LINE)]
    ExportType {
        /// Which, and how they differ.
        problem: String,
    },
    /// It imports what this host does not offer to its kind.
    #[error("the component needs {}, this host offers {} to a {kind}", list(.needed), list(.offered))]
    UnknownImports {
        /// Its kind.
        kind: Kind,
        /// What it needs in vain.
        needed: Vec<String>,
        /// What there is.
        offered: Vec<String>,
    },
    /// An import has another type than this host gives it.
    #[error("an import has another type than this host gives it: {0}")]
    ImportType(String),
    /// It imports what is offered, and pipeline.toml does not grant.
    #[error("the component needs {}: add `grant = [{}]` to [steps.{step}]", list(.needed), quoted(.needed))]
    NotGranted {
        /// The step.
        step: Arc<str>,
        /// What to grant.
        needed: Vec<String>,
    },
    /// A limit lies outside what the host can do.
    #[error("`{setting}` of [steps.{step}] is {value}, and {max} is the most")]
    Limit {
        /// The step.
        step: Arc<str>,
        /// The setting.
        setting: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        max: u64,
    },
    /// It broke off while it started.
    #[error("the component does not start: {0}")]
    Start(Fault),
    /// It broke off while it described itself.
    #[error("the component does not say what it is: {0}")]
    Describe(Fault),
    /// What it says of itself breaks the rules.
    #[error("the component says nonsense of itself: {0}")]
    Manifest(String),
    /// Settings do not fit its schema.
    #[error("the settings do not fit the component: {}", settings(.0))]
    Settings(Vec<SettingsProblem>),
    /// It refuses its settings.
    #[error("the component refuses its settings: {} ({})", .0.message, .0.code)]
    Configure(Reason),
    /// It broke off while it took its settings.
    #[error("the component fails at its settings: {0}")]
    ConfigureFault(Fault),
    /// A cipher gives parameters that no cipher can have.
    #[error("the cipher cannot be called: {0}")]
    Parameters(String),
}

impl LoadError {
    /// A stable name, for `check --json` and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine(_) => "plugin_engine",
            Self::Unreadable { cause, .. } if cause.kind() == io::ErrorKind::NotFound => "plugin_missing",
            Self::Unreadable { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => "plugin_no_permission",
            Self::Unreadable { .. } => "plugin_unreadable",
            Self::NoFile { .. } => "plugin_no_file",
            Self::Empty => "plugin_empty",
            Self::TooLarge { .. } => "plugin_too_large",
            Self::NotWasm { .. } => "plugin_not_wasm",
            Self::CoreModule => "plugin_core_module",
            Self::Invalid(_) => "plugin_invalid",
            Self::NoKind { .. } => "plugin_no_kind",
            Self::SeveralKinds(_) => "plugin_several_kinds",
            Self::Line { .. } => "plugin_line",
            Self::MissingExports { .. } => "plugin_missing_export",
            Self::ExportType { .. } => "plugin_export_type",
            Self::UnknownImports { .. } => "plugin_unknown_import",
            Self::ImportType(_) => "plugin_import_type",
            Self::NotGranted { .. } => "plugin_not_granted",
            Self::Limit { .. } => "plugin_limit",
            Self::Start(_) => "plugin_start",
            Self::Describe(_) => "plugin_describe",
            Self::Manifest(_) => "plugin_manifest",
            Self::Settings(_) => "plugin_settings",
            Self::Configure(_) => "plugin_configure",
            Self::ConfigureFault(_) => "plugin_configure_fault",
            Self::Parameters(_) => "plugin_parameters",
        }
    }
}

/// Names in words: `a`, `b` and `c`; `nothing` where there are none.
fn list(names: &[String]) -> String {
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => format!("`{last}`"),
        Some((last, others)) => format!("`{}` and `{last}`", others.join("`, `")),
    }
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    quoted.join(", ")
}

fn settings(problems: &[SettingsProblem]) -> String {
    let problems: Vec<_> = problems.iter().map(|problem| format!("`{}`: {}", problem.pointer, problem.message)).collect();
    problems.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_the_remedy() {
        let error = LoadError::NotGranted { step: "stamp".into(), needed: vec!["clock".to_owned(), "random".to_owned()] };
        assert_eq!(
            error.to_string(),
            "the component needs `clock` and `random`: add `grant = [\"clock\", \"random\"]` to [steps.stamp]"
        );
        let error = LoadError::UnknownImports {
            kind: Kind::Cipher,
            needed: vec!["wasi:io/poll@0.2.0".to_owned()],
            offered: vec!["tidegate:plugin/crypto".to_owned()],
        };
        assert_eq!(
            error.to_string(),
            "the component needs `wasi:io/poll@0.2.0`, this host offers `tidegate:plugin/crypto` to a cipher"
        );
        assert_eq!(list(&[]), "nothing");
    }
}
