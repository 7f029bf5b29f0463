//! Log lines under the step's name. For validators and transformers; a cipher that logs is refused by the host.

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the step's author.
    Debug,
    /// An action completed.
    Info,
    /// Handled, nothing lost.
    Warn,
    /// A person is needed.
    Error,
}

/// Writes one line. The host keeps 1 KiB of it and 100 lines a second of each step. Never log content: ids and sizes are enough.
pub fn log(level: Level, line: &str) {
    backend::log(level, line);
}

/// Writes a line for the step's author.
pub fn debug(line: &str) {
    log(Level::Debug, line);
}

/// Writes that an action completed.
pub fn info(line: &str) {
    log(Level::Info, line);
}

/// Writes that something was handled, and nothing lost.
pub fn warn(line: &str) {
    log(Level::Warn, line);
}

/// Writes that a person is needed.
pub fn error(line: &str) {
    log(Level::Error, line);
}

#[cfg(target_arch = "wasm32")]
mod backend {
    use super::Level;
    use crate::bindings::imports::tidegate::plugin::log as host;

    pub(super) fn log(level: Level, line: &str) {
        let level = match level {
            Level::Debug => host::Level::Debug,
            Level::Info => host::Level::Info,
            Level::Warn => host::Level::Warn,
            Level::Error => host::Level::Error,
        };
        host::log(level, line);
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod backend {
    use std::cell::RefCell;

    use super::Level;

    thread_local! {
        /// What this thread, and so this test, has logged.
        static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn log(level: Level, line: &str) {
        LINES.with_borrow_mut(|lines| lines.push((level, line.to_owned())));
    }

    pub(crate) fn take() -> Vec<(Level, String)> {
        LINES.take()
    }
}
