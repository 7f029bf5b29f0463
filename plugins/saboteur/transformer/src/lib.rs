//! A transformer for tests: misbehaves when a body says so.

use std::cell::Cell;
use std::time::Duration;

use saboteur::AtConfigure;
use serde::Deserialize;
use tidegate_plugin::{Answer, Batch, Fate, Message, Outcome, Reason, Settings, Transformer, Verdict};

/// `settings` of the step.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Orders {
    /// What it does when it is configured. Default: it behaves.
    pub configure: AtConfigure,
}

impl Settings for Orders {
    const SCHEMA: &'static str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "configure": {
      "description": "What it does when it is configured.",
      "enum": ["behave", "error", "trap", "panic", "spin", "hoard"], "default": "behave"
    }
  }
}"#;
}

/// The step.
#[derive(Clone, Debug, Default)]
pub struct Saboteur {
    /// Whether `retry-once` was asked of this instance.
    retried: Cell<bool>,
}

impl Transformer for Saboteur {
    const NAME: &'static str = "saboteur-transformer";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str = "For tests: a transformer that misbehaves on command.";
    const READS: &'static [&'static str] = &["message-id"];

    type Settings = Orders;

    fn configure(orders: Orders) -> Result<Self, Reason> {
        orders.configure.commit()?;
        Ok(Self::default())
    }

    fn transform(&self, message: &Message<'_>) -> Outcome {
        let Some(command) = saboteur::command(message.body) else { return Outcome::Keep };
        saboteur::commit(&command, message.body);
        match command.as_str() {
            "drop" => Outcome::Drop,
            "reject" => Outcome::Reject(Reason::new("sabotage", "the message says so").at("/sabotage")),
            "long-reason" => Outcome::Reject(saboteur::long_reason()),
            "control-reason" => Outcome::Reject(saboteur::control_reason()),
            "replace" => Outcome::Replace(br#"{"sabotaged":"replaced"}"#.to_vec()),
            "split" => {
                Outcome::Split(["one", "two", "three"].map(|part| format!(r#"{{"sabotaged":"{part}"}}"#).into_bytes()).into())
            }
            "split-none" => Outcome::Split(Vec::new()),
            "split-flood" => Outcome::Split(vec![b"{}".to_vec(); 100_000]),
            "not-json" => Outcome::Replace(b"\xff not json".to_vec()),
            "empty" => Outcome::Replace(Vec::new()),
            "huge" => Outcome::Replace(vec![b' '; 20 << 20]),
            "retry" => Outcome::RetryAfter(Duration::from_millis(20)),
            "retry-late" => Outcome::RetryAfter(Duration::MAX),
            "retry-once" if !self.retried.replace(true) => Outcome::RetryAfter(Duration::from_millis(20)),
            "flood" => {
                saboteur::flood();
                Outcome::Keep
            }
            _ => Outcome::Keep,
        }
    }

    fn transform_batch(&self, batch: &Batch) -> Answer {
        let mut answer = Answer::default();
        for (index, message) in (0..).zip(batch.messages()) {
            answer.add(index, self.transform(&message));
            if let Some(command) = saboteur::command(message.body) {
                nonsense(&command, index, &mut answer);
            }
        }
        answer
    }
}

/// Answers that the boundary forbids.
fn nonsense(command: &str, index: u32, answer: &mut Answer) {
    let replace = |index, answer: &mut Answer| answer.add(index, Outcome::Replace(b"{}".to_vec()));
    match command {
        "index-past-end" => replace(u32::MAX, answer),
        "index-descending" => [index + 1, index].into_iter().for_each(|index| replace(index, answer)),
        "verdict-past-end" => answer.add(u32::MAX, Outcome::Drop),
        "verdict-twice" => answer.verdicts.extend([Verdict { index, fate: Fate::Drop }, Verdict { index, fate: Fate::Drop }]),
        "verdict-and-replaced" => {
            replace(index, answer);
            answer.add(index, Outcome::Drop);
        }
        packed if packed.starts_with("packed-") => {
            replace(index, answer);
            answer.bodies = saboteur::break_packed(packed, std::mem::take(&mut answer.bodies));
        }
        _ => {}
    }
}

tidegate_plugin::transformer!(Saboteur);

#[cfg(test)]
mod tests {
    use tidegate_plugin::testing::{Incoming, outcomes, settings_problems};
    use tidegate_plugin::{Outcome, Transformer};

    use super::{Orders, Saboteur};

    #[test]
    fn it_behaves_until_it_is_told_otherwise() {
        let step = Saboteur::from_settings("{}").unwrap();
        let told = |command: &str| Incoming::new(format!(r#"{{"sabotage":"{command}"}}"#));
        let messages = [Incoming::new("{}"), told("drop"), told("split"), told("retry-once"), told("retry-once")];
        let [kept, dropped, split, retried, again] = outcomes(&step, &messages).try_into().unwrap();
        assert_eq!([kept, dropped, again], [Outcome::Keep, Outcome::Drop, Outcome::Keep]);
        assert!(matches!(split, Outcome::Split(bodies) if bodies.len() == 3));
        assert!(matches!(retried, Outcome::RetryAfter(_)));
    }

    #[test]
    fn the_schema_and_the_settings_say_the_same() {
        assert_eq!(settings_problems::<Orders>(), Vec::<String>::new());
    }
}
