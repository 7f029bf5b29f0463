//! What the host does when a step of line 0.1 calls one of its imports.

use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::component::Resource;

use super::bindings::tidegate::plugin::types::PackedResult as Wire;
use super::bindings::tidegate::plugin::{clock, crypto, log, random, types};
use super::size::Size;
use super::{Key, parts};
use crate::plugin::crypto as arithmetic;
use crate::plugin::fault::HostRefusal;
use crate::plugin::guest_log::Level;
use crate::plugin::packed::Packed;
use crate::plugin::state::{Access, State};
use crate::secret::Secret;

/// Most random bytes of one call.
const MAX_RANDOM: u32 = 65_536;

impl types::Host for State {}

impl log::Host for State {
    fn log(&mut self, level: log::Level, line: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.log.line(level, &line);
        Ok(())
    }
}

impl clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        match self.access {
            Access::Trial => Ok(0),
            Access::Granted(grants) if grants.clock => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Ok(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
            }
            Access::Granted(_) => Err(refusal("the clock is not granted")),
        }
    }
}

impl random::Host for State {
    fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        if count > MAX_RANDOM {
            return Err(refusal(format!("{count} random bytes were asked for, and {MAX_RANDOM} is the most")));
        }
        let mut bytes = vec![0; count as usize];
        match self.access {
            Access::Trial => Ok(bytes),
            Access::Granted(grants) if grants.random => match getrandom::fill(&mut bytes) {
                Ok(()) => Ok(bytes),
                Err(error) => Err(refusal(format!("the operating system gives no random bytes: {error}"))),
            },
            Access::Granted(_) => Err(refusal("random bytes are not granted")),
        }
    }
}

/// What a method of `key` gives to the guest.
type Answer<T> = wasmtime::Result<Result<T, crypto::Failure>>;

impl crypto::Host for State {}

impl crypto::HostKey for State {
    fn aes_gcm_seal(&mut self, key: Resource<Key>, nonces: Wire, contexts: Wire, plain: Wire) -> Answer<Wire> {
        self.compute(&key, [nonces, contexts, plain], |key, [nonces, contexts, plain]| {
            Ok(arithmetic::aes_gcm_seal(key, &nonces, &contexts, &plain)?.into())
        })
    }

    fn aes_gcm_open(&mut self, key: Resource<Key>, nonces: Wire, contexts: Wire, sealed: Wire) -> Answer<crypto::Opened> {
        self.compute(&key, [nonces, contexts, sealed], |key, [nonces, contexts, sealed]| {
            Ok(arithmetic::aes_gcm_open(key, &nonces, &contexts, &sealed)?.into())
        })
    }

    fn aes_cbc_encrypt(&mut self, key: Resource<Key>, ivs: Wire, plain: Wire) -> Answer<Wire> {
        self.compute(&key, [ivs, plain], |key, [ivs, plain]| Ok(arithmetic::aes_cbc_encrypt(key, &ivs, &plain)?.into()))
    }

    fn aes_cbc_decrypt(&mut self, key: Resource<Key>, ivs: Wire, sealed: Wire) -> Answer<crypto::Opened> {
        self.compute(&key, [ivs, sealed], |key, [ivs, sealed]| Ok(arithmetic::aes_cbc_decrypt(key, &ivs, &sealed)?.into()))
    }

    fn hmac_sha256(&mut self, key: Resource<Key>, items: Wire) -> Answer<Wire> {
        self.compute(&key, [items], |key, [items]| Ok(arithmetic::hmac_sha256(key, &items)?.into()))
    }

    fn derive(&mut self, key: Resource<Key>, purpose: String) -> wasmtime::Result<Resource<Key>> {
        let derived = arithmetic::derive(self.key(&key)?, &purpose);
        let name = self.keys.open(derived).ok_or_else(|| refusal("it holds too many keys: drop those that are done with"))?;
        Ok(Resource::new_own(name))
    }

    fn expose(&mut self, key: Resource<Key>) -> Answer<Vec<u8>> {
        match self.access {
            Access::Granted(grants) if grants.expose_key => Ok(Ok(self.key(&key)?.expose().to_vec())),
            _ => Ok(Err(crypto::Failure::Denied)),
        }
    }

    fn drop(&mut self, key: Resource<Key>) -> wasmtime::Result<()> {
        self.keys.close(key.rep());
        Ok(())
    }
}

impl State {
    /// Arithmetic on packed lists, and what it copies: the lists come out of the guest, the answer goes into it.
    fn compute<const N: usize, A: Size>(
        &mut self,
        key: &Resource<Key>,
        lists: [Wire; N],
        work: impl FnOnce(&Secret, [Packed; N]) -> Result<A, crypto::Failure>,
    ) -> Answer<A> {
        let taken = lists.size();
        let key = self.key(key)?;
        let answer = unpacked(lists).and_then(|lists| work(key, lists));
        self.traffic.add(answer.size(), taken);
        Ok(answer)
    }

    fn key(&self, key: &Resource<Key>) -> wasmtime::Result<&Secret> {
        self.keys.get(key.rep()).ok_or_else(|| refusal("it uses a key that it kept from an earlier call"))
    }
}

