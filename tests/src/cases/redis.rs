//! Redis as a sink: what arrives, and what a failure leaves behind.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Value};
use tidegate::message::{Message, MessageId, NoProperties};
use tidegate::sink::redis::{Mode, RedisSink, Settings};
use tidegate::sink::{Sink, StageError, Written};
use tidegate::telemetry::{Health, Telemetry};
use tidegate_harness::redis::Redis;
use tidegate_harness::service::free_port;

use crate::servers::redis_url;
use crate::store::Key;

const LIST: Mode = Mode::List { max_length: None };
const TIMEOUT: Duration = Duration::from_millis(500);
/// Longest time that a write may take: one wait for the connection, one for the answer, one for the type, and the machine's mood.
const BOUND: Duration = Duration::from_secs(5);

fn message(body: impl AsRef<[u8]>) -> Message {
    Message::new(None, body.as_ref().to_vec().into(), Arc::new(NoProperties))
}

fn batch<B: AsRef<[u8]>>(bodies: impl IntoIterator<Item = B>) -> Vec<Message> {
    bodies.into_iter().map(message).collect()
}

fn settings(url: &str, mode: Mode, key: &str) -> Settings {
    Settings { uri: url.into(), ca_file: None, mode, key: key.to_owned(), timeout: TIMEOUT }
}

fn sink(url: &str, mode: Mode, key: &str) -> RedisSink {
    RedisSink::new(settings(url, mode, key), "sinks.broadcast", Telemetry::default())
}

