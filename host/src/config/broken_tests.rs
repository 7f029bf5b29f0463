//! Broken files, and what a stranger is told about each.

use super::tests::{Bench, PROFILES, WELL};
use super::*;

/// The report on the whole file with one piece replaced.
fn broken(piece: &str, by: &str) -> String {
    assert!(WELL.contains(piece), "{piece}");
    Bench::new().report(&WELL.replacen(piece, by, 1))
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
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("warnings", Bench::new().report(&text));
    });
}
