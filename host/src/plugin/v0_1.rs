//! The interface line 0.1: the one place that knows the generated types of `wit/v0.1`.

mod imports;
mod size;

use wasmtime::component::{Component, HasSelf, InstancePre, Linker, Resource};
use wasmtime::{Engine, Store};

use self::bindings::exports::tidegate::plugin::{lifecycle, sealing, transformation, validation};
use self::bindings::tidegate::plugin::{clock, crypto, log, random, types};
use self::size::Size;
use super::answers::{Opening, Rejection, Transformed, Verdict, Verdicted};
use super::batch::Batch;
use super::manifest::RawManifest;
use super::packed::{Malformed, Packed};
use super::reason::clean;
use super::state::State;
use super::{Kind, Parameters};
use crate::message::Reason;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/v0.1",
        // One world of everything: its types exist once, and each kind loads the exports that it needs.
        inline: "
            package tidegate:host;
            world line {
                import tidegate:plugin/log@0.1.0;
                import tidegate:plugin/clock@0.1.0;
                import tidegate:plugin/random@0.1.0;
                import tidegate:plugin/crypto@0.1.0;
                export tidegate:plugin/lifecycle@0.1.0;
                export tidegate:plugin/validation@0.1.0;
                export tidegate:plugin/transformation@0.1.0;
                export tidegate:plugin/sealing@0.1.0;
            }
        ",
        world: "tidegate:host/line",
        imports: { default: trappable },
        ownership: Borrowing { duplicate_if_necessary: true },
        with: { "tidegate:plugin/crypto.key": crate::plugin::v0_1::Key },
    });
}

/// Marks handles to keys: what a handle stands for is in [`State::keys`].
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated code exports it again")]
pub struct Key;

/// The line, as `major.minor`.
pub(super) const LINE: &str = "0.1";

/// What the host offers to a kind: interfaces with their functions, as components name them.
pub(super) fn offered(kind: Kind) -> &'static [(&'static str, &'static [&'static str])] {
    match kind {
        Kind::Validator | Kind::Transformer => &[("log", &["log"]), ("clock", &["now"]), ("random", &["bytes"])],
        Kind::Cipher => &[(
            "crypto",
            &[
                "[method]key.aes-gcm-seal",
                "[method]key.aes-gcm-open",
                "[method]key.aes-cbc-encrypt",
                "[method]key.aes-cbc-decrypt",
                "[method]key.hmac-sha256",
                "[method]key.derive",
                "[method]key.expose",
            ],
        )],
    }
}

