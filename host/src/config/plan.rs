//! What one pipeline.toml means, with every name resolved and every default filled in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::keys::KeyRingPlan;
use crate::message::Pointer;
use crate::plugin::{Grants, Limits};
use crate::secret::Secret;
use crate::{sink, source};

/// One pipeline.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file it came from.
    pub file: PathBuf,
    /// `pipeline.name`. Default: `pipeline`.
    pub name: Arc<str>,
    /// `pipeline.message_id`: where the body holds the message id, for messages whose source gave none. Default: none.
    pub message_id: Option<Pointer>,
    /// `pipeline.through`: steps before the fan-out, in order. Default: none.
    pub through: Vec<Arc<str>>,
    /// `pipeline.batch`: how batches are cut.
    pub batch: Batch,
    /// `pipeline.workers`: batches that are in the steps at one time, where those take longer than a short turn. Default: the number of cores.
    pub workers: usize,
    /// `pipeline.drain_timeout`: longest wait for what is in flight when stopping. Default: 20s.
    pub drain_timeout: Duration,
    /// `[source.…]`.
    pub source: SourcePlan,
    /// `[steps.NAME]`.
    pub steps: BTreeMap<Arc<str>, StepPlan>,
    /// `[sinks.NAME]`, in file order.
    pub sinks: Vec<SinkPlan>,
    /// `[key_rings.NAME]`.
    pub key_rings: BTreeMap<Arc<str>, KeyRingPlan>,
    /// `[plugins]`.
    pub plugins: Plugins,
    /// `[admin]`.
    pub admin: Admin,
    /// `[reload]`.
    pub reload: ReloadPlan,
    /// `[[test]]`.
    pub tests: Vec<TestCase>,
}

impl Plan {
    /// Every place of a body that the host itself reads behind the first step: what is sealed, and what becomes a column.
    pub fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        let sealed = self.steps.values().filter_map(|step| Some(&step.seal.as_ref()?.field));
        sealed.chain(self.sinks.iter().flat_map(|sink| sink.kind.columns()).filter_map(|column| column.value.pointer()))
    }
}

/// `[pipeline.batch]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Most messages of a batch. Default: 128.
    pub max_messages: usize,
    /// How long a batch that is not full waits for more. Default: 0s.
    pub linger: Duration,
}

/// The source.
#[derive(Clone, Debug, PartialEq)]
pub enum SourcePlan {
    /// `[source.rabbitmq]`.
    RabbitMq(source::rabbitmq::Settings),
    /// `[source.http]`.
    Http(source::http::Settings),
}

/// `[steps.NAME]`.
#[derive(Clone, Debug)]
pub struct StepPlan {
    /// Its name.
    pub name: Arc<str>,
    /// `plugin`: the component's file, relative to pipeline.toml. Required.
    pub plugin: PathBuf,
    /// `sha256`: the digest it must have, 64 hexadecimal digits. Default: any.
    pub sha256: Option<String>,
    /// `settings`: a table for the plugin's `configure`. Default: empty.
    pub settings: serde_json::Value,
    /// `on_error`: what a failure of the step (not a rejection) means. Default: `reject`.
    pub on_error: OnError,
    /// `limits`.
    pub limits: Limits,
    /// `grant = ["clock", "random"]` and `expose_key`. Default: nothing.
    pub grants: Grants,
    /// `field`, `key_ring` and `format`: what a cipher step seals. Required for a cipher, refused for others.
    pub seal: Option<SealPlan>,
    /// Where the step stands in the file, for problems that show only when its plugin is loaded: the offset and length of its `plugin` value and of each of its
    /// settings by JSON pointer (`""` is the settings as a whole).
    pub spans: StepSpans,
}

/// Byte spans (offset, length) of a step in its file.
#[derive(Clone, Debug, Default)]
pub struct StepSpans {
    /// The header or key that declares the step.
    pub step: (usize, usize),
    /// The value of `plugin`.
    pub plugin: (usize, usize),
    /// Each setting by JSON pointer.
    pub settings: BTreeMap<String, (usize, usize)>,
}

/// What a cipher step seals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealPlan {
    /// `field`: JSON pointer of the field. Required.
    pub field: Pointer,
    /// `key_ring`: name of the ring. Required.
    pub key_ring: Arc<str>,
    /// `format`: how it is written. Default: `tg1`.
    pub format: SealFormat,
}

/// How sealed content is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SealFormat {
    /// `tg1.<cipher>.<key id>.<payload>`.
    #[default]
    Tg1,
    /// As the original does: bare base64 of AES-256-CBC under the ring's static initialization vector, not authenticated.
    Original,
}

/// What a step's failure means for the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It is dead-lettered.
    #[default]
    Reject,
    /// It goes on unchanged.
    Pass,
    /// The pipeline stops taking.
    Halt,
}