fn refusal(why: impl Into<String>) -> wasmtime::Error {
    wasmtime::Error::new(HostRefusal(why.into()))
}

fn unpacked<const N: usize>(lists: [Wire; N]) -> Result<[Packed; N], crypto::Failure> {
    let lists: Result<Vec<_>, _> = lists.into_iter().map(parts).collect();
    lists.map_err(|_| crypto::Failure::Malformed)?.try_into().map_err(|_| crypto::Failure::Malformed)
}

impl From<arithmetic::Refusal> for crypto::Failure {
    fn from(refusal: arithmetic::Refusal) -> Self {
        match refusal {
            arithmetic::Refusal::Malformed => Self::Malformed,
            arithmetic::Refusal::WrongLength => Self::WrongLength,
            arithmetic::Refusal::TooLong => Self::TooLong,
        }
    }
}

impl From<arithmetic::Opened> for crypto::Opened {
    fn from(opened: arithmetic::Opened) -> Self {
        Self { items: opened.items.into(), failed: opened.failed }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::crypto::HostKey as _;
    use super::*;
    use crate::plugin::guest_log::GuestLog;
    use crate::plugin::key_handles::MAX_LIVE;
    use crate::plugin::{Grants, Limits};

    fn state(access: Access) -> State {
        State::new(&Limits::default(), access, Arc::new(GuestLog::new("step".into())))
    }

    fn granted(clock: bool, random: bool) -> State {
        state(Access::Granted(Grants { clock, random, expose_key: false }))
    }

    fn lent(state: &mut State) -> u32 {
        state.keys.open(Secret::new([1; 32])).unwrap()
    }

    #[test]
    fn the_clock_is_the_hosts_only_where_it_is_granted() {
        assert!(clock::Host::now(&mut granted(true, false)).unwrap() > 1_700_000_000_000);
        assert!(clock::Host::now(&mut granted(false, true)).is_err());
        assert_eq!(
            clock::Host::now(&mut state(Access::Trial)).unwrap(),
            0,
            "nothing is granted to a component that is being loaded"
        );
    }

    #[test]
    fn random_bytes_are_given_only_where_they_are_granted_and_not_without_end() {
        let mut random = granted(false, true);
        let (first, second) = (random::Host::bytes(&mut random, 32).unwrap(), random::Host::bytes(&mut random, 32).unwrap());
        assert!(first.len() == 32 && first != second);
        assert_eq!(random::Host::bytes(&mut random, MAX_RANDOM).unwrap().len(), 65_536);
        assert!(random::Host::bytes(&mut random, MAX_RANDOM + 1).unwrap_err().is::<HostRefusal>());
        assert!(random::Host::bytes(&mut granted(true, false), 1).is_err());
        assert_eq!(random::Host::bytes(&mut state(Access::Trial), 2).unwrap(), [0, 0]);
    }

    #[test]
    fn keys_that_a_guest_derives_and_never_drops_are_capped() {
        let mut state = granted(false, false);
        let key = lent(&mut state);
        for _ in 1..MAX_LIVE {
            state.derive(Resource::new_borrow(key), "mac".to_owned()).unwrap();
        }
        let refused = state.derive(Resource::new_borrow(key), "mac".to_owned()).unwrap_err();
        assert!(refused.to_string().contains("too many keys"), "{refused}");
    }

    #[test]
    fn a_key_that_a_guest_kept_beyond_its_call_names_nothing() {
        let mut state = granted(false, false);
        let key = lent(&mut state);
        let derived = state.derive(Resource::new_borrow(key), "mac".to_owned()).unwrap().rep();
        assert_eq!(state.keys.close_all(), 2);
        let next = lent(&mut state);
        assert!(next != key && next != derived);
        let stale = state.hmac_sha256(Resource::new_borrow(derived), Packed::default().into()).unwrap_err();
        assert!(stale.is::<HostRefusal>());
    }

    #[test]
    fn a_derived_key_can_be_used_dropped_and_not_exposed() {
        let mut state = granted(false, false);
        let key = lent(&mut state);
        let derived = state.derive(Resource::new_borrow(key), "mac".to_owned()).unwrap().rep();
        let items = Packed::collect([b"one".as_slice()]).unwrap();
        assert!(state.hmac_sha256(Resource::new_borrow(derived), items.into()).unwrap().is_ok());
        let denied = state.expose(Resource::new_borrow(derived)).unwrap();
        assert!(matches!(denied, Err(crypto::Failure::Denied)));
        crypto::HostKey::drop(&mut state, Resource::new_own(derived)).unwrap();
        assert_eq!(state.keys.close_all(), 1);
    }

    #[test]
    fn packed_lists_that_break_the_rules_are_refused_and_end_nothing() {
        let mut state = granted(false, false);
        let key = lent(&mut state);
        let broken = Wire { bytes: vec![1], ends: vec![9] };
        let refused = state.hmac_sha256(Resource::new_borrow(key), broken).unwrap();
        assert!(matches!(refused, Err(crypto::Failure::Malformed)));
    }
}