/// What a component of a kind must export: interfaces with their functions.
pub(super) fn required(kind: Kind) -> [(&'static str, &'static [&'static str]); 2] {
    let own: (&str, &[&str]) = match kind {
        Kind::Validator => ("validation", &["validate"]),
        Kind::Transformer => ("transformation", &["transform"]),
        Kind::Cipher => ("sealing", &["parameters", "seal", "open"]),
    };
    [("lifecycle", &["describe", "configure"]), own]
}

/// Everything that components of a kind may import.
pub(super) fn linker(engine: &Engine, kind: Kind) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    match kind {
        Kind::Validator | Kind::Transformer => {
            log::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
            clock::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
            random::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        }
        Kind::Cipher => crypto::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?,
    }
    Ok(linker)
}

/// A component that is linked, and where its exports are.
#[derive(Clone)]
pub(super) struct Pre {
    instance: InstancePre<State>,
    lifecycle: lifecycle::GuestIndices,
    own: OwnIndices,
}

#[derive(Clone)]
enum OwnIndices {
    Validation(validation::GuestIndices),
    Transformation(transformation::GuestIndices),
    Sealing(sealing::GuestIndices),
}

impl Pre {
    /// Links a component. Checks its imports and their types, and that its exports exist.
    pub(super) fn new(linker: &Linker<State>, component: &Component, kind: Kind) -> wasmtime::Result<Self> {
        let instance = linker.instantiate_pre(component)?;
        let lifecycle = lifecycle::GuestIndices::new(&instance)?;
        let own = match kind {
            Kind::Validator => OwnIndices::Validation(validation::GuestIndices::new(&instance)?),
            Kind::Transformer => OwnIndices::Transformation(transformation::GuestIndices::new(&instance)?),
            Kind::Cipher => OwnIndices::Sealing(sealing::GuestIndices::new(&instance)?),
        };
        Ok(Self { instance, lifecycle, own })
    }

    /// Starts an instance in the store.
    pub(super) fn start(&self, store: &mut Store<State>) -> wasmtime::Result<wasmtime::component::Instance> {
        self.instance.instantiate(store)
    }

    /// Finds the exports of an instance. Checks their types.
    pub(super) fn exports(&self, store: &mut Store<State>, instance: &wasmtime::component::Instance) -> wasmtime::Result<Guest> {
        let lifecycle = self.lifecycle.load(&mut *store, instance)?;
        let own = match &self.own {
            OwnIndices::Validation(indices) => Own::Validation(indices.load(&mut *store, instance)?),
            OwnIndices::Transformation(indices) => Own::Transformation(indices.load(&mut *store, instance)?),
            OwnIndices::Sealing(indices) => Own::Sealing(indices.load(&mut *store, instance)?),
        };
        Ok(Guest { lifecycle, own })
    }
}

/// The exports of one instance.
pub(super) struct Guest {
    lifecycle: lifecycle::Guest,
    own: Own,
}

enum Own {
    Validation(validation::Guest),
    Transformation(transformation::Guest),
    Sealing(sealing::Guest),
}

/// What a guest gave, where the interface has `packed`.
type Parts = Result<Packed, Malformed>;

impl Guest {
    pub(super) fn describe(&self, store: &mut Store<State>) -> wasmtime::Result<RawManifest> {
        let manifest = self.lifecycle.call_describe(store)?;
        Ok(RawManifest {
            name: manifest.name,
            version: manifest.version,
            description: manifest.description,
            reads: manifest.reads,
            settings_schema: manifest.settings_schema,
        })
    }

    pub(super) fn configure(&self, store: &mut Store<State>, settings: &str) -> wasmtime::Result<Result<(), Reason>> {
        Ok(self.lifecycle.call_configure(store, settings)?.map_err(reason))
    }

    pub(super) fn validate(&self, store: &mut Store<State>, batch: &Batch) -> wasmtime::Result<Vec<Rejection>> {
        let Own::Validation(guest) = &self.own else { return Err(another_kind()) };
        let metadata = columns(batch);
        let batch = types::Batch { bodies: (&batch.bodies).into(), metadata: &metadata };
        let taken = batch.size();
        let rejections = guest.call_validate(&mut *store, batch)?;
        store.data_mut().traffic.add(taken, rejections.size());
        Ok(rejections.into_iter().map(Rejection::from).collect())
    }

    pub(super) fn transform(&self, store: &mut Store<State>, batch: &Batch) -> wasmtime::Result<Transformed> {
        let Own::Transformation(guest) = &self.own else { return Err(another_kind()) };
        let metadata = columns(batch);
        let batch = types::Batch { bodies: (&batch.bodies).into(), metadata: &metadata };
        let taken = batch.size();
        let answer = guest.call_transform(&mut *store, batch)?;
        store.data_mut().traffic.add(taken, answer.size());
        Ok(Transformed {
            replaced: answer.replaced,
            bodies: parts(answer.bodies),
            verdicts: answer.verdicts.into_iter().map(Verdict::from).collect(),
        })
    }

    pub(super) fn parameters(&self, store: &mut Store<State>) -> wasmtime::Result<Parameters> {
        let Own::Sealing(guest) = &self.own else { return Err(another_kind()) };
        let parameters = guest.call_parameters(store)?;
        Ok(Parameters {
            cipher: parameters.cipher,
            nonce_bytes: parameters.nonce_bytes as usize,
            key_bytes: parameters.key_bytes as usize,
        })
    }

    pub(super) fn seal(
        &self,
        store: &mut Store<State>,
        key: u32,
        lists: [&Packed; 3],
    ) -> wasmtime::Result<Result<Parts, Reason>> {
        let Own::Sealing(guest) = &self.own else { return Err(another_kind()) };
        let lists = lists.map(types::PackedParam::from);
        let (taken, [nonces, contexts, plain]) = (lists.size(), lists);
        let answer = guest.call_seal(&mut *store, Resource::new_borrow(key), nonces, contexts, plain)?;
        store.data_mut().traffic.add(taken, answer.size());
        Ok(answer.map(parts).map_err(reason))
    }

    pub(super) fn open(
        &self,
        store: &mut Store<State>,
        key: u32,
        lists: [&Packed; 3],
    ) -> wasmtime::Result<Result<Opening, Reason>> {
        let Own::Sealing(guest) = &self.own else { return Err(another_kind()) };
        let lists = lists.map(types::PackedParam::from);
        let (taken, [nonces, contexts, sealed]) = (lists.size(), lists);
        let answer = guest.call_open(&mut *store, Resource::new_borrow(key), nonces, contexts, sealed)?;
        store.data_mut().traffic.add(taken, answer.size());
        Ok(answer.map(Opening::from).map_err(reason))
    }
}

/// Cannot be reached through [`super::Step`], which has one type for each kind.
fn another_kind() -> wasmtime::Error {
    wasmtime::Error::msg("the component is of another kind")
}

fn parts(packed: types::PackedResult) -> Parts {
    Packed::from_parts(packed.bytes, packed.ends)
}

fn reason(reason: types::Reason) -> Reason {
    clean(&reason.code, &reason.message, reason.pointer.as_deref())
}

fn columns(batch: &Batch) -> Vec<types::Column<'_>> {
    batch.metadata.iter().map(|(key, values)| types::Column { key, values: values.into() }).collect()
}

impl<'a> From<&'a Packed> for types::PackedParam<'a> {
    fn from(packed: &'a Packed) -> Self {
        Self { bytes: packed.bytes(), ends: packed.ends() }
    }
}

impl From<Packed> for types::PackedResult {
    fn from(packed: Packed) -> Self {
        let (bytes, ends) = packed.into_parts();
        Self { bytes, ends }
    }
}

impl From<types::Rejection> for Rejection {
    fn from(rejection: types::Rejection) -> Self {
        Self { index: rejection.index, reason: reason(rejection.reason) }
    }
}

impl From<transformation::Verdict> for Verdict {
    fn from(verdict: transformation::Verdict) -> Self {
        let fate = match verdict.fate {
            transformation::Fate::Drop => Verdicted::Drop,
            transformation::Fate::Reject(why) => Verdicted::Reject(reason(why)),
            transformation::Fate::RetryAfter(milliseconds) => Verdicted::RetryAfter(milliseconds),
        };
        Self { index: verdict.index, fate }
    }
}

impl From<sealing::Opening> for Opening {
    fn from(opening: sealing::Opening) -> Self {
        Self { plain: parts(opening.plain), rejected: opening.rejected.into_iter().map(Rejection::from).collect() }
    }
}