/// `[sinks.NAME]`. `through`, `on_failure` and `park_after` may stand in the table of the kind as well: `[sinks.NAME.KIND]`.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// Its name, and its lane's.
    pub name: Arc<str>,
    /// `through`: steps of this sink alone, in order. Default: none.
    pub through: Vec<Arc<str>>,
    /// `on_failure`. Default: `block`.
    pub on_failure: OnFailure,
    /// `[sinks.NAME.KIND]`.
    pub kind: SinkKind,
}

/// What a sink's failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Retry for ever, hold the window.
    Block,
    /// After this long (`park_after`, default 2s), or once half of the source's window waits, put the messages on the sink's parking queue and go on.
    /// An attempt that takes so long is not given up, but nobody waits for it; it has a second in any case.
    Park(Duration),
    /// Count and log.
    Discard,
}

/// A sink's protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    /// `[sinks.NAME.redis]`.
    Redis(sink::redis::Settings),
    /// `[sinks.NAME.postgres]`.
    Postgres(sink::postgres::Settings),
    /// `[sinks.NAME.sqlite]`.
    Sqlite(sink::sqlite::Settings),
    /// `[sinks.NAME.live]`.
    Live(sink::live::Settings),
}

impl SinkKind {
    /// The columns of one that writes rows.
    fn columns(&self) -> &[sink::columns::Column] {
        match self {
            Self::Postgres(settings) => &settings.columns,
            Self::Sqlite(settings) => &settings.columns,
            Self::Redis(_) | Self::Live(_) => &[],
        }
    }
}

/// `[plugins]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugins {
    /// `plugins.cache`: folder for compiled code, which only the host may write. Default: `tidegate` in the user's cache folder
    /// (`XDG_CACHE_HOME`, else `~/.cache`); none where neither is set.
    pub cache: Option<PathBuf>,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `admin.listen`: address of the admin HTTP. Default: `127.0.0.1:9600`.
    pub listen: SocketAddr,
    /// `admin.token`: what `tidegate reload`, `rollback` and `plan` must show. Where there is none, they are answered on a loopback
    /// address only. Default: none.
    pub token: Option<Secret>,
}

/// `[reload]`: how changes come in while the pipeline runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadPlan {
    /// `reload.watch`: whether saved files are taken up by themselves. Default: true.
    pub watch: bool,
    /// `reload.settle`: how long files must have stayed the same before they are read. Default: 200ms.
    pub settle: Duration,
    /// `reload.poll`: how often the contents are compared, for file systems that tell nothing. Default: 5s.
    pub poll: Duration,
    /// `reload.rollback_window`: how long the generation before is kept ready. Default: 10m.
    pub rollback_window: Duration,
    /// `reload.probation`: how long a new generation is watched after a swap; zero: not at all. Default: 30s.
    pub probation: Duration,
    /// `reload.max_error_percent`: during the probation, a new generation that refuses a share of its messages that is this many
    /// percentage points above the one before is rolled back. Default: 5.
    pub max_error_percent: u64,
    /// `reload.preflight.messages`: how many of the last messages go through old and new before a swap; 0: none. Default: 100.
    pub preflight_messages: usize,
    /// `reload.preflight.max_new_rejects`: how many of them the new generation may refuse that the old one let pass. Default: 0.
    pub max_new_rejects: u64,
}

impl Default for ReloadPlan {
    fn default() -> Self {
        Self {
            watch: true,
            settle: Duration::from_millis(200),
            poll: Duration::from_secs(5),
            rollback_window: Duration::from_secs(600),
            probation: Duration::from_secs(30),
            max_error_percent: 5,
            preflight_messages: 100,
            max_new_rejects: 0,
        }
    }
}

/// `[[test]]`: a message that goes through the real steps when the file is checked, and what must become of it.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// `name`. Required.
    pub name: String,
    /// `input` (text) or `input_base64`: the body. Required.
    pub input: Vec<u8>,
    /// `message_id`. Default: none.
    pub message_id: Option<String>,
    /// `expect`. Required.
    pub expect: Expect,
    /// Where the case stands in its file.
    pub span: (usize, usize),
}

/// What must become of a test case's message. What is not named is not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// `expect.deliver`: it reaches the sinks. Per sink (`expect.deliver.NAME`), values by JSON pointer, or the word `sealed`:
    /// `expect.deliver.history = { "/message/server_name" = "MainServer", "/message/content" = { sealed = true } }`; a sink without
    /// comparisons is `expect.deliver = ["broadcast", "history"]`.
    Deliver(BTreeMap<Arc<str>, Vec<(Pointer, Expected)>>),
    /// `expect.dead_letter = { step = "validate", code = "…", pointer = "/id" }`.
    DeadLetter {
        /// The step that rejects it.
        step: Arc<str>,
        /// The reason's code.
        code: Option<String>,
        /// The reason's pointer.
        pointer: Option<Pointer>,
    },
    /// `expect.drop = true`.
    Drop,
}

/// What a test case expects at a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This JSON value.
    Value(serde_json::Value),
    /// Nothing there.
    Missing,
    /// Sealed by the host.
    Sealed,
}
