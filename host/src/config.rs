//! Text to plan, with every problem at once.
//!
//! The passes, each with a type of its own: text → [`tree`] (syntax) → [`profile`] (which layers hold) → [`root`] (what each key means; strings are
//! interpolated as they are read) → [`resolve`] (what the parts say of each other) → [`Plan`].

mod cases;
mod catalogue;
mod columns;
mod diff;
mod field;
mod interpolate;
mod json;
mod lock;
mod mask;
mod plan;
mod problem;
mod profile;
mod reader;
mod report;
mod resolve;
mod rings;
mod root;
mod settings;
mod sinks;
mod sources;
mod steps;
mod text;
mod tree;
mod uri;
mod warn;

#[cfg(test)]
mod broken_tests;
#[cfg(test)]
mod diff_tests;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use catalogue::{Catalogue, Known};
pub use diff::{Change, Class, diff, reopened_sinks, reopens_source};
pub use interpolate::Environment;
pub use lock::{Lock, Locked};
pub use plan::*;
pub use problem::{Code, Problem, Severity};
pub use report::{Look, Problems};
pub use settings::Settings;
pub use text::{Span, Text};

use interpolate::Sources;
use profile::Layers;
use reader::{Context, Found};
use root::Draft;
use tree::Node;

/// What decides how a file is read, beside the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The profile that is laid over the file. Default: none.
    pub profile: Option<String>,
    /// Where `${VAR}` comes from. Default: the environment of this process.
    pub environment: Environment,
    /// Whether plugins must be what the lock beside the file says. Default: false.
    pub locked: bool,
}

/// A file that was taken.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it means.
    pub plan: Plan,
    /// What deserves a second look, in file order.
    pub warnings: Vec<Problem>,
    /// The text, for problems that show later: `Problems::new(text, problems)`.
    pub text: Arc<Text>,
    /// Every file that decides what runs: this one, plugins, key files, certificates, and what `${file:…}` read.
    pub files: Vec<PathBuf>,
    /// Every key that holds, and the contents of the files that keys name: what a later reading is compared with.
    pub settings: Settings,
    /// What the plugins must be; none where [`Options::locked`] is off.
    pub lock: Option<Lock>,
}

/// Reads a file and what it names.
///
/// # Errors
/// Everything that is wrong with the file, in file order, warnings included.
pub fn load(file: &Path, options: &Options) -> Result<Loaded, Problems> {
    match Text::read(file) {
        Ok(text) => load_text(text, options),
        Err(problem) => Err(Problems::new(Arc::new(Text::new(file, "")), vec![problem])),
    }
}

/// Reads `[admin]` alone: where the host of a file can be asked, even while the rest of the file is being changed.
///
/// # Errors
/// What is wrong with the file's syntax, or with `[admin]`.
pub fn load_admin(file: &Path, options: &Options) -> Result<Admin, Problems> {
    let text = Arc::new(Text::read(file).map_err(|problem| Problems::new(Arc::new(Text::new(file, "")), vec![problem]))?);
    let refuse = |problems| Problems::new(Arc::clone(&text), problems);
    let root = tree::parse(&text).map_err(refuse)?;
    let root =
        Layers::split(root, &mut Vec::new()).merged(options.profile.as_deref()).map_err(|problem| refuse(vec![problem]))?;
    let (draft, found) = read(&text, &root, options, true);
    let is_admins = |problem: &Problem| problem.path.as_deref().is_some_and(|path| path.starts_with("admin."));
    let problems: Vec<Problem> = found.problems.into_iter().filter(is_admins).collect();
    if problems.is_empty() { Ok(draft.admin) } else { Err(refuse(problems)) }
}

/// The names of a file's profiles.
///
/// # Errors
/// What is wrong with the file's syntax.
pub fn profiles(file: &Path) -> Result<Vec<String>, Problems> {
    let text = Arc::new(Text::read(file).map_err(|problem| Problems::new(Arc::new(Text::new(file, "")), vec![problem]))?);
    let root = tree::parse(&text).map_err(|problems| Problems::new(Arc::clone(&text), problems))?;
    Ok(Layers::split(root, &mut Vec::new()).profiles.into_iter().map(|profile| profile.name).collect())
}

