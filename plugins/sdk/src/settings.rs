//! A step's settings: a type, and the schema that the host checks pipeline.toml with.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::reason::Reason;

/// The settings of a step.
///
/// Derive `serde::Deserialize` with `#[serde(default, deny_unknown_fields)]` and write the schema beside it;
/// `tidegate_plugin::testing::settings_problems` compares the two in a unit test.
pub trait Settings: DeserializeOwned {
    /// A JSON Schema (draft 2020-12) as JSON text: of type `object`, `additionalProperties` false, every property with a
    /// `description`, and a `default` unless it is `required`. `tidegate check` points at the setting that does not fit it.
    const SCHEMA: &'static str;
}

/// For a step that has no settings.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

impl Settings for NoSettings {
    const SCHEMA: &'static str = r#"{ "type": "object", "properties": {}, "additionalProperties": false }"#;
}

/// Reads settings, and says which one is wrong.
pub(crate) fn read<S: Settings>(text: &str) -> Result<S, Reason> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer_to(error.path());
        Reason { code: "settings".to_owned(), message: error.into_inner().to_string(), pointer }
    })
}

/// The place as a JSON pointer; none for the settings as a whole.
fn pointer_to(path: &serde_path_to_error::Path) -> Option<String> {
    use serde_path_to_error::Segment;

    let pointer: String = path
        .iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } | Segment::Enum { variant: key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Unknown => String::new(),
        })
        .collect();
    (!pointer.is_empty()).then_some(pointer)
}

#[cfg(test)]
mod tests {
    use super::{NoSettings, Settings, read};

    #[derive(Debug, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Limits {
        lengths: Vec<u8>,
    }

    impl Default for Limits {
        fn default() -> Self {
            Self { lengths: vec![1] }
        }
    }

    impl Settings for Limits {
        const SCHEMA: &'static str = "{}";
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        assert_eq!(read::<Limits>("{}").unwrap().lengths, [1]);
    }

    #[test]
    fn a_wrong_value_is_named_by_its_place() {
        let reason = read::<Limits>(r#"{"lengths":[1,300]}"#).unwrap_err();
        assert_eq!(reason.code, "settings");
        assert_eq!(reason.pointer.as_deref(), Some("/lengths/1"));
        assert!(reason.message.contains("300"), "{reason:?}");
    }

    #[test]
    fn an_unknown_setting_is_named_with_those_that_there_are() {
        let reason = read::<Limits>(r#"{"length":[1]}"#).unwrap_err();
        assert!(reason.message.contains("unknown field `length`, expected `lengths`"), "{reason:?}");
    }

    #[test]
    fn a_step_without_settings_takes_none() {
        assert_eq!(read::<NoSettings>("{}"), Ok(NoSettings {}));
        assert!(read::<NoSettings>(r#"{"a":1}"#).is_err());
    }
}
