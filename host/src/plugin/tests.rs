//! The runtime against real components: the first-party plugins, saboteurs among them, and small ones in text form that must be refused.

mod caching;
mod ciphers;
mod measure;
mod refusals;
mod sabotage;
mod steps;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Component, Engine, EngineSettings, Fault, Grants, Limits, LoadError, Setup, Step};
use crate::message::{Message, NoProperties};

/// The file of a first-party plugin, under the target folder that this test was built into.
fn plugin_file(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has an executable");
    let file = format!("plugins/{name}.wasm");
    let found = test.ancestors().map(|folder| folder.join(&file)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no {file} in the target folder: run cargo xtask plugins first"))
}

fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&EngineSettings { cache: None, instances: 200 }).unwrap()).clone()
}

/// A first-party plugin, compiled once for all tests.
fn plugin(name: &str) -> Component {
    static LOADED: OnceLock<Mutex<HashMap<String, Component>>> = OnceLock::new();
    let mut loaded = LOADED.get_or_init(Mutex::default).lock().unwrap();
    loaded.entry(name.to_owned()).or_insert_with(|| engine().load_file(&plugin_file(name)).unwrap()).clone()
}

fn setup(settings: Value) -> Setup {
    Setup {
        step: "step".into(),
        settings,
        limits: Limits { timeout: Duration::from_secs(10), ..Limits::default() },
        grants: Grants::default(),
        instances: 1,
    }
}

/// A step that is not waited for: for guests that never end.
fn impatient(settings: Value) -> Setup {
    let setup = setup(settings);
    Setup { limits: Limits { timeout: Duration::from_millis(200), ..setup.limits }, ..setup }
}

fn prepare(name: &str, setup: Setup) -> Step {
    plugin(name).prepare(setup).unwrap()
}

fn step(name: &str) -> Step {
    prepare(name, setup(json!({})))
}

fn message(body: impl Into<Vec<u8>>) -> Message {
    Message::new(None, bytes::Bytes::from(body.into()), Arc::new(NoProperties))
}

/// A body that tells a saboteur what to do.
fn told(command: &str) -> Message {
    message(json!({ "id": "1", "sabotage": command }).to_string())
}

/// Nine messages, of which those at `at` carry the command.
fn batch(command: &str, at: &[usize]) -> Vec<Message> {
    (0..9).map(|index| if at.contains(&index) { told(command) } else { message("{}") }).collect()
}

fn load_error(component: &str) -> LoadError {
    engine().load(&wat::parse_str(component).unwrap()).unwrap_err()
}

fn fault_names(faults: impl IntoIterator<Item = Option<Fault>>) -> Vec<&'static str> {
    faults.into_iter().map(|fault| fault.map_or("-", |fault| fault.kind.name())).collect()
}
