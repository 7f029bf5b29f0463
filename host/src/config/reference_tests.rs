//! The shipped pipeline.toml: it loads, and it explains every key.

use super::*;

const SHIPPED: &str = include_str!("../../../pipeline.toml");

/// The shipped file in a folder where its plugins are.
fn shipped(profile: Option<&str>) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("target/plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    for name in ["validate-message", "reshape", "aes-256-gcm"] {
        std::fs::write(plugins.join(name).with_extension("wasm"), "").unwrap();
    }
    let file = folder.path().join("pipeline.toml");
    std::fs::write(&file, SHIPPED).unwrap();
    let options = Options { profile: profile.map(str::to_owned), environment: Environment::of(&[]), ..Options::default() };
    load(&file, &options).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_shipped_pipeline_is_taken_without_a_warning() {
    let loaded = shipped(None);
    assert_eq!(loaded.warnings, []);
    assert!(matches!(loaded.plan.source, SourcePlan::RabbitMq(_)));
    assert!(matches!(loaded.plan.sinks[0].kind, SinkKind::Redis(_)));
    assert!(matches!(loaded.plan.sinks[1].kind, SinkKind::Postgres(_)));
}

#[test]
fn the_embedded_profile_needs_no_server_and_seals_all_the_same() {
    let loaded = shipped(Some("embedded"));
    assert_eq!(loaded.warnings, []);
    let plan = loaded.plan;
    assert!(matches!(plan.source, SourcePlan::Http(_)));
    assert!(matches!(plan.sinks[0].kind, SinkKind::Live(_)));
    assert!(matches!(plan.sinks[1].kind, SinkKind::Sqlite(_)));
    assert_eq!(plan.sinks[1].through, [Arc::<str>::from("reshape"), "seal".into()]);
}

/// The shipped file with every key in use: `#key = value` and `#[table]` are keys, `# text` is prose.
pub(super) fn uncommented() -> Text {
    let lines = SHIPPED.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => key,
        _ => line,
    });
    Text::new("pipeline.toml", lines.collect::<Vec<_>>().join("\n"))
}

/// The comment that belongs to a place: behind the value, or right above its line.
fn comment_of(text: &str, offset: usize) -> String {
    let line = text[..offset].matches('\n').count();
    let lines: Vec<&str> = text.lines().collect();
    let above = lines[..line].iter().rev();
    let skipped = usize::from(lines[line].starts_with("[[") && lines[line - 1].is_empty());
    let mut block: Vec<&str> = above.skip(skipped).take_while(|line| line.starts_with('#')).copied().collect();
    block.reverse();
    let behind = lines[line].split_once(" # ").map_or("", |(_, comment)| comment);
    block.iter().map(|line| line.trim_start_matches('#').trim()).chain([behind]).collect::<Vec<_>>().join(" ")
}

fn explains(comment: &str, default: &str) -> bool {
    if default == "required" {
        return comment.to_lowercase().contains("required");
    }
    let stated = comment.rsplit_once("Default: ").and_then(|(_, stated)| stated.strip_prefix(default));
    stated.is_some_and(|rest| rest.starts_with('.'))
}

#[test]
fn pipeline_toml_explains_every_key_with_its_default() {
    let text = uncommented();
    let catalogue = catalogue(&text, &Options::default()).unwrap();
    let mut missing = Vec::new();
    for (path, known) in catalogue.keys() {
        let comments = || known.places.iter().map(|place| comment_of(text.content(), place.offset));
        let name = path.rsplit('.').next().unwrap();
        let explained = match known.default.as_str() {
            "optional" => SHIPPED.contains(&format!("{name} =")) || SHIPPED.contains(&format!("`{name}`")),
            default => {
                let other = comments().any(|comment| comment.contains("Default: ") && !explains(&comment, default));
                comments().any(|comment| explains(&comment, default)) && !other
            }
        };
        if !explained {
            missing.push(format!("{path}: {}; the file says {:?}", known.default, comments().collect::<Vec<_>>()));
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(catalogue.keys().count() > 70);
}

#[test]
fn pipeline_toml_names_no_key_that_is_none() {
    let text = uncommented();
    let variables = [
        ("MESSAGES_KEY_1", "AAECAwQFBgcICQoLDA0ODw=="),
        ("MESSAGES_KEY_2", "AAEC"),
        ("TIDEGATE_ADMIN_TOKEN", "0123456789abcdef"),
        ("MESSAGES_IV_1", "AAECAwQFBgcICQoLDA0ODw=="),
    ];
    for profile in [None, Some("embedded".to_owned())] {
        let options = Options { profile, environment: Environment::of(&variables), ..Options::default() };
        let problems = load_text(text.clone(), &options).unwrap_err();
        // What cannot be used at one time stands side by side in the file, and its files are not there.
        let expected = [Code::ConflictingKeys, Code::MissingPlugin, Code::UnreadableFile, Code::UnusedKeyRing];
        let others: Vec<_> = problems.list().iter().filter(|problem| !expected.contains(&problem.code)).collect();
        assert!(others.is_empty(), "{others:#?}");
    }
}
