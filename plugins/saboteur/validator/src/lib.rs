//! A validator for tests: misbehaves when a body says so.

use saboteur::AtConfigure;
use serde::Deserialize;
use tidegate_plugin::{Batch, Message, Reason, Rejection, Settings, Validator};

/// `settings` of the step.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Orders {
    /// What it does when it is configured. Default: it behaves.
    pub configure: AtConfigure,
    /// Reject every message. Default: false.
    pub reject_all: bool,
}

impl Settings for Orders {
    const SCHEMA: &'static str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "configure": {
      "description": "What it does when it is configured.",
      "enum": ["behave", "error", "trap", "panic", "spin", "hoard"], "default": "behave"
    },
    "reject_all": { "description": "Reject every message.", "type": "boolean", "default": false }
  }
}"#;
}

/// The step.
#[derive(Clone, Copy, Debug)]
pub struct Saboteur {
    reject_all: bool,
}

impl Validator for Saboteur {
    const NAME: &'static str = "saboteur-validator";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str = "For tests: a validator that misbehaves on command.";
    const READS: &'static [&'static str] = &["message-id"];

    type Settings = Orders;

    fn configure(orders: Orders) -> Result<Self, Reason> {
        orders.configure.commit()?;
        Ok(Self { reject_all: orders.reject_all })
    }

    fn validate(&self, message: &Message<'_>) -> Result<(), Reason> {
        if self.reject_all {
            return Err(Reason::new("sabotage", "everything is rejected, as the settings say"));
        }
        let Some(command) = saboteur::command(message.body) else { return Ok(()) };
        saboteur::commit(&command, message.body);
        match command.as_str() {
            "reject" => Err(Reason::new("sabotage", "the message says so").at("/sabotage")),
            "long-reason" => Err(saboteur::long_reason()),
            "control-reason" => Err(saboteur::control_reason()),
            "flood" => {
                saboteur::flood();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn validate_batch(&self, batch: &Batch) -> Vec<Rejection> {
        let mut rejections = Vec::new();
        for (index, message) in (0..).zip(batch.messages()) {
            if let Err(reason) = self.validate(&message) {
                rejections.push(Rejection { index, reason });
            }
            nonsense(index, &message, &mut rejections);
        }
        rejections
    }
}

/// Answers that the boundary forbids.
fn nonsense(index: u32, message: &Message<'_>, rejections: &mut Vec<Rejection>) {
    let rejection = |index| Rejection { index, reason: Reason::new("nonsense", "an answer that no host may believe") };
    match saboteur::command(message.body).as_deref() {
        Some("index-past-end") => rejections.push(rejection(u32::MAX)),
        Some("index-twice") => rejections.extend([rejection(index), rejection(index)]),
        Some("index-descending") => rejections.extend([rejection(index + 1), rejection(index)]),
        _ => {}
    }
}

tidegate_plugin::validator!(Saboteur);

#[cfg(test)]
mod tests {
    use tidegate_plugin::Validator;
    use tidegate_plugin::testing::{Incoming, settings_problems, verdicts};

    use super::{Orders, Saboteur};

    #[test]
    fn it_behaves_until_it_is_told_otherwise() {
        let step = Saboteur::from_settings("{}").unwrap();
        let answers =
            verdicts(&step, &[Incoming::new("{}"), Incoming::new(r#"{"sabotage":"reject"}"#), Incoming::new("not json")]);
        assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn the_schema_and_the_settings_say_the_same() {
        assert_eq!(settings_problems::<Orders>(), Vec::<String>::new());
        assert_eq!(Saboteur::from_settings(r#"{"configure":"error"}"#).unwrap_err().pointer.as_deref(), Some("/configure"));
    }
}
