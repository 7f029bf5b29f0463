//! Every key of the shipped file is changed once, and exactly that comes out, with its class.

use super::reference_tests::uncommented;
use super::*;

/// The shipped file and its keys that are not in use, so that each can be changed; what excludes each other is left out.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("target/plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        for name in ["validate-message", "reshape", "aes-256-gcm"] {
            std::fs::write(plugins.join(name).with_extension("wasm"), name).unwrap();
        }
        std::fs::create_dir_all(folder.path().join("data")).unwrap();
        std::fs::write(folder.path().join("data/keys.toml"), "").unwrap();
        Self { folder }
    }

    fn load(&self, text: &str, profile: Option<&str>) -> Loaded {
        let environment = Environment::of(&[("TIDEGATE_ADMIN_TOKEN", "0123456789abcdef"), ("OTHER", "fedcba9876543210")]);
        let options = Options { profile: profile.map(str::to_owned), environment, ..Options::default() };
        let text = Text::new(self.folder.path().join("pipeline.toml"), text);
        load_text(text, &options).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// What changes between two texts: key and class.
    fn changes(&self, old: &str, new: &str, profile: Option<&str>) -> Vec<(String, Class)> {
        let changes = diff(&self.load(old, profile), &self.load(new, profile)).unwrap();
        changes.into_iter().map(|change| (change.key, change.class)).collect()
    }
}

const SHIPPED: &str = include_str!("../../../pipeline.toml");

#[test]
fn no_key_of_the_shipped_file_is_without_a_class() {
    let catalogue = catalogue(&uncommented(), &Options::default()).unwrap();
    let without: Vec<&str> = catalogue.keys().map(|(key, _)| key).filter(|key| Class::of(key).is_none()).collect();
    assert_eq!(without, Vec::<&str>::new());
    assert_eq!(Class::of("pipeline.unheard_of"), None);
    assert_eq!(Class::of("unheard_of"), None);
}

#[test]
fn prose_order_and_written_defaults_are_no_change() {
    let bench = Bench::new();
    let written = SHIPPED
        .replace("#drain_timeout = \"20s\"", "drain_timeout = \"20000ms\"")
        .replace("#prefetch = 2048", "prefetch = 2048")
        .replace("#limits.memory = \"64MiB\"", "limits.memory = 67108864")
        .replace("#through = []", "through = []")
        .replace("# The pipeline as a whole", "# Another heading");
    assert_ne!(written, SHIPPED);
    assert_eq!(bench.changes(SHIPPED, &written, None), []);
}

#[test]
fn each_edit_is_told_as_itself_with_its_class() {
    use Class::{Live, Reconnect, Restart, StepSwap};
    let bench = Bench::new();
    for (profile, from, to, key, class) in [
        (None, "name = \"broadcast\"", "name = \"other\"", "pipeline.name", Restart),
        (None, "\nthrough = [\"validate\"]", "\nthrough = []", "pipeline.through", StepSwap),
        (None, "message_id = \"/publisher_information/message_id\"", "message_id = \"/id\"", "pipeline.message_id", StepSwap),
        (None, "#workers = 4", "workers = 3", "pipeline.workers", StepSwap),
        (None, "#drain_timeout = \"20s\"", "drain_timeout = \"5s\"", "pipeline.drain_timeout", Live),
        (None, "#batch.max_messages = 128", "batch.max_messages = 64", "pipeline.batch.max_messages", Live),
        (None, "#batch.linger = \"5ms\"", "batch.linger = \"5ms\"", "pipeline.batch.linger", Live),
        (None, "amqp://guest:guest@127.0.0.1", "amqp://guest:other@127.0.0.1", "source.rabbitmq.uri", Reconnect),
        (None, "queue = \"message_broadcast_queue\"", "queue = \"q\"", "source.rabbitmq.queue", Reconnect),
        (None, "#prefetch = 2048", "prefetch = 1024", "source.rabbitmq.prefetch", Reconnect),
        (None, "#heartbeat = \"10s\"", "heartbeat = \"9s\"", "source.rabbitmq.heartbeat", Reconnect),
        (None, "#timeout = \"10s\"", "timeout = \"9s\"", "source.rabbitmq.timeout", Reconnect),
        (None, "#max_backoff = \"5s\"", "max_backoff = \"4s\"", "source.rabbitmq.max_backoff", Reconnect),
        (None, "aes-256-gcm.wasm", "reshape.wasm", "steps.seal.plugin", StepSwap),
        (None, "content_max_bytes = 65536", "content_max_bytes = 9", "steps.validate.settings.content_max_bytes", StepSwap),
        (None, "#on_error = \"reject\"", "on_error = \"halt\"", "steps.validate.on_error", StepSwap),
        (None, "#limits.timeout = \"1s\"", "limits.timeout = \"2s\"", "steps.validate.limits.timeout", StepSwap),
        (None, "#expose_key = false", "expose_key = true", "steps.seal.expose_key", StepSwap),
        (None, "on_failure = \"park\"\n\n#", "on_failure = \"block\"\n\n#", "sinks.broadcast.on_failure", Live),
        (None, "#park_after = \"2s\"", "park_after = \"1s\"", "sinks.broadcast.park_after", Live),
        (None, "mode = \"list\"", "mode = \"pubsub\"", "sinks.broadcast.redis.mode", Reconnect),
        (None, "key = \"send_global_message\"", "key = \"other\"", "sinks.broadcast.redis.key", Reconnect),
        (None, "#max_length = 100000", "max_length = 9", "sinks.broadcast.redis.max_length", Reconnect),
        (None, "[\"reshape\", \"seal\"]", "[\"seal\"]", "sinks.history.through", StepSwap),
        (None, "table = \"messages\"", "table = \"others\"", "sinks.history.postgres.table", Reconnect),
        (None, "\nsub_id = \"/sub_id\"", "\nsub_id = \"/id\"", "sinks.history.postgres.columns.sub_id", Reconnect),
        (None, "create = true", "create = false", "key_rings.messages.create", StepSwap),
        (None, "#[plugins]", "[plugins]\ncache = \"elsewhere\"", "plugins.cache", Restart),
        (None, "#[admin]", "[admin]\nlisten = \"127.0.0.1:1\"", "admin.listen", Restart),
        (None, "#[admin]", "[admin]\ntoken = \"${OTHER}\"", "admin.token", Restart),
        (None, "#[reload]", "[reload]\npoll = \"1s\"", "reload.poll", Live),
        (None, "#[reload]", "[reload]\npreflight.messages = 7", "reload.preflight.messages", Live),
        (Some("embedded"), "#replay = 100", "replay = 99", "sinks.broadcast.live.replay", Reconnect),
        (Some("embedded"), "listen = \"127.0.0.1:9610\"", "listen = \"127.0.0.1:9\"", "source.http.listen", Reconnect),
        (Some("embedded"), "journal = \"data\"", "journal = \"other\"", "source.http.journal", Reconnect),
        (Some("embedded"), "file = \"data/messages.db\"", "file = \"b.db\"", "sinks.history.sqlite.file", Reconnect),
    ] {
        let edited = SHIPPED.replacen(from, to, 1);
        assert_ne!(edited, SHIPPED, "{from}");
        let changes = bench.changes(SHIPPED, &edited, profile);
        assert!(changes.iter().any(|(changed, of)| changed == key && *of == class), "{key}: {changes:?}");
        assert!(changes.iter().all(|(_, of)| *of == class), "{key}: {changes:?}");
    }
}