async fn connect(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// Runs `CONFIG SET`, `ACL SETUSER` and the like.
async fn command(url: &str, words: &str) {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    command.exec_async(&mut connect(url).await).await.unwrap();
}

/// A write that must fail, within the bound.
async fn failure(sink: &mut RedisSink, batch: &[Message]) -> StageError {
    let started = tokio::time::Instant::now();
    let error = sink.write(batch).await.expect_err("the write fails");
    assert!(started.elapsed() < BOUND, "{error} after {:?}", started.elapsed());
    error
}

#[tokio::test]
async fn a_list_holds_the_raw_bytes_in_order() {
    let key = Key::fresh().await;
    let mut sink = sink(&redis_url(), LIST, &key.name);
    let mut bodies: Vec<Vec<u8>> = (0..2000).map(|number| format!("{{\"id\":\"{number}\"}}").into_bytes()).collect();
    bodies.extend([vec![0, 255, b'\r', b'\n', b'"', b'\''], Vec::new(), "'); DROP TABLE messages; --".into(), vec![7; 2 << 20]]);
    for bodies in bodies.chunks(700) {
        sink.write(&batch(bodies)).await.unwrap();
    }
    assert!(key.list().await == bodies, "the list differs from what was written");
    assert!(sink.write(&[]).await.is_ok());
}

#[tokio::test]
async fn a_capped_list_keeps_its_newest() {
    let key = Key::fresh().await;
    let mut sink = sink(&redis_url(), Mode::List { max_length: Some(3) }, &key.name);
    sink.write(&batch(["a", "b"])).await.unwrap();
    sink.write(&batch(["c", "d", "e"])).await.unwrap();
    assert_eq!(key.list().await, [b"c", b"d", b"e"]);
}

#[tokio::test]
async fn a_slot_holds_the_last_and_expires() {
    let key = Key::fresh().await;
    let mut forever = sink(&redis_url(), Mode::Set { ttl: None }, &key.name);
    forever.write(&batch([&b"a"[..], b"\0b"])).await.unwrap();
    let mut connection = key.connection();
    assert_eq!(connection.get::<_, Vec<u8>>(&key.name).await.unwrap(), b"\0b");
    assert_eq!(connection.pttl::<_, i64>(&key.name).await.unwrap(), -1);
    let mut passing = sink(&redis_url(), Mode::Set { ttl: Some(Duration::from_secs(60)) }, &key.name);
    passing.write(&batch(["c"])).await.unwrap();
    assert!((1..=60_000).contains(&connection.pttl::<_, i64>(&key.name).await.unwrap()));
}

#[tokio::test]
async fn what_is_published_is_heard_in_order_and_what_nobody_hears_is_counted() {
    let key = Key::fresh().await;
    let mut sink = sink(&redis_url(), Mode::PubSub, &key.name);
    assert_eq!(sink.write(&batch(["a", "b"])).await.unwrap().unheard, 2);
    let mut subscriber = redis::Client::open(redis_url()).unwrap().get_async_pubsub().await.unwrap();
    subscriber.subscribe(&key.name).await.unwrap();
    assert_eq!(sink.write(&batch(["c", "\0d"])).await.unwrap().unheard, 0);
    let heard: Vec<Vec<u8>> = subscriber.on_message().take(2).map(|message| message.get_payload_bytes().to_vec()).collect().await;
    assert_eq!(heard, [&b"c"[..], b"\0d"]);
}

#[tokio::test]
async fn a_stream_holds_body_and_id_and_is_capped() {
    let key = Key::fresh().await;
    let mut sink = sink(&redis_url(), Mode::Stream { max_length: 100 }, &key.name);
    let mut with_id = message("b");
    with_id.id = MessageId::new("m-1");
    sink.write(&[message("a"), with_id]).await.unwrap();
    let mut connection = key.connection();
    let entries: redis::streams::StreamRangeReply = connection.xrange_all(&key.name).await.unwrap();
    let bytes = |text: &str| Some(Value::BulkString(text.into()));
    let fields: Vec<_> = entries.ids.iter().map(|entry| (entry.map.get("body").cloned(), entry.map.get("id").cloned())).collect();
    assert_eq!(fields, [(bytes("a"), None), (bytes("b"), bytes("m-1"))]);
    sink.write(&batch(vec!["x"; 1000])).await.unwrap();
    // Redis trims whole nodes of a hundred entries.
    assert!(connection.xlen::<_, usize>(&key.name).await.unwrap() < 300);
}

#[tokio::test]
async fn a_key_of_another_type_is_named_and_left_alone() {
    let cases = [
        (LIST, "HSET", "holds a hash, and mode \"list\" needs a list"),
        (Mode::Set { ttl: None }, "HSET", "holds a hash, and mode \"set\" needs a string"),
        (Mode::Stream { max_length: 9 }, "HSET", "holds a hash, and mode \"stream\" needs a stream"),
    ];
    for (mode, make, sentence) in cases {
        let key = Key::fresh().await;
        let mut connection = key.connection();
        redis::cmd(make).arg(&key.name).arg("field").arg("precious").exec_async(&mut connection).await.unwrap();
        let telemetry = Telemetry::default();
        let mut sink = RedisSink::new(settings(&redis_url(), mode, &key.name), "sinks.broadcast", telemetry.clone());
        let error = failure(&mut sink, &batch(["a", "b"])).await;
        assert_eq!((&*error.code, error.needs_operator), ("wrong_type", true));
        assert!(error.message.contains(sentence) && error.message.contains(&key.name), "{error}");
        assert_eq!(telemetry.stages()["sinks.broadcast"], Health::Down(error.message));
        assert_eq!(connection.hget::<_, _, String>(&key.name, "field").await.unwrap(), "precious");
        connection.del::<_, ()>(&key.name).await.unwrap();
        sink.write(&batch(["a", "b"])).await.unwrap();
        assert_eq!(telemetry.stages()["sinks.broadcast"], Health::Up);
    }
}

#[tokio::test]
async fn credentials_and_database_come_from_the_address() {
    let server = Redis::start().unwrap();
    let (open, at) = (server.url(), server.url().replace("redis://", ""));
    command(&open, "ACL SETUSER us@er on >p/w# ~allowed +rpush +select").await;
    let url = format!("redis://us%40er:p%2Fw%23@{at}/3");
    sink(&url, LIST, "allowed").write(&batch(["a"])).await.unwrap();
    assert_eq!(connect(&format!("{open}/3")).await.llen::<_, usize>("allowed").await.unwrap(), 1);

    let error = failure(&mut sink(&url, LIST, "forbidden"), &batch(["secret"])).await;
    assert_eq!((&*error.code, error.needs_operator), ("no_permission", true));
    let error = failure(&mut sink(&format!("redis://us%40er:wrong@{at}"), LIST, "allowed"), &batch(["secret"])).await;
    assert_eq!((&*error.code, error.needs_operator), ("authentication_failed", true));
    assert!(!error.message.contains("wrong") && error.message.contains(&at), "{error}");
    let error = failure(&mut sink(&format!("{open}/99"), LIST, "k"), &batch(["secret"])).await;
    assert_eq!((&*error.code, error.needs_operator), ("refused", true));

    command(&open, "CONFIG SET requirepass needed").await;
    let error = failure(&mut sink(&open, LIST, "k"), &batch(["secret"])).await;
    assert_eq!((&*error.code, error.needs_operator), ("authentication_failed", true));
}

#[tokio::test]
async fn a_stopped_server_fails_at_once_and_is_served_again_when_it_is_back() {
    let mut server = Redis::start().unwrap();
    let key = Key::on(&server.url()).await;
    let mut sink = sink(&server.url(), LIST, &key.name);
    sink.write(&batch(["a"])).await.unwrap();
    server.service.kill().unwrap();
    for _ in 0..3 {
        let error = failure(&mut sink, &batch(["b"])).await;
        assert!(!error.needs_operator && ["connection_refused", "connection_lost"].contains(&&*error.code), "{error}");
    }
    server.service.start().unwrap();
    sink.write(&batch(["b"])).await.unwrap();
    assert_eq!(key.reconnected().await.list().await, [b"a", b"b"]);
}

#[tokio::test]
async fn a_hung_server_is_given_up_in_time_and_served_again_when_it_goes_on() {
    let server = Redis::start().unwrap();
    let key = Key::on(&server.url()).await;
    let mut before = sink(&server.url(), LIST, &key.name);
    before.write(&batch(["a"])).await.unwrap();
    server.service.pause().unwrap();
    // The kernel takes connections for a paused process: the second finds one, and nobody who answers.
    for sink in [&mut before, &mut sink(&server.url(), LIST, &key.name)] {
        let error = failure(sink, &batch(["b"])).await;
        assert_eq!((&*error.code, error.needs_operator), ("timeout", false));
    }
    server.service.resume().unwrap();
    before.write(&batch(["c"])).await.unwrap();
    let list = key.reconnected().await.list().await;
    assert_eq!((list.first(), list.last()), (Some(&b"a".to_vec()), Some(&b"c".to_vec())));
}

#[tokio::test]
async fn a_server_that_takes_no_writes_for_now_is_tried_again() {
    let server = Redis::start().unwrap();
    let key = Key::on(&server.url()).await;
    let mut sink = sink(&server.url(), LIST, &key.name);
    sink.write(&batch(["a"])).await.unwrap();
    let states = [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read_only"),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "out_of_memory"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", "no_replicas"),
    ];
    for (begin, end, code) in states {
        command(&server.url(), begin).await;
        let error = failure(&mut sink, &batch(["secret"])).await;
        assert_eq!((&*error.code, error.needs_operator), (code, false));
        command(&server.url(), end).await;
        let Written { refused, .. } = sink.write(&batch(["b"])).await.unwrap();
        assert!(refused.is_empty());
    }
    assert_eq!(key.list().await, [b"a", b"b", b"b", b"b"]);
}

