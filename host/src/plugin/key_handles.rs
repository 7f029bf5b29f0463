//! The keys that a cipher's instance can name, for the length of one call. The key itself stays here.

use crate::secret::Secret;

/// Most keys that one call may hold at a time. A guest that derives in a loop without dropping meets this, not the end of memory.
pub(super) const MAX_LIVE: usize = 64;

/// Names for keys. A name is never used twice in the life of an instance, so that one which a guest kept cannot come to mean another key.
#[derive(Debug, Default)]
pub(super) struct KeyHandles {
    next: u32,
    live: Vec<(u32, Secret)>,
}

impl KeyHandles {
    /// A name for a key; none when too many are held, or every name was used.
    pub(super) fn open(&mut self, key: Secret) -> Option<u32> {
        if self.live.len() >= MAX_LIVE {
            return None;
        }
        let name = self.next;
        self.next = self.next.checked_add(1)?;
        self.live.push((name, key));
        Some(name)
    }

    /// The key of that name.
    pub(super) fn get(&self, name: u32) -> Option<&Secret> {
        self.live.iter().find(|(live, _)| *live == name).map(|(_, key)| key)
    }

    /// Wipes the key of that name.
    pub(super) fn close(&mut self, name: u32) {
        self.live.retain(|(live, _)| *live != name);
    }

    /// Wipes every key and says how many there were: what a guest still holds after its call has leaked.
    pub(super) fn close_all(&mut self) -> usize {
        let held = self.live.len();
        self.live.clear();
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_used_twice() {
        let mut handles = KeyHandles::default();
        let first = handles.open(Secret::from("a")).unwrap();
        handles.close(first);
        let second = handles.open(Secret::from("b")).unwrap();
        assert_ne!(first, second);
        assert!(handles.get(first).is_none());
        assert_eq!(handles.get(second).unwrap().expose(), b"b");
    }

    #[test]
    fn keys_that_are_held_are_capped() {
        let mut handles = KeyHandles::default();
        for _ in 0..MAX_LIVE {
            assert!(handles.open(Secret::from("k")).is_some());
        }
        assert!(handles.open(Secret::from("k")).is_none());
        assert_eq!(handles.close_all(), MAX_LIVE);
        assert!(handles.open(Secret::from("k")).is_some());
    }
}
