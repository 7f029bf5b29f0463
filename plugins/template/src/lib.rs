//! A validator to copy and change: lets a message pass only if its body begins with a text.

use serde::Deserialize;
use tidegate_plugin::{Message, Reason, Settings, Validator};

/// `settings` of the step in pipeline.toml.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// What a body begins with. Default: {.
    pub begins_with: String,
}

impl Default for Rules {
    fn default() -> Self {
        Self { begins_with: "{".to_owned() }
    }
}

impl Settings for Rules {
    const SCHEMA: &'static str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "begins_with": { "description": "What a body begins with.", "type": "string", "default": "{" }
  }
}"#;
}

/// The step.
#[derive(Clone, Debug)]
pub struct Template {
    rules: Rules,
}

impl Validator for Template {
    const NAME: &'static str = "template";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str = "Lets a message pass only if its body begins with a text.";

    type Settings = Rules;

    fn configure(rules: Rules) -> Result<Self, Reason> {
        Ok(Self { rules })
    }

    fn validate(&self, message: &Message<'_>) -> Result<(), Reason> {
        if message.body.starts_with(self.rules.begins_with.as_bytes()) {
            Ok(())
        } else {
            // The reason says what was expected, never what the body holds.
            Err(Reason::new("wrong_start", format!("the body does not begin with {:?}", self.rules.begins_with)))
        }
    }
}

tidegate_plugin::validator!(Template);

#[cfg(test)]
mod tests {
    use tidegate_plugin::Validator;
    use tidegate_plugin::testing::{Incoming, settings_problems, verdicts};

    use super::{Rules, Template};

    #[test]
    fn a_body_that_begins_otherwise_is_refused() {
        let step = Template::from_settings("{}").unwrap();
        let answers = verdicts(&step, &[Incoming::new("{}"), Incoming::new("[]"), Incoming::new("")]);
        assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn the_schema_and_the_settings_say_the_same() {
        assert_eq!(settings_problems::<Rules>(), Vec::<String>::new());
    }
}