#[test]
fn tables_that_come_and_go_are_one_change_each() {
    let bench = Bench::new();
    let more = format!(
        "{SHIPPED}\n[sinks.archive.redis]\nkey = \"archive\"\n[steps.more]\nplugin = \"target/plugins/reshape.wasm\"\n\
         [[test]]\nname = \"one more\"\ninput = \"x\"\nexpect.drop = true\n"
    );
    let expected = [
        ("sinks.archive".to_owned(), Class::Reconnect),
        ("steps.more".to_owned(), Class::StepSwap),
        ("test".to_owned(), Class::Live),
    ];
    assert_eq!(bench.changes(SHIPPED, &more, None), expected);
    assert_eq!(bench.changes(&more, SHIPPED, None), expected);
    let changes = diff(&bench.load(SHIPPED, None), &bench.load(&more, None)).unwrap();
    assert_eq!((changes[0].from.as_deref(), changes[0].to.as_deref()), (None, Some("redis")));
    assert_eq!(reopened_sinks(&changes), BTreeSet::new(), "a sink that came is not opened anew");
    assert!(!reopens_source(&changes));
}

#[test]
fn another_kind_of_source_and_sink_is_told_as_what_went_and_what_came() {
    let bench = Bench::new();
    let (old, new) = (bench.load(SHIPPED, None), bench.load(SHIPPED, Some("embedded")));
    let changes = diff(&old, &new).unwrap();
    let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "sinks.broadcast.live",
            "sinks.broadcast.redis",
            "sinks.history.postgres",
            "sinks.history.sqlite",
            "source.http",
            "source.rabbitmq"
        ]
    );
    assert!(reopens_source(&changes));
    assert_eq!(reopened_sinks(&changes), BTreeSet::from(["broadcast".into(), "history".into()]));
}

#[test]
fn the_content_of_a_file_that_a_key_names_is_part_of_the_key() {
    let bench = Bench::new();
    let old = bench.load(SHIPPED, None);
    std::fs::write(bench.folder.path().join("target/plugins/reshape.wasm"), "another").unwrap();
    let changes = diff(&old, &bench.load(SHIPPED, None)).unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!((changes[0].key.as_str(), changes[0].class), ("steps.reshape.plugin", Class::StepSwap));
    assert!(changes[0].to.as_ref().unwrap().starts_with("target/plugins/reshape.wasm (sha256:"), "{changes:?}");
    assert_ne!(changes[0].from, changes[0].to);
}

#[test]
fn what_comes_from_outside_is_compared_and_never_shown() {
    let bench = Bench::new();
    let with = |uri: &str| SHIPPED.replace("${REDIS_URL:-redis://127.0.0.1:6379}", uri);
    let shown =
        |old: &str, new: &str| format!("{:?}", diff(&bench.load(&with(old), None), &bench.load(&with(new), None)).unwrap());
    for (old, new) in [("${A:-redis://u:s3cret@h}", "${A:-redis://u:s3cret2@h}"), ("redis://u:s3cret@h", "redis://u:s3cret2@h")] {
        let shown = shown(old, new);
        assert!(shown.contains("sinks.broadcast.redis.uri") && !shown.contains("s3cret"), "{shown}");
    }
}
