//! `[source.KIND]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::plan::SourcePlan;
use super::problem::{Code, Problem, enumerate};
use super::profile::SOURCE_KINDS;
use super::reader::Reader;
use crate::source::{http, rabbitmq};

/// Bounds of a time to wait for an answer.
pub(super) const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);
/// Longest name of a queue, in bytes: an AMQP name has 255, and `.parked.` and the longest name of a sink must fit behind it.
const MAX_QUEUE_BYTES: usize = 255 - ".parked.".len() - 63;
const QUEUE: &str = "message_broadcast_queue";

/// Reads the source. None, and a problem, unless there is exactly one.
pub(super) fn read(file: &Reader<'_>) -> Option<SourcePlan> {
    file.section("source", |source| {
        let rabbitmq = source.optional_section("rabbitmq", |kind| SourcePlan::RabbitMq(rabbitmq(kind)));
        let http = source.optional_section("http", |kind| SourcePlan::Http(http(kind)));
        only_one(source, &SOURCE_KINDS, "the source");
        if rabbitmq.is_none() && http.is_none() && !source.has_others() {
            let problem = Problem::new(Code::NoSource, "no source is named").path("source");
            source.note(problem.help(format!("add `[source.KIND]`, where the kind is one of {}", enumerate(SOURCE_KINDS))));
        }
        rabbitmq.or(http)
    })
}

/// Notes a second kind where one may stand.
pub(super) fn only_one(reader: &Reader<'_>, kinds: &[&str], what: &str) {
    let mut named: Vec<_> = kinds.iter().filter_map(|kind| Some((reader.key_span(kind)?, *kind))).collect();
    named.sort_by_key(|(span, _)| span.offset);
    if let [(first, one), (second, other), ..] = named.as_slice() {
        let problem = Problem::new(Code::SeveralKinds, format!("{what} is both `{one}` and `{other}`"));
        let problem = problem.at(*second).path(reader.path().key(other)).earlier(Some(*first), "here first");
        reader.note(problem.help("keep one; a profile that names another kind takes its place"));
    }
}

fn rabbitmq(kind: &Reader<'_>) -> rabbitmq::Settings {
    let uri = kind.required("uri", "e.g. `uri = \"amqp://user:password@host:5672/%2f\"`");
    rabbitmq::Settings {
        uri: uri.and_then(|field| field.uri(&["amqp", "amqps"])).unwrap_or_else(|| "".into()),
        ca_file: kind.existing_file("ca_file"),
        queue: kind.text("queue", QUEUE, MAX_QUEUE_BYTES),
        prefetch: prefetch(kind),
        max_in_flight_bytes: max_in_flight_bytes(kind),
        heartbeat: kind.duration("heartbeat", Duration::from_secs(10), Duration::from_secs(1)..=Duration::from_secs(600)),
        timeout: kind.duration("timeout", Duration::from_secs(10), TIMEOUT),
        max_backoff: kind.duration("max_backoff", Duration::from_secs(5), Duration::from_millis(100)..=Duration::from_secs(600)),
    }
}

fn prefetch(kind: &Reader<'_>) -> u16 {
    u16::try_from(kind.count("prefetch", 2048, 1..=u64::from(u16::MAX))).unwrap_or(u16::MAX)
}

fn max_in_flight_bytes(kind: &Reader<'_>) -> usize {
    usize::try_from(kind.size("max_in_flight_bytes", 256 << 20, 1..=1 << 40)).unwrap_or(usize::MAX)
}

fn http(kind: &Reader<'_>) -> http::Settings {
    let max_body = kind.size("max_body_bytes", 16 << 20, 1..=1 << 30);
    http::Settings {
        listen: kind.listen(9610),
        journal: kind.file("journal", "data"),
        queue: kind.text("queue", QUEUE, MAX_QUEUE_BYTES),
        prefetch: prefetch(kind),
        max_in_flight_bytes: max_in_flight_bytes(kind),
        max_body_bytes: usize::try_from(max_body).unwrap_or(usize::MAX),
        max_waiting: kind.count("max_waiting", 1_000_000, 1..=1_000_000_000_000),
    }
}
