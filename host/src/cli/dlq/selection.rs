//! Which letters a command is about.

use std::time::SystemTime;

use clap::Args;

use super::letter::DeadLetter;
use crate::source::header;

/// Filters that every command knows. A letter must pass all that are given.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Selection {
    /// Only letters of this step or sink: `validate`, `steps.validate`, `sinks.history`.
    #[arg(long, visible_alias = "step", value_name = "NAME")]
    pub(super) stage: Option<String>,
    /// Only letters of what was refused in this sink's lane, by the sink itself or by a step on the way to it.
    #[arg(long, value_name = "SINK")]
    pub(super) of_lane: Option<String>,
    /// Only letters with this code.
    #[arg(long, value_name = "CODE")]
    pub(super) code: Option<String>,
    /// Only letters whose reason points there; `""`: those whose reason is about the message as a whole.
    #[arg(long, value_name = "POINTER")]
    pub(super) pointer: Option<String>,
    /// Only letters of this generation. A host that is started again counts from 1.
    #[arg(long, value_name = "N")]
    pub(super) generation: Option<u64>,
    /// Only letters by the plugin whose digest begins so, with or without `sha256:`.
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    pub(super) plugin: Option<String>,
    /// Only letters of messages that were tried so often, or more often.
    #[arg(long, value_name = "N")]
    pub(super) attempts: Option<u64>,
    /// Only letters that were written at this time or later: `2026-01-31`, `2026-01-31T08:00:00Z`, or `2h` for two hours ago.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) since: Option<SystemTime>,
    /// Only letters that were written before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) until: Option<SystemTime>,
    /// Only letters of the message with this id, or the letter with this id of its own.
    #[arg(long, value_name = "ID")]
    pub(super) id: Option<String>,
    /// So many letters at most, the oldest first.
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u64>,
}

impl Selection {
    /// Whether a letter passes every filter. The limit is not the letter's affair.
    pub(super) fn matches(&self, letter: &DeadLetter) -> bool {
        let is = |wanted: &Option<String>, found: Option<String>| {
            wanted.as_ref().is_none_or(|wanted| *wanted == found.unwrap_or_default())
        };
        self.matches_stage(letter)
            && self.matches_lane(letter)
            && is(&self.code, letter.header(header::CODE))
            && is(&self.pointer, letter.header(header::POINTER))
            && self.generation.is_none_or(|wanted| letter.generation() == Some(wanted))
            && self.matches_plugin(letter)
            && self.attempts.is_none_or(|least| letter.attempts() >= least)
            && self.matches_time(letter)
            && self.matches_id(letter)
    }

    fn matches_stage(&self, letter: &DeadLetter) -> bool {
        let Some(wanted) = &self.stage else { return true };
        let Some(found) = letter.header(header::STAGE) else { return false };
        found == *wanted || found.split_once('.').is_some_and(|(_, name)| name == wanted)
    }

    fn matches_lane(&self, letter: &DeadLetter) -> bool {
        let Some(wanted) = &self.of_lane else { return true };
        letter.lane().as_deref() == Some(wanted.strip_prefix("sinks.").unwrap_or(wanted))
    }

    fn matches_plugin(&self, letter: &DeadLetter) -> bool {
        let Some(wanted) = &self.plugin else { return true };
        letter.header(header::PLUGIN).is_some_and(|found| bare(&found).starts_with(wanted))
    }

    fn matches_time(&self, letter: &DeadLetter) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Some(written) = letter.time() else { return false };
        self.since.is_none_or(|since| written >= since) && self.until.is_none_or(|until| written < until)
    }

    fn matches_id(&self, letter: &DeadLetter) -> bool {
        let Some(wanted) = &self.id else { return true };
        letter.id() == Some(wanted) || letter.header(header::LETTER).as_ref() == Some(wanted)
    }
}

/// The first digits of a digest.
fn digest(text: &str) -> Result<String, String> {
    let digits = bare(text).to_ascii_lowercase();
    let are_digits = !digits.is_empty() && digits.chars().all(|char| char.is_ascii_hexdigit());
    if are_digits { Ok(digits) } else { Err("expected the first digits of a digest, e.g. sha256:0a1b2c or 0a1b2c".to_owned()) }
}

