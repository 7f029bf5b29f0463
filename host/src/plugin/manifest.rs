//! What a component says of itself, and its settings held against it.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use super::reason::printable;

/// Longest name, in bytes.
const NAME_BYTES: usize = 64;
/// Longest description that is kept, in bytes.
const DESCRIPTION_BYTES: usize = 512;
/// Longest schema, in bytes: one is written by a person.
const SCHEMA_BYTES: usize = 1 << 20;
/// Most metadata keys.
const MAX_READS: usize = 64;
/// Metadata that messages have; `header:NAME` besides.
const METADATA: [&str; 12] = [
    "message-id",
    "correlation-id",
    "content-type",
    "content-encoding",
    "timestamp",
    "type",
    "app-id",
    "user-id",
    "reply-to",
    "routing-key",
    "exchange",
    "source",
];

/// What a component says of itself, checked.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Manifest {
    /// Its name: lower case, digits and `-`.
    pub name: String,
    /// Its version, by Semantic Versioning.
    pub version: String,
    /// One sentence on what it does; control characters are escaped.
    pub description: String,
    /// The metadata keys that it sees.
    pub reads: Vec<String>,
    /// A JSON Schema (draft 2020-12) of its settings.
    pub settings_schema: Value,
}

/// A setting that does not fit the component's schema.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SettingsProblem {
    /// Where in the settings, as a JSON pointer; empty for the settings as a whole.
    pub pointer: String,
    /// What is wrong. Names settings, never their values: a value may be a secret.
    pub message: String,
}

/// A manifest as the guest gave it.
#[derive(Debug)]
pub(super) struct RawManifest {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) description: String,
    pub(super) reads: Vec<String>,
    pub(super) settings_schema: String,
}

/// A checked manifest with the validator of its settings.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) manifest: Manifest,
    schema: jsonschema::Validator,
}

impl Described {
    /// Checks what the guest said; the error is one sentence.
    pub(super) fn new(raw: RawManifest) -> Result<Self, String> {
        let shown = |text: &str| printable(text, 128);
        if !is_name(&raw.name) {
            return Err(format!(
                "`name` is `{}`, and must be lower case letters, digits and `-`, {NAME_BYTES} at most",
                shown(&raw.name)
            ));
        }
        if !is_version(&raw.version) {
            return Err(format!("`version` is `{}`, and must be a semantic version such as `1.2.0`", shown(&raw.version)));
        }
        check_reads(&raw.reads)?;
        let settings_schema = parse_schema(&raw.settings_schema)?;
        let schema = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .offline()
            .build(&settings_schema)
            .map_err(|error| format!("`settings-schema` is no valid JSON Schema: {}", shown(&error.to_string())))?;
        let description = printable(&raw.description, DESCRIPTION_BYTES);
        let manifest = Manifest { name: raw.name, version: raw.version, description, reads: raw.reads, settings_schema };
        Ok(Self { manifest, schema })
    }

    /// Holds settings against the schema; every problem at once.
    pub(super) fn check(&self, settings: &Value) -> Result<(), Vec<SettingsProblem>> {
        let problems: Vec<_> = self.schema.iter_errors(settings).flat_map(|error| problems(&error)).collect();
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems),
        }
    }
}

/// One problem for each setting that is wrong: an unknown one is pointed at itself, not at what holds it.
fn problems(error: &ValidationError<'_>) -> Vec<SettingsProblem> {
    let pointer = error.instance_path().to_string();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            unexpected
                .iter()
                .map(|name| SettingsProblem {
                    pointer: format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")),
                    message: format!("`{}` is no setting of this plugin", printable(name, 128)),
                })
                .collect()
        }
        _ => vec![SettingsProblem { pointer, message: error.masked_with("the value").to_string() }],
    }
}

fn parse_schema(text: &str) -> Result<Value, String> {
    if text.len() > SCHEMA_BYTES {
        return Err(format!("`settings-schema` has {} bytes, and {SCHEMA_BYTES} is the most", text.len()));
    }
    serde_json::from_str(text).map_err(|error| format!("`settings-schema` is no JSON: {error}"))
}

