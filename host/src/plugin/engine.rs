//! The sandbox as a whole: one wasmtime engine, its clock, and what it has compiled.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sha2::{Digest, Sha256};
use tracing::{info, warn};
use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::cache::Cache;
use super::component::{Component, Loaded};
use super::deadline::start_ticker;
use super::fault::chain;
use super::inspect::check_format;
use super::load_error::LoadError;
use super::state::State;
use super::{Kind, hex, v0_1};

/// Largest component, in bytes. Interpreters of other languages bring 20 MB.
const MAX_COMPONENT_BYTES: u64 = 512 << 20;
/// Most elements of one table that `limits.table_elements` may allow.
pub(super) const MAX_TABLE_ELEMENTS: u32 = 100_000;
/// Most memory that `limits.memory` may allow, in bytes: what a 32-bit memory can address.
pub(super) const MAX_MEMORY_BYTES: u64 = 4 << 30;
/// Slots beyond those asked for: components that are being loaded, and replacements that are made before the old is gone.
const SPARE_INSTANCES: u32 = 16;
/// Deepest stack of a guest, in bytes. Threads that call steps need twice that; tokio's have 2 MiB.
const STACK_BYTES: usize = 512 << 10;

/// How the sandbox is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Folder for compiled code, which only this user may write. Default: none, and everything is compiled at each start.
    pub cache: Option<PathBuf>,
    /// How many instances of components may live at one time: workers times steps times generations. Default: 128.
    pub instances: u32,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { cache: None, instances: 128 }
    }
}

/// Loads components. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    wasmtime: wasmtime::Engine,
    cache: Option<Cache>,
    linkers: Linkers,
    /// What is in use is not compiled again when it is loaded again, as a reload does.
    loaded: Mutex<HashMap<String, Weak<Loaded>>>,
}

/// Whether guests count their instructions, as fuel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    On,
    Off,
}

/// What each kind may import.
struct Linkers {
    validator: Linker<State>,
    transformer: Linker<State>,
    cipher: Linker<State>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("cache", &self.0.cache).finish_non_exhaustive()
    }
}

impl Engine {
    /// Sets the sandbox up and starts its clock, which ends with the last engine, component and step.
    ///
    /// # Errors
    /// Fails when the machine cannot run WebAssembly, or no thread can be started.
    pub fn new(settings: &EngineSettings) -> Result<Self, LoadError> {
        Self::with(settings, Counting::Off)
    }

    /// The same, for an engine that counts the instructions of its guests, which are slower for it: only measurements use it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn counting(settings: &EngineSettings) -> Result<Self, LoadError> {
        Self::with(settings, Counting::On)
    }

    fn with(settings: &EngineSettings, counting: Counting) -> Result<Self, LoadError> {
        let wasmtime = allocate(settings.instances, counting)?;
        start_ticker(&wasmtime).map_err(|error| LoadError::Engine(format!("its clock cannot be started: {error}")))?;
        let cache = settings.cache.as_deref().and_then(|folder| Cache::open(folder, &wasmtime));
        let linkers = Linkers::new(&wasmtime).map_err(|error| LoadError::Engine(chain(&error)))?;
        Ok(Self(Arc::new(Inner { wasmtime, cache, linkers, loaded: Mutex::default() })))
    }

    /// Loads a component: compiles it or finds it in the cache, checks what it is and imports, and asks it to describe itself.
    /// Blocks; compiling takes from a tenth of a second to many.
    ///
    /// # Errors
    /// Says why the bytes are no step that this host can run.
    pub fn load(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        check_format(bytes)?;
        let digest = hex(Sha256::digest(bytes).iter());
        if let Some(loaded) = self.known(&digest) {
            return Ok(Component::from(loaded));
        }
        let code = self.compile(&digest, bytes)?;
        let loaded = Arc::new(Loaded::new(&code, &digest, |kind| self.0.linkers.of(kind))?);
        self.remember(digest, &loaded);
        Ok(Component::from(loaded))
    }

    /// Reads a file whole and loads it.
    ///
    /// # Errors
    /// Says why the file cannot be read, or is no step that this host can run.
    pub fn load_file(&self, path: &Path) -> Result<Component, LoadError> {
        self.load(&read(path)?)
    }

    fn compile(&self, digest: &str, bytes: &[u8]) -> Result<wasmtime::component::Component, LoadError> {
        let engine = &self.0.wasmtime;
        if let Some(code) = self.0.cache.as_ref().and_then(|cache| cache.load(engine, digest)) {
            return Ok(code);
        }
        let code =
            wasmtime::component::Component::from_binary(engine, bytes).map_err(|error| LoadError::Invalid(chain(&error)))?;
        info!(digest, bytes = bytes.len(), "compiled a plugin");
        if let Some(cache) = &self.0.cache {
            match code.serialize() {
                Ok(code) => cache.store(digest, &code),
                Err(error) => warn!(digest, problem = chain(&error), "a compiled plugin could not be kept"),
            }
        }
        Ok(code)
    }

    fn known(&self, digest: &str) -> Option<Arc<Loaded>> {
        let loaded = self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.get(digest).and_then(Weak::upgrade)
    }

    fn remember(&self, digest: String, component: &Arc<Loaded>) {
        let mut loaded = self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, component| component.strong_count() > 0);
        loaded.insert(digest, Arc::downgrade(component));
    }
}

