//! How much memory one instance may hold, and what it was refused.

use wasmtime::ResourceLimiter;

use super::Limits;

/// What an instance asked for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// More bytes of linear memory, all memories of the instance together.
    Memory {
        /// What it would have had.
        asked: u64,
        /// What it may have.
        limit: u64,
    },
    /// More elements of one table.
    Table {
        /// What it would have had.
        asked: u64,
        /// What it may have.
        limit: u64,
    },
}

/// Watches one instance. Growth that is refused looks to the guest as on a machine that has no more memory: most trap then, and
/// the refusal that is noted here says why.
#[derive(Debug)]
pub(super) struct Limiter {
    memory_limit: u64,
    table_limit: u64,
    memory_bytes: u64,
    growing_bytes: u64,
    refused: Option<Refused>,
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory_limit: limits.memory_bytes,
            table_limit: limits.table_elements.into(),
            memory_bytes: 0,
            growing_bytes: 0,
            refused: None,
        }
    }

    /// What the instance holds, in bytes. It only ever grows: linear memory never shrinks.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// What was refused since [`Self::forget`], the first of it.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// Starts a call with a clean slate: a guest that bore a refusal well is not blamed for it later.
    pub(super) fn forget(&mut self) {
        self.refused = None;
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let growing_bytes = desired.saturating_sub(current) as u64;
        let asked = self.memory_bytes.saturating_add(growing_bytes);
        if asked > self.memory_limit {
            self.refused.get_or_insert(Refused::Memory { asked, limit: self.memory_limit });
            return Ok(false);
        }
        self.growing_bytes = growing_bytes;
        self.memory_bytes = asked;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_bytes = self.memory_bytes.saturating_sub(self.growing_bytes);
        self.growing_bytes = 0;
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let asked = desired as u64;
        if asked > self.table_limit {
            self.refused.get_or_insert(Refused::Table { asked, limit: self.table_limit });
            return Ok(false);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> Limiter {
        Limiter::new(&Limits { memory_bytes: 1000, table_elements: 10, ..Limits::default() })
    }

    #[test]
    fn all_memories_of_an_instance_count_together() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 600, None).unwrap());
        assert!(!limiter.memory_growing(0, 600, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::Memory { asked: 1200, limit: 1000 }));
        assert_eq!(limiter.memory_bytes(), 600);
    }

    #[test]
    fn growth_that_the_system_refused_does_not_count() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 600, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        assert_eq!(limiter.memory_bytes(), 0);
    }

    #[test]
    fn a_refusal_is_forgotten_before_the_next_call() {
        let mut limiter = limiter();
        assert!(!limiter.table_growing(0, 11, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::Table { asked: 11, limit: 10 }));
        limiter.forget();
        assert_eq!(limiter.refused(), None);
    }
}
