//! A validator for tests: it wants to know the time, which pipeline.toml must grant.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tidegate_plugin::{Message, Reason, Settings, Validator, clock};

/// `settings` of the step: there are none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Orders {}

impl Settings for Orders {
    const SCHEMA: &'static str = r#"{ "type": "object", "additionalProperties": false, "properties": {} }"#;
}

/// The step.
#[derive(Clone, Copy, Debug)]
pub struct Saboteur;

/// 2020-01-01, in seconds since 1970.
const LONG_AGO: Duration = Duration::from_secs(1_577_836_800);

impl Validator for Saboteur {
    const NAME: &'static str = "saboteur-clock";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &'static str = "For tests: a validator that wants to know the time.";

    type Settings = Orders;

    fn configure(_: Orders) -> Result<Self, Reason> {
        Ok(Self)
    }

    fn validate(&self, _: &Message<'_>) -> Result<(), Reason> {
        if clock::now() < SystemTime::UNIX_EPOCH + LONG_AGO {
            return Err(Reason::new("stopped_clock", "the host's clock stands still"));
        }
        Ok(())
    }
}

tidegate_plugin::validator!(Saboteur);

#[cfg(test)]
mod tests {
    use tidegate_plugin::Validator;
    use tidegate_plugin::testing::{Incoming, settings_problems, stop_clock, verdicts};

    use super::{Orders, Saboteur};

    #[test]
    fn it_takes_what_comes_unless_the_clock_stands_still() {
        let step = Saboteur::from_settings("{}").unwrap();
        assert!(verdicts(&step, &[Incoming::new("{}")]).iter().all(Result::is_ok));
        stop_clock(0);
        assert!(verdicts(&step, &[Incoming::new("{}")]).iter().all(Result::is_err));
        assert_eq!(settings_problems::<Orders>(), Vec::<String>::new());
    }
}