fn is_name(name: &str) -> bool {
    let starts = name.starts_with(|letter: char| letter.is_ascii_lowercase());
    starts && name.len() <= NAME_BYTES && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// `major.minor.patch`, then perhaps `-pre.release` and `+build`.
fn is_version(version: &str) -> bool {
    let (version, build) = version.split_once('+').map_or((version, None), |(version, build)| (version, Some(build)));
    let (core, pre) = version.split_once('-').map_or((version, None), |(core, pre)| (core, Some(pre)));
    let numbers: Vec<_> = core.split('.').collect();
    numbers.len() == 3 && numbers.iter().all(|number| is_number(number)) && [build, pre].into_iter().flatten().all(is_label)
}

fn is_number(text: &str) -> bool {
    let digits = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0'))
}

fn is_label(text: &str) -> bool {
    let fits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    text.len() <= NAME_BYTES && text.split('.').all(fits)
}

fn check_reads(reads: &[String]) -> Result<(), String> {
    if reads.len() > MAX_READS {
        return Err(format!("`reads` has {} keys, and {MAX_READS} is the most", reads.len()));
    }
    for (index, key) in reads.iter().enumerate() {
        let header = key.strip_prefix("header:").is_some_and(|name| (1..=255).contains(&name.len()));
        if !header && !METADATA.contains(&key.as_str()) {
            let key = printable(key, 128);
            return Err(format!("`reads` has `{key}`, and this host knows {} and header:NAME", METADATA.join(", ")));
        }
        if reads.iter().take(index).any(|earlier| earlier == key) {
            return Err(format!("`reads` has `{}` twice", printable(key, 128)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(settings_schema: &str) -> RawManifest {
        RawManifest {
            name: "mask-2".to_owned(),
            version: "1.2.0-rc.1+7".to_owned(),
            description: "Masks\n".to_owned(),
            reads: vec!["routing-key".to_owned(), "header:tenant".to_owned()],
            settings_schema: settings_schema.to_owned(),
        }
    }

    fn problem(change: impl FnOnce(&mut RawManifest)) -> String {
        let mut raw = raw("{}");
        change(&mut raw);
        Described::new(raw).unwrap_err()
    }

    #[test]
    fn every_setting_that_is_wrong_is_pointed_at_and_no_value_is_shown() {
        let schema = json!({
            "type": "object",
            "properties": { "max": { "type": "integer", "minimum": 1 }, "password": { "type": "integer" } },
            "required": ["max"],
            "additionalProperties": false,
        });
        let described = Described::new(raw(&schema.to_string())).unwrap();
        assert_eq!(described.check(&json!({ "max": 3 })), Ok(()));
        let problems = described.check(&json!({ "max": 0, "password": "hunter2", "mxa": 1 })).unwrap_err();
        let mut pointers: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/max", "/mxa", "/password"]);
        let text: String = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert!(text.contains("mxa") && !text.contains("hunter2"), "{text}");
        assert!(described.check(&json!({})).unwrap_err()[0].message.contains("max"));
    }

    #[test]
    fn a_manifest_that_breaks_the_rules_says_which_one() {
        assert_eq!(Described::new(raw("true")).unwrap().manifest.description, "Masks\\u{a}");
        assert!(problem(|raw| raw.name = "Mask".to_owned()).contains("`name`"));
        assert!(problem(|raw| raw.name = String::new()).contains("`name`"));
        for version in ["1.2", "1.2.x", "01.2.3", "", "1.2.3-", "1.2.3+a b"] {
            assert!(problem(|raw| raw.version = version.to_owned()).contains("`version`"), "{version}");
        }
        assert!(problem(|raw| raw.reads = vec!["colour".to_owned()]).contains("`colour`"));
        assert!(problem(|raw| raw.reads = vec!["header:".to_owned()]).contains("`header:`"));
        assert!(problem(|raw| raw.reads = vec!["type".to_owned(), "type".to_owned()]).contains("twice"));
        assert!(problem(|raw| raw.settings_schema = String::new()).contains("no JSON"));
        assert!(problem(|raw| raw.settings_schema = r#"{"type":"strnig"}"#.to_owned()).contains("no valid JSON Schema"));
        let elsewhere = r#"{"$ref":"http://example.com/schema.json"}"#;
        assert!(problem(|raw| raw.settings_schema = elsewhere.to_owned()).contains("no valid JSON Schema"));
    }
}
