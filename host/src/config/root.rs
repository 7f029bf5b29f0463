//! The top of the file: `[pipeline]`, `[plugins]`, `[admin]`, and the order in which the rest is read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::field::Field;
use super::plan::{Admin, Batch, Plan, Plugins, ReloadPlan, SinkPlan, SourcePlan, StepPlan, TestCase};
use super::problem::Code;
use super::reader::{Context, Reader};
use super::tree::Node;
use super::{cases, rings, sinks, sources, steps};
use crate::keys::KeyRingPlan;
use crate::message::Pointer;
use crate::secret::Secret;

/// A plan that may still lack its source. Where a value was wrong its default stands in: a draft with errors goes no further.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) head: Head,
    pub(super) source: Option<SourcePlan>,
    pub(super) steps: BTreeMap<Arc<str>, StepPlan>,
    pub(super) sinks: Vec<SinkPlan>,
    pub(super) key_rings: BTreeMap<Arc<str>, KeyRingPlan>,
    pub(super) plugins: Plugins,
    pub(super) admin: Admin,
    pub(super) reload: ReloadPlan,
    pub(super) tests: Vec<TestCase>,
}

/// `[pipeline]`.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) name: Arc<str>,
    pub(super) message_id: Option<Pointer>,
    pub(super) through: Vec<Arc<str>>,
    pub(super) batch: Batch,
    pub(super) workers: usize,
    pub(super) drain_timeout: Duration,
}

impl Draft {
    /// The plan; none without a source.
    pub(super) fn finish(self, file: PathBuf) -> Option<Plan> {
        let Self { head, source, steps, sinks, key_rings, plugins, admin, reload, tests } = self;
        let Head { name, message_id, through, batch, workers, drain_timeout } = head;
        let source = source?;
        Some(Plan {
            file,
            name,
            message_id,
            through,
            batch,
            workers,
            drain_timeout,
            source,
            steps,
            sinks,
            key_rings,
            plugins,
            admin,
            reload,
            tests,
        })
    }
}

/// Reads the whole file.
pub(super) fn read(context: &Context<'_>, root: &Node) -> Draft {
    context.read(root, |file| Draft {
        head: file.section("pipeline", head),
        source: sources::read(file),
        steps: steps::read(file),
        sinks: sinks::read(file),
        key_rings: rings::read(file),
        plugins: file.section("plugins", |plugins| self::plugins(plugins, context)),
        admin: file.section("admin", admin),
        reload: file.section("reload", reload),
        tests: cases::read(file),
    })
}

fn head(pipeline: &Reader<'_>) -> Head {
    let name = pipeline.key("name", "pipeline").and_then(|field| {
        let name = field.short_text(63)?;
        field.check_value_is_name(&name).then_some(name)
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = pipeline.key("workers", "the number of cores").and_then(|field| field.count(1..=256));
    Head {
        name: name.map_or_else(|| "pipeline".into(), Arc::from),
        message_id: pipeline.key("message_id", "none").and_then(|field| field.pointer()),
        through: pipeline.names("through"),
        batch: pipeline.section("batch", batch),
        workers: workers.and_then(|workers| usize::try_from(workers).ok()).unwrap_or(cores),
        drain_timeout: pipeline.duration("drain_timeout", Duration::from_secs(20), Duration::ZERO..=Duration::from_secs(3600)),
    }
}

fn batch(batch: &Reader<'_>) -> Batch {
    Batch {
        max_messages: usize::try_from(batch.count("max_messages", 128, 1..=65_535)).unwrap_or(usize::MAX),
        linger: batch.duration("linger", Duration::ZERO, Duration::ZERO..=Duration::from_secs(10)),
    }
}

fn plugins(plugins: &Reader<'_>, context: &Context<'_>) -> Plugins {
    let cache = plugins.key("cache", "tidegate in the user's cache folder").and_then(|field| field.file());
    Plugins { cache: cache.or_else(|| user_cache(context)) }
}

fn user_cache(context: &Context<'_>) -> Option<PathBuf> {
    let folder = |name| context.sources.environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("tidegate"))
}

fn admin(admin: &Reader<'_>) -> Admin {
    Admin { listen: admin.listen(9600), token: admin.key("token", "none").and_then(|field| token(&field)) }
}

/// Shortest token: 16 characters of base64 or hexadecimal are 64 bits at least.
const MIN_TOKEN: usize = 16;

fn token(field: &Field<'_>) -> Option<Secret> {
    if !field.is_all_from_outside() {
        let message = format!("a token in clear: `{}` must not stand in this file", field.path);
        let help =
            "whoever reads the file could reload and roll back: write `\"${VAR}\"` or `\"${file:path}\"`, without a default";
        field.note(Code::KeyInClear, message, help);
        return None;
    }
    let token = field.secret()?;
    let length = token.expose().len();
    if length < MIN_TOKEN || !token.expose().iter().all(u8::is_ascii_graphic) {
        let message = format!("`{}` must have {MIN_TOKEN} printable characters at least, has {length} bytes", field.path);
        field.note(Code::OutOfRange, message, "`openssl rand -hex 32` prints a good one");
        return None;
    }
    Some(token)
}

fn reload(reload: &Reader<'_>) -> ReloadPlan {
    let default = ReloadPlan::default();
    let hour = Duration::from_secs(3600);
    let millis = Duration::from_millis;
    let (preflight_messages, max_new_rejects) = reload.section("preflight", |preflight| {
        let messages = preflight.count("messages", default.preflight_messages as u64, 0..=10_000);
        let rejects = preflight.count("max_new_rejects", default.max_new_rejects, 0..=10_000);
        (usize::try_from(messages).unwrap_or(usize::MAX), rejects)
    });
    ReloadPlan {
        watch: reload.boolean("watch", default.watch),
        settle: reload.duration("settle", default.settle, millis(10)..=millis(10_000)),
        poll: reload.duration("poll", default.poll, millis(100)..=hour),
        rollback_window: reload.duration("rollback_window", default.rollback_window, Duration::ZERO..=24 * hour),
        probation: reload.duration("probation", default.probation, Duration::ZERO..=hour),
        max_error_percent: reload.count("max_error_percent", default.max_error_percent, 1..=100),
        preflight_messages,
        max_new_rejects,
    }
}