fn bare(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// A date, a time, or how long ago.
fn time(text: &str) -> Result<SystemTime, String> {
    time_at(SystemTime::now(), text)
}

fn time_at(now: SystemTime, text: &str) -> Result<SystemTime, String> {
    let at = humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339_weak(&format!("{text}T00:00:00Z")));
    if let Ok(at) = at {
        return Ok(at);
    }
    let ago = humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago));
    ago.ok_or_else(|| "expected a date (2026-01-31), a time (2026-01-31T08:00:00Z), or how long ago (2h, 30m, 1day)".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::letter::tests::letter;
    use super::*;

    fn one() -> DeadLetter {
        letter(
            "m-1",
            &[
                (header::STAGE, "steps.validate"),
                (header::CODE, "too_long"),
                (header::POINTER, "/message/content"),
                (header::TIME, "2026-01-31T08:00:00.500Z"),
                (header::LETTER, "00ff"),
                (header::LANE, "history"),
                (header::GENERATION, "12"),
                (header::PLUGIN, "sha256:0a1b2c"),
                (header::ATTEMPTS, "3"),
            ],
        )
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn without_filters_every_letter_passes() {
        assert!(Selection::default().matches(&one()) && Selection::default().matches(&letter("", &[])));
    }

    #[test]
    fn each_filter_lets_pass_what_it_names_and_nothing_else() {
        let none = Selection::default;
        let passing = [
            Selection { stage: text("validate"), ..none() },
            Selection { stage: text("steps.validate"), ..none() },
            Selection { code: text("too_long"), pointer: text("/message/content"), ..none() },
            Selection { id: text("m-1"), ..none() },
            Selection { id: text("00ff"), ..none() },
            Selection { of_lane: text("history"), ..none() },
            Selection { of_lane: text("sinks.history"), ..none() },
            Selection { generation: Some(12), ..none() },
            Selection { plugin: digest("sha256:0A1B").ok(), ..none() },
            Selection { plugin: digest("0a1b2c").ok(), ..none() },
            Selection { attempts: Some(2), ..none() },
            Selection { attempts: Some(3), ..none() },
            Selection { since: time("2026-01-31").ok(), until: time("2026-01-31T08:00:01Z").ok(), ..none() },
        ];
        let failing = [
            Selection { stage: text("sinks.validate"), ..none() },
            Selection { stage: text("steps"), ..none() },
            Selection { code: text("too_long"), pointer: text(""), ..none() },
            Selection { code: text("too"), ..none() },
            Selection { id: text("m-2"), ..none() },
            Selection { of_lane: text("broadcast"), ..none() },
            Selection { of_lane: text("hist"), ..none() },
            Selection { generation: Some(1), ..none() },
            Selection { plugin: digest("1b2c").ok(), ..none() },
            Selection { plugin: digest("0a1b2c3d").ok(), ..none() },
            Selection { attempts: Some(4), ..none() },
            Selection { since: time("2026-01-31T08:00:01Z").ok(), ..none() },
            Selection { until: time("2026-01-31 08:00:00").ok(), ..none() },
        ];
        for selection in passing {
            assert!(selection.matches(&one()), "{selection:?}");
        }
        for selection in failing {
            assert!(!selection.matches(&one()), "{selection:?}");
        }
    }

    #[test]
    fn a_letter_that_does_not_say_is_not_guessed_at() {
        let bare = letter("", &[]);
        for selection in [
            Selection { stage: text("validate"), ..Selection::default() },
            Selection { since: time("1971-01-01").ok(), ..Selection::default() },
            Selection { id: text(""), ..Selection::default() },
            Selection { of_lane: text(""), ..Selection::default() },
            Selection { generation: Some(0), ..Selection::default() },
            Selection { plugin: digest("0").ok(), ..Selection::default() },
            Selection { attempts: Some(2), ..Selection::default() },
        ] {
            assert!(!selection.matches(&bare), "{selection:?}");
        }
        assert!(Selection { attempts: Some(1), ..Selection::default() }.matches(&bare), "it was tried to become a letter");
        assert!(Selection { pointer: text(""), ..Selection::default() }.matches(&bare));
    }

    #[test]
    fn what_a_sink_itself_refused_was_refused_in_its_lane() {
        // A letter that names no lane is as an earlier version wrote it.
        let history = Selection { of_lane: text("history"), ..Selection::default() };
        assert!(history.matches(&letter("", &[(header::STAGE, "sinks.history")])));
        assert!(!history.matches(&letter("", &[(header::STAGE, "steps.history")])));
        let parked = [(header::STAGE, "steps.validate"), (header::LANE, "history")];
        assert!(history.matches(&letter("", &parked)));
    }

    #[test]
    fn a_digest_is_told_by_its_first_digits() {
        assert_eq!(digest("sha256:0A1B"), Ok("0a1b".to_owned()));
        for wrong in ["", "sha256:", "md5:00", "validate"] {
            assert!(digest(wrong).unwrap_err().contains("sha256:0a1b2c"), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_a_date_a_time_or_how_long_ago() {
        assert_eq!(time("2026-01-31"), time("2026-01-31T00:00:00Z"));
        let now = SystemTime::now();
        assert_eq!(time_at(now, "2h"), Ok(now - Duration::from_secs(7200)));
        assert!(time("yesterday").unwrap_err().contains("2026-01-31"));
    }
}
