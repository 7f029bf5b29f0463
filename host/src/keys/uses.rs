//! How often a key has sealed.
//!
//! Two values under one key and one nonce break AES-GCM altogether. Nonces of 12 random bytes meet with a chance of 2^-32 after 2^32
//! values (NIST SP 800-38D, 8.3), so that is where sealing ends. The count belongs to the key's bytes and not to its ring or id: it
//! outlives reloads, and two rings with the same key share it. It does not outlive the process, nor is it shared with other
//! processes: it is a net, and rotating in time is the operator's part.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// What a key's use counter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uses {
    /// Go on.
    Fine,
    /// Go on, and make another key active soon.
    RotateSoon {
        /// Values sealed in this process, these included.
        used: u64,
        /// Whether these were the ones that passed the threshold: say it once.
        first: bool,
    },
    /// Do not seal: the key is used up. Another one must be made active.
    Exhausted {
        /// Values sealed in this process.
        used: u64,
    },
}

impl Uses {
    /// From this many values on, a key should be replaced.
    pub const ROTATE_SOON: u64 = 1 << 31;
    /// A key seals no more values than this.
    pub const LIMIT: u64 = 1 << 32;
}

/// The counter of one key's bytes.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

/// Every key of this process by a digest of its bytes. It grows by 40 bytes a key and is never emptied: a count outlives its ring.
static COUNTERS: LazyLock<Mutex<HashMap<Fingerprint, Arc<Counter>>>> = LazyLock::new(Mutex::default);

#[derive(PartialEq, Eq, Hash)]
struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Counter {
    /// The one counter of this key in this process.
    pub(super) fn of(material: &[u8]) -> Arc<Self> {
        let digest = Sha256::new().chain_update(b"tidegate key uses\0").chain_update(material).finalize();
        let mut counters = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(counters.entry(Fingerprint(digest.into())).or_default())
    }

    pub(super) fn add(&self, count: u64) -> Uses {
        let within = |used: u64| used.checked_add(count).filter(|sum| *sum <= Uses::LIMIT);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) {
            Err(used) => Uses::Exhausted { used },
            Ok(before) if before + count < Uses::ROTATE_SOON => Uses::Fine,
            Ok(before) => Uses::RotateSoon { used: before + count, first: before < Uses::ROTATE_SOON },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_warns_once_and_then_refuses() {
        let counter = Counter::default();
        assert_eq!(counter.add(Uses::ROTATE_SOON - 1), Uses::Fine);
        assert_eq!(counter.add(1), Uses::RotateSoon { used: 1 << 31, first: true });
        assert_eq!(counter.add(1), Uses::RotateSoon { used: (1 << 31) + 1, first: false });
        assert_eq!(counter.add((1 << 31) - 1), Uses::RotateSoon { used: 1 << 32, first: false });
        assert_eq!(counter.add(1), Uses::Exhausted { used: 1 << 32 });
        assert_eq!(counter.add(u64::MAX), Uses::Exhausted { used: 1 << 32 });
    }

    #[test]
    fn a_batch_that_does_not_fit_is_not_counted() {
        let counter = Counter::default();
        assert_eq!(counter.add(Uses::LIMIT + 1), Uses::Exhausted { used: 0 });
        assert_eq!(counter.add(0), Uses::Fine);
        assert_eq!(counter.add(Uses::LIMIT), Uses::RotateSoon { used: 1 << 32, first: true });
    }

    #[test]
    fn the_count_belongs_to_the_bytes_and_outlives_whoever_holds_them() {
        let bytes = b"a key that no other test of this process has";
        assert_eq!(Counter::of(bytes).add(Uses::ROTATE_SOON), Uses::RotateSoon { used: 1 << 31, first: true });
        assert_eq!(Counter::of(bytes).add(1), Uses::RotateSoon { used: (1 << 31) + 1, first: false });
        assert_eq!(Counter::of(b"another key that no other test of this process has").add(1), Uses::Fine);
    }

    #[test]
    fn threads_count_together() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| assert_eq!(counter.add(3), Uses::Fine)));
            }
        });
        assert_eq!(counter.0.into_inner(), 12_000);
    }
}