/// Reads a text as if it stood in its file.
///
/// # Errors
/// As [`load`].
pub fn load_text(text: Text, options: &Options) -> Result<Loaded, Problems> {
    let text = Arc::new(text);
    let root = match tree::parse(&text) {
        Ok(root) => root,
        Err(problems) => return Err(Problems::new(text, problems)),
    };
    let mut problems = Vec::new();
    let layers = Layers::split(root, &mut problems);
    let chosen = read_chosen(&text, &layers, options).unwrap_or_else(|problem| {
        problems.push(problem);
        (None, Found::default())
    });
    let (plan, mut found) = chosen;
    problems.extend(found.problems);
    let lock = options.locked.then(|| Lock::read(text.file()));
    let lock = lock.transpose().unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    if options.locked {
        found.files.insert(Lock::path(text.file()));
    }
    read_others(&text, &layers, options, &mut problems);
    let problems = Problems::new(Arc::clone(&text), problems);
    match plan {
        Some(plan) if !problems.has_errors() => {
            let files = found.files.into_iter().chain([text.file().to_owned()]).collect::<BTreeSet<_>>();
            let (warnings, settings) = (problems.list().to_vec(), found.settings);
            Ok(Loaded { plan, warnings, text, files: files.into_iter().collect(), settings, lock })
        }
        _ => Err(problems),
    }
}

/// Every key that a text makes the reader ask for, with its default: the keys of the tables that it names, under every profile.
///
/// # Errors
/// What is wrong with the text's syntax.
pub fn catalogue(text: &Text, options: &Options) -> Result<Catalogue, Vec<Problem>> {
    let layers = Layers::split(tree::parse(text)?, &mut Vec::new());
    let mut catalogue = Catalogue::default();
    for profile in variants(&layers) {
        if let Ok(root) = layers.merged(profile) {
            catalogue.merge(read(text, &root, options, false).1.catalogue);
        }
    }
    Ok(catalogue)
}

fn variants(layers: &Layers) -> impl Iterator<Item = Option<&str>> {
    std::iter::once(None).chain(layers.profiles.iter().map(|profile| Some(profile.name.as_str())))
}

fn read(text: &Text, root: &Node, options: &Options, looks_outside: bool) -> (Draft, Found) {
    let sources = Sources { environment: &options.environment, folder: text.folder() };
    let context = Context::new(sources, looks_outside);
    let draft = root::read(&context, root);
    let mut found = context.into_found();
    let is_whole = found.problems.is_empty();
    found.problems.extend(resolve::check(&draft, root, is_whole));
    (draft, found)
}

fn read_chosen(text: &Text, layers: &Layers, options: &Options) -> Result<(Option<Plan>, Found), Problem> {
    let root = layers.merged(options.profile.as_deref())?;
    let (draft, mut found) = read(text, &root, options, true);
    let is_well = found.problems.is_empty();
    found.problems.extend(warn::check(&draft, &root, is_well));
    Ok((draft.finish(text.file().to_owned()), found))
}

/// Checks what is not chosen too, as far as its own text goes: a slip in a profile should not wait for the day on which it is needed.
fn read_others(text: &Text, layers: &Layers, options: &Options, problems: &mut Vec<Problem>) {
    for profile in variants(layers).filter(|profile| *profile != options.profile.as_deref()) {
        let Ok(root) = layers.merged(profile) else { continue };
        let (_, found) = read(text, &root, options, false);
        let own = own_places(layers, profile);
        for problem in found.problems {
            let place = problem.span.is_some_and(|span| own.contains(&span));
            let told = problems.iter().any(|other| (other.code, other.span) == (problem.code, problem.span));
            if place && !told && holds_unchosen(problem.code, profile) {
                problems.push(problem);
            }
        }
    }
}

fn own_places(layers: &Layers, profile: Option<&str>) -> HashSet<Span> {
    let entry = layers.profiles.iter().find(|entry| Some(entry.name.as_str()) == profile);
    let node = entry.map_or(&layers.base, |entry| &entry.node);
    let mut places = HashSet::new();
    node.visit(&mut |span| {
        places.insert(span);
    });
    places
}

/// Whether a problem is one although the profile is not chosen. The file without a profile may lack what each profile adds; and
/// what comes from outside was not looked at.
fn holds_unchosen(code: Code, profile: Option<&str>) -> bool {
    use Code::{
        DuplicateAddress, MissingKey, NeverSealed, NoColumns, NoKind, PrefetchBelowBatch, UnknownKeyId, UnknownKeyRing,
        UnknownSink, UnknownStep, UnmappedColumn,
    };
    match code {
        PrefetchBelowBatch | DuplicateAddress | UnknownKeyId => false,
        MissingKey | NoColumns | NoKind | NeverSealed | UnknownKeyRing | UnknownSink | UnknownStep | UnmappedColumn => {
            profile.is_some()
        }
        _ => true,
    }
}
