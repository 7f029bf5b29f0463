//! Ctrl-C, as a wish and not as a death: what was started is ended in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tidegate_harness::Result;
use tidegate_harness::failure::While;

/// Whether somebody has asked to end.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT and SIGTERM are noted; the second one ends the process at once.
    pub(crate) fn watch() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag)).doing("watching for Ctrl-C")?;
            flag::register(signal, Arc::clone(&flag)).doing("watching for Ctrl-C")?;
        }
        Ok(Self(flag))
    }

    /// Waits for it, and looks after things meanwhile.
    pub(crate) fn wait(&self, mut look: impl FnMut() -> Result<()>) -> Result<()> {
        while !self.0.load(Ordering::SeqCst) {
            look()?;
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}
