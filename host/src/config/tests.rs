//! Broken files, and what a stranger is told about each.

use std::path::PathBuf;

use super::*;

/// A folder with a few files, and a pipeline.toml in it that is not written to disk.
pub(super) struct Bench {
    folder: tempfile::TempDir,
    options: Options,
}

/// A whole file; each test breaks one line of it.
pub(super) const WELL: &str = r#"[pipeline]
through = ["validate"]
message_id = "/publisher_information/message_id"

[source.rabbitmq]
uri = "${AMQP_URL:-amqp://guest:guest@127.0.0.1:5672/%2f}"
prefetch = 2048

[steps.validate]
plugin = "validate.wasm"

[steps.seal]
plugin = "seal.wasm"
field = "/message/content"
key_ring = "messages"

[sinks.broadcast]
on_failure = "park"
[sinks.broadcast.redis]
mode = "list"

[sinks.history]
through = ["seal"]
on_failure = "park"
park_after = "2s"
[sinks.history.postgres]
uri = "${DATABASE_URL}"
idempotent_by = "source_message_id"
require_sealed = ["message_content"]
[sinks.history.postgres.columns]
id = "/id"
message_content = "/message/content"
source_message_id = { metadata = "message-id" }

[key_rings.messages]
active = "k1"
keys.k1.key = "${MESSAGES_KEY}"

