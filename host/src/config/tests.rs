//! What a file means, layer by layer.

use std::path::PathBuf;

use super::*;

/// A folder with a few files, and a pipeline.toml in it that is not written to disk.
pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) options: Options,
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
        Self { folder, options: Options { environment, ..Options::default() } }
    }

    pub(super) fn with_profile(profile: &str) -> Self {
        let mut bench = Self::new();
        bench.options.profile = Some(profile.to_owned());
        bench
    }

    pub(super) fn with_variables(variables: &[(&str, &str)]) -> Self {
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
    pub(super) fn report(&self, text: &str) -> String {
        let report = self.load(text).map_or_else(
            |problems| problems.render(Look::Plain { width: 100 }),
            |loaded| Problems::new(loaded.text, loaded.warnings).render(Look::Plain { width: 100 }),
        );
        report.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn codes(problems: &Problems) -> Vec<String> {
    problems.list().iter().map(|problem| problem.code.to_string()).collect()
}

#[test]
fn the_whole_file_is_taken_without_a_word() {
    assert_eq!(Bench::new().report(WELL), "");
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
    let names = WELL
        .replace("[\"validate\"]", "[\"${S}\"]")
        .replace("key_ring = \"messages\"", "key_ring = \"${S}\"")
        .replace("\"source_message_id\"\n", "\"${S}\"\n")
        .replace("[\"message_content\"]", "[\"${S}\"]")
        .replace("active = \"k1\"", "active = \"${S}\"")
        .replace("step = \"validate\"", "step = \"${S}\"")
        .replace("plugin = \"seal.wasm\"", "plugin = \"${S}\"")
        .replace("${MESSAGES_KEY}", "${K}");
    let bench_of_names = Bench::with_variables(&[("S", "hunter2"), ("K", KEY), ("DATABASE_URL", "postgres://h/d")]);
    let problems = bench_of_names.load(&names).unwrap_err();
    assert!(problems.list().len() >= 5, "{:?}", codes(&problems));
    assert!(!problems.render(Look::default()).contains("hunter2"), "{problems}");
    let problems = bench.load(&text).unwrap_err();
    assert!(problems.list().len() >= 10, "{:?}", codes(&problems));
    assert!(!problems.render(Look::default()).contains("hunter2"));
    assert!(!problems.to_json().to_string().contains("hunter2"));
}

#[test]
fn a_number_may_come_from_outside() {
    let loaded = Bench::new().load(&WELL.replace("prefetch = 2048", "prefetch = \"${PREFETCH:-512}\"")).unwrap();
    let SourcePlan::RabbitMq(settings) = &loaded.plan.source else { panic!("the source is rabbitmq") };
    assert_eq!(settings.prefetch, 512);
}

pub(super) const PROFILES: &str = r#"
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

#[test]
fn no_damage_to_a_file_does_more_than_make_it_wrong() {
    let bench = Bench::new();
    let whole = format!("{WELL}{PROFILES}");
    let lines: Vec<&str> = whole.lines().collect();
    let without_a_line = (0..lines.len()).map(|gone| {
        let kept = lines.iter().enumerate().filter(|(index, _)| *index != gone).map(|(_, line)| *line);
        kept.collect::<Vec<_>>().join("\n")
    });
    let cut_short = (0..whole.len()).step_by(3).filter_map(|end| whole.get(..end).map(str::to_owned));
    let with_a_quote = (0..whole.len()).step_by(7).map(|at| format!("{}\"{}", &whole[..at], &whole[at..]));
    for text in without_a_line.chain(cut_short).chain(with_a_quote) {
        if let Err(problems) = bench.load(&text) {
            assert!(problems.has_errors());
            assert!(problems.render(Look::default()).contains("error"), "{text}");
        }
    }
}
