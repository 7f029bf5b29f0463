//! `[sinks.NAME]`: the lane, and the kind under it.

use std::sync::Arc;
use std::time::Duration;

use super::plan::{OnFailure, SinkKind, SinkPlan};
use super::problem::{Code, Problem, enumerate};
use super::profile::SINK_KINDS;
use super::reader::Reader;
use super::sources::{TIMEOUT, only_one};
use super::tree::Value;
use super::{columns, uri};
use crate::sink::{live, postgres, redis, sqlite};

/// Longest name of a table or a column, in bytes: what PostgreSQL keeps of it.
pub(super) const MAX_NAME_BYTES: usize = 63;
const REDIS: &str = "redis://127.0.0.1:6379";

/// Reads the sinks, in file order.
pub(super) fn read(file: &Reader<'_>) -> Vec<SinkPlan> {
    let sinks = file.named("sinks", "NAME", |name, field| {
        if matches!(field.node.value, Value::Boolean(false)) {
            let message = format!("there is no sink `{name}` to remove");
            field.note(Code::UnknownSink, message, "`sinks.NAME = false` in a profile removes a sink of the file");
            return None;
        }
        field.check_name(name);
        field.table(&format!("write `[sinks.{name}.KIND]`"), |sink| self::sink(name, sink)).flatten()
    });
    if !file.has_entries("sinks") {
        let problem = Problem::new(Code::NoSink, "no sink is named").path("sinks");
        file.note(problem.help(format!("add `[sinks.NAME.KIND]`, where the kind is one of {}", enumerate(SINK_KINDS))));
    }
    sinks
}

fn sink(name: &Arc<str>, sink: &Reader<'_>) -> Option<SinkPlan> {
    let (through, on_failure) = (sink.names("through"), on_failure(sink));
    let kinds = [
        sink.optional_section("redis", |kind| SinkKind::Redis(redis(kind))),
        sink.optional_section("postgres", |kind| SinkKind::Postgres(postgres(kind))),
        sink.optional_section("sqlite", |kind| SinkKind::Sqlite(sqlite(kind))),
        sink.optional_section("live", |kind| SinkKind::Live(live(kind))),
    ];
    only_one(sink, &SINK_KINDS, &format!("the sink `{name}`"));
    let kind = kinds.into_iter().flatten().next();
    if kind.is_none() && !sink.has_others() {
        let problem = Problem::new(Code::NoKind, format!("the sink `{name}` has no kind")).path(sink.path());
        let help = format!("add `[sinks.{name}.KIND]`, where the kind is one of {}", enumerate(SINK_KINDS));
        sink.note(sink.placed(problem.help(help)));
    }
    Some(SinkPlan { name: Arc::clone(name), through, on_failure, kind: kind? })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Failing {
    Block,
    Park,
    Discard,
}

fn on_failure(sink: &Reader<'_>) -> OnFailure {
    let words = [("block", Failing::Block), ("park", Failing::Park), ("discard", Failing::Discard)];
    let chosen = sink.word("on_failure", "block", &words, Failing::Block);
    let park_after = sink.duration("park_after", Duration::from_secs(2), Duration::ZERO..=Duration::from_secs(3600));
    if chosen != Failing::Park {
        sink.refuse("park_after", "`park_after` is only for `on_failure = \"park\"`");
    }
    match chosen {
        Failing::Block => OnFailure::Block,
        Failing::Park => OnFailure::Park(park_after),
        Failing::Discard => OnFailure::Discard,
    }
}

fn redis(kind: &Reader<'_>) -> redis::Settings {
    let uri = kind.key("uri", REDIS).and_then(|field| field.uri(&uri::REDIS_SCHEMES));
    redis::Settings {
        uri: uri.unwrap_or_else(|| REDIS.into()),
        ca_file: kind.existing_file("ca_file"),
        mode: mode(kind),
        key: kind.text("key", "send_global_message", 1024),
        timeout: kind.duration("timeout", Duration::from_secs(5), TIMEOUT),
    }
}

fn mode(kind: &Reader<'_>) -> redis::Mode {
    let modes = [("list", "list"), ("set", "set"), ("pubsub", "pubsub"), ("stream", "stream")];
    let mode = kind.word("mode", "list", &modes, "list");
    let cap = 1..=1_000_000_000_000;
    let max_length = kind.key("max_length", "none for list, 1000000 for stream").and_then(|field| field.count(cap));
    let bounds = Duration::from_millis(1)..=Duration::from_secs(366 * 24 * 3600);
    let ttl = kind.key("ttl", "none").and_then(|field| field.duration(bounds));
    if !matches!(mode, "list" | "stream") {
        kind.refuse("max_length", &format!("`max_length` is for `mode = \"list\"` and `\"stream\"`, not for `\"{mode}\"`"));
    }
    if mode != "set" {
        kind.refuse("ttl", &format!("`ttl` is for `mode = \"set\"`, not for `\"{mode}\"`"));
    }
    match mode {
        "set" => redis::Mode::Set { ttl },
        "pubsub" => redis::Mode::PubSub,
        "stream" => redis::Mode::Stream { max_length: max_length.unwrap_or(1_000_000) },
        _ => redis::Mode::List { max_length },
    }
}

fn postgres(kind: &Reader<'_>) -> postgres::Settings {
    let uri = kind.required("uri", "e.g. `uri = \"postgres://user:password@host/database\"`");
    postgres::Settings {
        uri: uri.and_then(|field| field.database_uri()).unwrap_or_else(|| "".into()),
        table: table(kind),
        columns: columns::read(kind),
        idempotent_by: kind.key("idempotent_by", "none").and_then(|field| field.short_text(MAX_NAME_BYTES)),
        require_sealed: require_sealed(kind),
        timeout: kind.duration("timeout", Duration::from_secs(10), TIMEOUT),
    }
}

fn sqlite(kind: &Reader<'_>) -> sqlite::Settings {
    sqlite::Settings {
        file: kind.file("file", "data/messages.db"),
        table: table(kind),
        columns: columns::read(kind),
        idempotent_by: kind.key("idempotent_by", "none").and_then(|field| field.short_text(MAX_NAME_BYTES)),
        require_sealed: require_sealed(kind),
        timeout: kind.duration("timeout", Duration::from_secs(10), TIMEOUT),
    }
}

fn table(kind: &Reader<'_>) -> String {
    let table = kind.key("table", "messages").and_then(|field| {
        let table = field.short_text(2 * MAX_NAME_BYTES + 1)?;
        let parts: Vec<&str> = table.split('.').collect();
        let well = parts.len() <= 2 && parts.iter().all(|part| !part.is_empty() && part.len() <= MAX_NAME_BYTES);
        if !well {
            field.note(Code::BadName, format!("`{}` is no name of a table", field.path), "write \"name\" or \"schema.name\"");
        }
        well.then_some(table)
    });
    table.unwrap_or_else(|| "messages".to_owned())
}

fn require_sealed(kind: &Reader<'_>) -> Vec<String> {
    kind.names("require_sealed").iter().map(ToString::to_string).collect()
}

fn live(kind: &Reader<'_>) -> live::Settings {
    live::Settings {
        listen: kind.listen(9620),
        replay: usize::try_from(kind.count("replay", 100, 0..=100_000)).unwrap_or_default(),
    }
}