/// Reads a file whole, with an answer to each way in which that can go wrong.
fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let unreadable = |cause| LoadError::Unreadable { path: path.to_owned(), cause };
    // Asked before the file is opened: opening a pipe would wait for its other end.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(LoadError::NoFile { path: path.to_owned(), what: "a folder" });
    }
    if !metadata.is_file() {
        return Err(LoadError::NoFile { path: path.to_owned(), what: "a pipe or a device" });
    }
    if metadata.len() > MAX_COMPONENT_BYTES {
        return Err(LoadError::TooLarge { bytes: metadata.len(), max: MAX_COMPONENT_BYTES });
    }
    fs::read(path).map_err(unreadable)
}

/// An engine whose instances come from a pool, or one by one where the pool's address space cannot be had.
fn allocate(instances: u32, counting: Counting) -> Result<wasmtime::Engine, LoadError> {
    let mut config = base_config(counting);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
    match wasmtime::Engine::new(&config) {
        Ok(engine) => Ok(engine),
        Err(problem) => {
            warn!(
                instances,
                problem = chain(&problem),
                "no address space for a pool of instances: each is made by itself, which is slower"
            );
            wasmtime::Engine::new(&base_config(counting)).map_err(|error| LoadError::Engine(chain(&error)))
        }
    }
}

fn base_config(counting: Counting) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true).concurrency_support(false).max_wasm_stack(STACK_BYTES);
    config.consume_fuel(counting == Counting::On);
    config
}

/// Room for the instances. Sizes of code and tables are generous: interpreters of other languages have thousands of functions, and what one step may
/// use is decided by its own limits.
fn pool(instances: u32) -> PoolingAllocationConfig {
    let instances = instances.saturating_add(SPARE_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(32))
        .total_memories(instances.saturating_mul(2))
        .total_tables(instances.saturating_mul(3))
        .max_component_instance_size(16 << 20)
        .max_core_instance_size(16 << 20)
        .max_memories_per_module(4)
        .max_tables_per_module(8)
        .table_elements(MAX_TABLE_ELEMENTS as usize);
    pool
}

impl Linkers {
    fn new(engine: &wasmtime::Engine) -> wasmtime::Result<Self> {
        Ok(Self {
            validator: v0_1::linker(engine, Kind::Validator)?,
            transformer: v0_1::linker(engine, Kind::Transformer)?,
            cipher: v0_1::linker(engine, Kind::Cipher)?,
        })
    }

    fn of(&self, kind: Kind) -> &Linker<State> {
        match kind {
            Kind::Validator => &self.validator,
            Kind::Transformer => &self.transformer,
            Kind::Cipher => &self.cipher,
        }
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Instance, Module, Store, Trap};

    use super::*;

    fn run_forever_down(engine: &wasmtime::Engine) -> Option<Trap> {
        let module = Module::new(engine, wat::parse_str("(module (func $f (export \"f\") (call $f)))").unwrap()).unwrap();
        let mut store = Store::new(engine, ());
        store.set_epoch_deadline(1 << 40);
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let function = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        function.call(&mut store, ()).unwrap_err().downcast_ref().copied()
    }

    #[test]
    fn endless_recursion_ends_the_guest_and_not_the_host() {
        let engine = Engine::new(&EngineSettings::default()).unwrap();
        assert_eq!(run_forever_down(&engine.0.wasmtime), Some(Trap::StackOverflow));
        assert_eq!(run_forever_down(&engine.0.wasmtime), Some(Trap::StackOverflow));
    }

    #[test]
    fn without_address_space_for_a_pool_instances_are_made_one_by_one() {
        let engine = allocate(u32::MAX, Counting::Off).unwrap();
        assert!(engine.pooling_allocator_metrics().is_none());
        assert!(allocate(4, Counting::Off).unwrap().pooling_allocator_metrics().is_some());
    }
}