[[test]]
name = "a message without id is dead-lettered"
input = '{"sub_id":"s"}'
expect.dead_letter = { step = "validate", pointer = "/id" }
"#;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for plugin in ["validate.wasm", "seal.wasm"] {
            std::fs::write(folder.path().join(plugin), "").unwrap();
        }
        let environment = Environment::of(&[("DATABASE_URL", "postgres://u:s3cret@db/rtmc"), ("MESSAGES_KEY", KEY)]);
        Self { folder, options: Options { profile: None, environment } }
    }

    fn with_profile(profile: &str) -> Self {
        let mut bench = Self::new();
        bench.options.profile = Some(profile.to_owned());
        bench
    }

    fn with_variables(variables: &[(&str, &str)]) -> Self {
        let mut bench = Self::new();
        bench.options.environment = Environment::of(variables);
        bench
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("pipeline.toml")
    }

    fn load(&self, text: &str) -> Result<Loaded, Problems> {
        load_text(Text::new(self.file(), text), &self.options)
    }

    /// The report on a text, without the name of the folder of this run.
    fn report(&self, text: &str) -> String {
        let report = self.load(text).map_or_else(
            |problems| problems.render(Look::Plain { width: 100 }),
            |loaded| Problems::new(loaded.text, loaded.warnings).render(Look::Plain { width: 100 }),
        );
        report.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

/// The report on the whole file with one piece replaced.
fn broken(piece: &str, by: &str) -> String {
    assert!(WELL.contains(piece), "{piece}");
    Bench::new().report(&WELL.replacen(piece, by, 1))
}

fn codes(problems: &Problems) -> Vec<String> {
    problems.list().iter().map(|problem| problem.code.to_string()).collect()
}

#[test]
fn the_whole_file_is_taken_without_a_word() {
    assert_eq!(Bench::new().report(WELL), "");
}

/// Every broken file in one place: what was done to the whole file, and the report.
#[test]
fn every_broken_file_is_explained() {
    let cases: &[(&str, &str, &str)] = &[
        ("a_typo_in_a_key", "prefetch = 2048", "prefetchh = 2048"),
        ("a_key_in_the_wrong_table", "[pipeline]\n", "[pipeline]\nprefetch = 1\n"),
        ("a_typo_in_a_table", "[sinks.broadcast.redis]", "[sinks.broadcast.reddis]"),
        ("a_wrong_type", "prefetch = 2048", "prefetch = \"many\""),
        ("a_string_for_a_list", "through = [\"seal\"]", "through = \"seal\""),
        ("a_missing_plugin", "\"validate.wasm\"", "\"validte.wasm\""),
        ("a_missing_key", "plugin = \"validate.wasm\"\n", ""),
        ("an_unknown_step", "[\"validate\"]", "[\"valdate\"]"),
        ("a_step_twice_on_the_way", "[\"seal\"]", "[\"validate\", \"seal\", \"seal\"]"),
        ("a_bad_pointer", "field = \"/message/content\"", "field = \"message.content\""),
        ("an_unset_variable", "${DATABASE_URL}", "${DATABASE_URI}"),
        ("an_open_interpolation", "${DATABASE_URL}", "${DATABASE_URL"),
        ("two_sources", "[steps.validate]", "[source.http]\n\n[steps.validate]"),
        ("two_kinds", "[sinks.history]", "[sinks.broadcast.live]\n\n[sinks.history]"),
        ("a_bad_duration", "\"2s\"", "\"2 sceonds\""),
        ("a_duration_without_unit", "\"2s\"", "2"),
        ("a_prefetch_below_the_batch", "prefetch = 2048", "prefetch = 64"),
        ("a_prefetch_of_zero", "prefetch = 2048", "prefetch = 0"),
        ("a_key_in_clear", "\"${MESSAGES_KEY}\"", "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\""),
        ("a_key_in_clear_as_default", "${MESSAGES_KEY}", "${MESSAGES_KEY:-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=}"),
        ("a_bad_socket_address", "[steps.validate]", "[admin]\nlisten = \"localhost:9600\"\n\n[steps.validate]"),
        ("an_unknown_key_ring", "key_ring = \"messages\"", "key_ring = \"mesages\""),
        ("an_unknown_active_key", "active = \"k1\"", "active = \"k2\""),
        ("an_unterminated_string", "\"validate.wasm\"", "\"validate.wasm"),
        ("a_missing_equals_sign", "prefetch = 2048", "prefetch 2048"),
        ("a_table_twice", "[steps.seal]", "[steps.validate]"),
        ("a_key_twice", "prefetch = 2048", "prefetch = 2048\nprefetch = 1"),
        ("an_unknown_mode", "\"list\"", "\"lists\""),
        ("a_cap_that_the_mode_has_not", "mode = \"list\"", "mode = \"set\"\nmax_length = 10"),
        ("a_time_to_live_that_the_mode_has_not", "mode = \"list\"", "ttl = \"1h\""),
        ("park_after_without_parking", "on_failure = \"park\"\npark_after", "on_failure = \"discard\"\npark_after"),
        ("an_unmapped_sealed_column", "[\"message_content\"]", "[\"content\"]"),
        ("a_sealed_column_that_nothing_seals", "through = [\"seal\"]", "through = []"),
        ("an_unmapped_id_column", "\"source_message_id\"", "\"message_id\""),
        ("an_unknown_metadata_key", "\"message-id\"", "\"message_id\""),
        ("a_column_of_two_minds", "{ metadata = \"message-id\" }", "{ metadata = \"message-id\", constant = \"x\" }"),
        ("an_empty_expectation", "expect.dead_letter = { step = \"validate\", pointer = \"/id\" }", "expect = {}"),
        ("no_expectation", "expect.dead_letter = { step = \"validate\", pointer = \"/id\" }", "expect.deliver = []"),
        ("an_unknown_step_in_a_test", "step = \"validate\", p", "step = \"valid\", p"),
        (
            "an_unknown_sink_in_a_test",
            "expect.dead_letter = { step = \"validate\", pointer = \"/id\" }",
            "expect.deliver = [\"histroy\"]",
        ),
        ("a_name_against_the_grammar", "[steps.validate]", "[steps.Validate]"),
        ("a_bad_uri", "${AMQP_URL:-amqp://", "${AMQP_URL:-http://"),
        ("half_a_cipher_step", "key_ring = \"messages\"\n", ""),
        ("a_bad_digest", "plugin = \"seal.wasm\"", "plugin = \"seal.wasm\"\nsha256 = \"abc\""),
        ("a_bad_size", "plugin = \"seal.wasm\"", "plugin = \"seal.wasm\"\nlimits.memory = \"64 mega\""),
        ("a_removed_sink_that_is_none", "[key_rings.messages]", "[sinks]\nlive = false\n\n[key_rings.messages]"),
    ];
    let gallery = cases.iter().map(|(name, piece, by)| format!("=== {}\n\n{}\n", name.replace('_', " "), broken(piece, by)));
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("broken_files", gallery.collect::<String>());
    });
}