/// A server that also speaks TLS, under a certificate of its own for `localhost`.
struct Sealed {
    _server: Redis,
    port: u16,
    authority: PathBuf,
    stranger: PathBuf,
}

impl Sealed {
    async fn start() -> Self {
        let (server, port) = (Redis::start().unwrap(), free_port().unwrap());
        let folder = server.service.folder().to_owned();
        for name in ["own", "stranger"] {
            // The server packages depend on openssl: where they are, it is.
            let words = format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout {name}.key -out {name}.pem \
                 -subj /CN=tidegate -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost"
            );
            let made = Command::new("openssl").args(words.split_whitespace()).current_dir(&folder).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let (authority, stranger, key) = (folder.join("own.pem"), folder.join("stranger.pem"), folder.join("own.key"));
        let (certificate, key) = (authority.to_str().unwrap(), key.to_str().unwrap());
        let files = format!("tls-cert-file {certificate} tls-key-file {key} tls-ca-cert-file {certificate}");
        command(&server.url(), &format!("CONFIG SET {files} tls-auth-clients no tls-port {port}")).await;
        Self { _server: server, port, authority, stranger }
    }
}

#[tokio::test]
async fn an_encrypted_server_must_prove_who_it_is() {
    let server = Sealed::start().await;
    let trusting = |host: &str, ca_file: Option<&PathBuf>| {
        let url = format!("rediss://{host}:{}", server.port);
        let ca_file = ca_file.cloned();
        RedisSink::new(Settings { ca_file, ..settings(&url, LIST, "k") }, "sinks.broadcast", Telemetry::default())
    };
    trusting("localhost", Some(&server.authority)).write(&batch(["a"])).await.unwrap();
    // Another authority, the system's authorities, and a certificate that is not for this name.
    for (host, ca_file) in [("localhost", Some(&server.stranger)), ("localhost", None), ("127.0.0.1", Some(&server.authority))] {
        let error = failure(&mut trusting(host, ca_file), &batch(["secret"])).await;
        assert_eq!((&*error.code, error.needs_operator), ("tls", true), "{host} {ca_file:?}: {error}");
    }
}