#[test]
fn a_file_with_nothing_in_it_is_told_all_that_it_lacks() {
    insta::assert_snapshot!(Bench::new().report(""), @r#"
    no_source

      × no source is named
      help: add `[source.KIND]`, where the kind is one of `rabbitmq` and `http`

    no_sink

      × no sink is named
      help: add `[sinks.NAME.KIND]`, where the kind is one of `redis`, `postgres`, `sqlite` and `live`

    pipeline.toml: 2 errors
    "#);
}

#[test]
fn every_problem_is_told_at_once_and_in_file_order() {
    let text = WELL
        .replace("prefetch = 2048", "prefetch = \"x\"")
        .replace("mode = \"list\"", "mode = 1\nextra = 2")
        .replace("\"2s\"", "\"2\"");
    let problems = Bench::new().load(&text).unwrap_err();
    assert_eq!(codes(&problems), ["wrong_type", "wrong_type", "unknown_key", "bad_duration"]);
    let offsets: Vec<_> = problems.list().iter().map(|problem| problem.span.unwrap().offset).collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
}

#[test]
fn a_problem_in_json_has_its_code_its_path_its_place_and_a_suggestion() {
    let problems = Bench::new().load(&WELL.replace("prefetch = 2048", "prefetchh = 2048")).unwrap_err();
    let json = problems.to_json();
    let problem = &json[0];
    assert_eq!(problem["severity"], "error");
    assert_eq!(problem["code"], "unknown_key");
    assert_eq!(problem["path"], "source.rabbitmq.prefetchh");
    assert_eq!(problem["suggestion"], "prefetch");
    assert_eq!(problem["span"], serde_json::json!({ "offset": 161, "length": 9, "line": 7, "column": 1 }));
    assert!(problem["file"].as_str().unwrap().ends_with("pipeline.toml"));
}

#[test]
fn a_value_from_outside_cannot_change_the_structure() {
    let hostile = "postgres://x\"\n[steps.evil]\nplugin = \"evil.wasm\"\n${MESSAGES_KEY}";
    let bench = Bench::with_variables(&[("DATABASE_URL", hostile), ("MESSAGES_KEY", KEY)]);
    let loaded = bench.load(WELL).unwrap();
    assert_eq!(loaded.plan.steps.len(), 2);
    let SinkKind::Postgres(settings) = &loaded.plan.sinks[1].kind else { panic!("the second sink is postgres") };
    assert_eq!(settings.uri.expose_str(), hostile);
}

#[test]
fn a_value_from_outside_is_never_shown() {
    let text = WELL
        .replace("prefetch = 2048", "prefetch = \"${S}\"\nheartbeat = \"${S}\"\nca_file = \"ca.pem\"")
        .replace("\"list\"", "\"${S}\"")
        .replace("\"2s\"", "\"${S}\"")
        .replace("\"/id\"\nm", "\"${S}\"\nm")
        .replace("${DATABASE_URL}", "${S}")
        .replace("[steps.validate]", "[admin]\nlisten = \"${S}\"\n[steps.validate]\nsha256 = \"${S}\"\nlimits.memory = \"${S}\"");
    let bench = Bench::with_variables(&[("S", "hunter2"), ("MESSAGES_KEY", "hunter2")]);
    let problems = bench.load(&text).unwrap_err();
    let expected = ["out_of_range", "bad_duration"];
    assert!(problems.list().len() >= 10, "{:?} {expected:?}", codes(&problems));
    assert!(!problems.render(Look::default()).contains("hunter2"));
    assert!(!problems.to_json().to_string().contains("hunter2"));
}

#[test]
fn a_number_may_come_from_outside() {
    let loaded = Bench::new().load(&WELL.replace("prefetch = 2048", "prefetch = \"${PREFETCH:-512}\"")).unwrap();
    let SourcePlan::RabbitMq(settings) = &loaded.plan.source else { panic!("the source is rabbitmq") };
    assert_eq!(settings.prefetch, 512);
}

const PROFILES: &str = r#"
[profile.embedded.source.http]
listen = "127.0.0.1:0"
[profile.embedded.sinks.history.sqlite.columns]
id = "/id"
[profile.embedded.sinks]
broadcast = false
[profile.big]
pipeline.batch.max_messages = 1024
"#;

#[test]
fn a_profile_replaces_kinds_keeps_the_lane_and_removes_sinks() {
    let text = format!("{WELL}{PROFILES}");
    let plan = Bench::with_profile("embedded").load(&text).unwrap().plan;
    assert!(matches!(plan.source, SourcePlan::Http(_)));
    assert_eq!(plan.sinks.len(), 1);
    assert!(matches!(plan.sinks[0].kind, SinkKind::Sqlite(_)));
    assert_eq!(plan.sinks[0].through, [Arc::<str>::from("seal")]);
    assert_eq!(plan.sinks[0].on_failure, OnFailure::Park(std::time::Duration::from_secs(2)));
    let plan = Bench::with_profile("big").load(&text).unwrap().plan;
    assert_eq!((plan.batch.max_messages, plan.through.len(), plan.sinks.len()), (1024, 1, 2));
}

#[test]
fn a_profile_that_is_not_chosen_needs_no_variables_and_is_checked_all_the_same() {
    let text = format!("{WELL}{PROFILES}[profile.big.source.rabbitmq]\nuri = \"${{UNSET}}\"\n");
    assert!(Bench::new().load(&text).is_ok());
    let text = format!("{text}prefetchh = 1\n[profile.embedded.admin]\nlisten = 1\n");
    for profile in [None, Some("embedded")] {
        let mut bench = Bench::new();
        bench.options.profile = profile.map(str::to_owned);
        assert_eq!(codes(&bench.load(&text).unwrap_err()), ["unknown_key", "wrong_type"], "{profile:?}");
    }
}

#[test]
fn what_a_profile_replaces_needs_no_variables() {
    let text = format!("{WELL}{PROFILES}");
    let mut bench = Bench::with_variables(&[("MESSAGES_KEY", KEY)]);
    assert_eq!(codes(&bench.load(&text).unwrap_err()), ["unset_variable"]);
    bench.options.profile = Some("embedded".to_owned());
    assert!(bench.load(&text).is_ok());
}

#[test]
fn an_unknown_profile_lists_those_that_there_are() {
    insta::assert_snapshot!(Bench::with_profile("embeded").report(&format!("{WELL}{PROFILES}")), @r#"
    unknown_profile

      × there is no profile `embeded`
      help: did you mean `embedded`? profiles of this file: `embedded` and `big`

    pipeline.toml: 1 error
    "#);
    insta::assert_snapshot!(Bench::with_profile("embedded").report(WELL), @r#"
    unknown_profile

      × there is no profile `embedded`
      help: this file has no profiles

    pipeline.toml: 1 error
    "#);
}

#[test]
fn a_lane_may_be_described_in_the_table_of_its_kind() {
    let text = WELL
        .replace("[sinks.history]\nthrough = [\"seal\"]\non_failure = \"park\"\npark_after = \"2s\"\n", "")
        .replace("idempotent_by", "through = [\"seal\"]\non_failure = \"discard\"\nidempotent_by");
    let plan = Bench::new().load(&text).unwrap().plan;
    assert_eq!((plan.sinks[1].through.len(), plan.sinks[1].on_failure), (1, OnFailure::Discard));
    let problems =
        Bench::new().load(&text.replace("[sinks.history.", "[sinks.history]\nthrough = []\n[sinks.history.")).unwrap_err();
    assert!(codes(&problems).contains(&"duplicate_key".to_owned()), "{problems}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_too() {
    let bench = Bench::new();
    let folder = bench.folder.path();
    let told = |file: &Path| {
        let problems = load(file, &bench.options).unwrap_err();
        problems.render(Look::Plain { width: 100 }).replace(&format!("{}", folder.display()), "DIR")
    };
    std::fs::write(folder.join("latin1.toml"), b"[pipeline]\nname = \"caf\xe9\"\n").unwrap();
    std::fs::write(folder.join("huge.toml"), " ".repeat(2 << 20)).unwrap();
    let report = [folder.join("none.toml"), folder.to_owned(), folder.join("latin1.toml"), folder.join("huge.toml")]
        .map(|file| told(&file));
    insta::assert_snapshot!(report.concat(), @r#"
    no_such_file

      × there is no `DIR/none.toml`
      help: name the pipeline's file: `tidegate run FILE`

    DIR/none.toml: 1 error
    unreadable_file

      × `DIR` is a folder
      help: name the file in it: `DIR/pipeline.toml`

    DIR: 1 error
    unreadable_file

      × `DIR/latin1.toml` is not UTF-8 at line 2, column 12
      help: save the file as UTF-8

    DIR/latin1.toml: 1 error
    unreadable_file

      × `DIR/huge.toml` cannot be read: it has more than 1048576 bytes

    DIR/huge.toml: 1 error
    "#);
}

#[test]
fn what_deserves_a_second_look_is_a_warning() {
    let text = WELL
        .replace("${AMQP_URL:-amqp://guest:guest@127.0.0.1:5672/%2f}", "amqp://guest:guest@rabbitmq")
        .replace(
            "[steps.seal]",
            "[admin]\nlisten = \"0.0.0.0:9600\"\n[steps.idle]\nplugin = \"seal.wasm\"\n[steps.seal]\non_error = \"pass\"",
        )
        .replace("message_id = \"/publisher_information/message_id\"\n", "")
        .replace("[sinks.broadcast]\non_failure = \"park\"\n", "")
        .replace("[key_rings.messages]", "[key_rings.idle]\nfile = \"k.toml\"\ncreate = true\n[key_rings.messages]");
    insta::assert_snapshot!(Bench::new().report(&text), @r#"
    at_least_once

      ⚠ a message to which its source gave no id is stored again when it is redelivered
       ╭─[pipeline.toml:1:1]
     1 │ [pipeline]
       · ──────────
     2 │ through = ["validate"]
       ╰────
      help: `pipeline.message_id` points at an id in the body, for messages that have none of their
            own

    default_credentials

      ⚠ the broker is on another machine and is used with its default credentials
       ╭─[pipeline.toml:5:7]
     4 │ [source.rabbitmq]
     5 │ uri = "amqp://guest:*****@rabbitmq"
       ·       ─────────────────────────────
     6 │ prefetch = 2048
       ╰────
      help: give Tidegate a user of its own

    exposed_listener

      ⚠ whoever reaches 0.0.0.0:9600 may use it: there is no access control
        ╭─[pipeline.toml:12:10]
     11 │ [admin]
     12 │ listen = "0.0.0.0:9600"
        ·          ──────────────
     13 │ [steps.idle]
        ╰────
      help: listen on 127.0.0.1, or let a firewall or a proxy decide who may

    unused_step

      ⚠ no message goes through the step `idle`
        ╭─[pipeline.toml:13:1]
     12 │ listen = "0.0.0.0:9600"
     13 │ [steps.idle]
        · ────────────
     14 │ plugin = "seal.wasm"
        ╰────
      help: name it in `pipeline.through` or in a sink's `through`, or remove it

    stores_in_clear

      ⚠ when `seal` fails, `/message/content` goes on in clear
        ╭─[pipeline.toml:16:12]
     15 │ [steps.seal]
     16 │ on_error = "pass"
        ·            ──────
     17 │ plugin = "seal.wasm"
        ╰────
      help: `on_error = "reject"` dead-letters the message instead

    blocks_others

      ⚠ while `broadcast` is down the window fills, and then every sink stops
        ╭─[pipeline.toml:21:8]
     20 │
     21 │ [sinks.broadcast.redis]
        ·        ─────────
     22 │ mode = "list"
        ╰────
      help: `on_failure = "park"` keeps its messages on a queue of their own, and the other sinks go
            on

    unused_key_ring

      ⚠ no step uses the key ring `idle`
        ╭─[pipeline.toml:37:1]
     36 │
     37 │ [key_rings.idle]
        · ────────────────
     38 │ file = "k.toml"
        ╰────
      help: name it as a step's `key_ring`, or remove it

    pipeline.toml: 7 warnings
    "#);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_problem() {
    assert_eq!(Bench::new().report(&format!("\u{feff}{}", WELL.replace('\n', "\r\n"))), "");
}

#[test]
fn every_file_that_decides_what_runs_is_named() {
    let bench = Bench::new();
    std::fs::write(bench.folder.path().join("url"), "postgres://h/d\n").unwrap();
    let loaded = bench.load(&WELL.replace("${DATABASE_URL}", "${file:url}")).unwrap();
    let names: Vec<_> = loaded.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["pipeline.toml", "seal.wasm", "url", "validate.wasm"]);
}

#[test]
fn a_step_knows_where_each_of_its_settings_stands() {
    let text = WELL.replace(
        "plugin = \"validate.wasm\"",
        "plugin = \"validate.wasm\"\n[steps.validate.settings]\nmax = 5\nnested.\"a/b\" = [1, 2.5]",
    );
    let plan = Bench::new().load(&text).unwrap().plan;
    let step = &plan.steps["validate"];
    assert_eq!(step.settings, serde_json::json!({ "max": 5, "nested": { "a/b": [1, 2.5] } }));
    let text_at = |(offset, length): (usize, usize)| &text[offset..offset + length];
    assert_eq!(text_at(step.spans.settings["/nested/a~1b/1"]), "2.5");
    assert_eq!(text_at(step.spans.settings[""]), "[steps.validate.settings]");
    assert_eq!(text_at(step.spans.plugin), "\"validate.wasm\"");
    assert_eq!(text_at(step.spans.step), "[steps.validate]");
}

#[test]
fn test_cases_say_what_must_become_of_a_message() {
    let cases = r#"
[[test]]
name = "delivered"
input_base64 = "e30="
message_id = "m1"
[test.expect.deliver]
broadcast = {}
history = { "/message/content" = { sealed = true }, "/x" = { missing = true }, "/y" = { a = 1 } }
[[test]]
name = "dropped"
input = ""
expect.drop = true
"#;
    let plan = Bench::new().load(&format!("{WELL}{cases}")).unwrap().plan;
    assert_eq!(plan.tests[1].input, b"{}");
    let Expect::Deliver(sinks) = &plan.tests[1].expect else { panic!("the second case delivers") };
    assert_eq!(sinks["broadcast"], []);
    let expected: Vec<_> = sinks["history"].iter().map(|(pointer, expected)| (pointer.to_string(), expected.clone())).collect();
    assert_eq!(
        expected,
        [
            ("/message/content".to_owned(), Expected::Sealed),
            ("/x".to_owned(), Expected::Missing),
            ("/y".to_owned(), Expected::Value(serde_json::json!({ "a": 1 }))),
        ]
    );
    assert_eq!(plan.tests[2].expect, Expect::Drop);
}

#[test]
fn limits_that_are_not_given_are_those_of_the_plugin_room() {
    let plan = Bench::new().load(WELL).unwrap().plan;
    assert_eq!(plan.steps["validate"].limits, crate::plugin::Limits::default());
}
