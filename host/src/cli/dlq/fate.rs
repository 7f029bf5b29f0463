//! What becomes of a letter, in words: what was, beside what is. Never what it holds.

use super::letter::{DeadLetter, plain};
use crate::pipeline::Trial;
use crate::source::header;

/// What would become of a letter.
pub(super) fn would(trial: &Trial) -> String {
    let mut parts = Vec::new();
    if !trial.reached.is_empty() {
        parts.push(format!("would reach {}", names(trial.reached.keys())));
    }
    if !trial.dropped.is_empty() {
        parts.push(format!("would be dropped on the way to {}", names(trial.dropped.iter())));
    }
    for refusal in refusals(trial) {
        parts.push(format!("would be refused by {refusal}"));
    }
    if trial.held {
        parts.push("would be held back: a step asks to see it again later".to_owned());
    }
    if trial.halted {
        parts.push("which stops the pipeline".to_owned());
    }
    if parts.is_empty() { "would be dropped".to_owned() } else { parts.join("; ") }
}

/// What became of a letter that has been delivered, or stays.
pub(super) fn did(trial: &Trial) -> String {
    let mut parts = Vec::new();
    if trial.is_settled() && !trial.had.is_empty() {
        parts.push(format!("is with {}", names(trial.had.iter())));
        if !trial.dropped.is_empty() {
            parts.push(format!("was dropped by a step on the way to {}", names(trial.dropped.iter())));
        }
        return parts.join("; ");
    }
    if trial.is_settled() {
        return "was dropped by a step".to_owned();
    }
    parts.extend(refusals(trial).map(|refusal| format!("STAYS, refused by {refusal}")));
    if trial.held {
        parts.push("STAYS, held back: a step asks to see it again later".to_owned());
    }
    if trial.halted {
        parts.push("which stops the replay".to_owned());
    }
    if trial.is_clear() {
        parts.push("STAYS, not every sink has taken it".to_owned());
    }
    if !trial.had.is_empty() {
        parts.push(format!("{} has it", names(trial.had.iter())));
    }
    parts.join("; ")
}

/// A line about a letter: who it is, what was, and what is.
pub(super) fn line(letter: &DeadLetter, fate: &str) -> String {
    let header = |name| letter.header(name).unwrap_or_else(|| "-".to_owned());
    let was = why(&header(header::STAGE), &header(header::CODE), letter.header(header::POINTER).as_deref());
    let id = plain(letter.id().unwrap_or("-"));
    format!("{} (id {id}): was refused by {was}; {fate}\n", letter.position)
}

fn refusals(trial: &Trial) -> impl Iterator<Item = String> {
    trial.refused.iter().map(|refusal| why(&refusal.stage, &refusal.reason.code, refusal.reason.pointer.as_deref()))
}

fn why(stage: &str, code: &str, pointer: Option<&str>) -> String {
    let at = pointer.map(|pointer| format!(" at {}", plain(pointer))).unwrap_or_default();
    format!("{} with {}{at}", plain(stage), plain(code))
}

fn names<'a>(names: impl Iterator<Item = &'a std::sync::Arc<str>>) -> String {
    names.map(|name| &**name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;
    use crate::message::Reason;
    use crate::source::Refusal;

    fn refused(stage: &str) -> Vec<Refusal> {
        let reason = Reason { pointer: Some("/id".to_owned()), ..Reason::new("missing", "no id") };
        vec![Refusal { stage: stage.into(), reason, plugin: None }]
    }

    fn reaching(sinks: &[&str]) -> Trial {
        Trial { reached: sinks.iter().map(|sink| ((*sink).into(), Vec::new())).collect(), ..Trial::default() }
    }

    #[test]
    fn old_and_new_stand_side_by_side() {
        let letter = letter("m-1", &[(header::STAGE, "steps.validate"), (header::CODE, "too_long"), (header::POINTER, "/a")]);
        assert_eq!(
            line(&letter, &would(&reaching(&["history"]))),
            "1 (id m-1): was refused by steps.validate with too_long at /a; would reach history\n"
        );
    }

    #[test]
    fn every_fate_has_its_words() {
        let fates = [
            Trial::default(),
            reaching(&["a", "b"]),
            Trial { dropped: vec!["b".into()], ..reaching(&["a"]) },
            Trial { refused: refused("steps.validate"), ..Trial::default() },
            Trial { refused: refused("steps.validate"), halted: true, ..reaching(&["a"]) },
            Trial { held: true, ..Trial::default() },
        ];
        insta::assert_snapshot!(fates.iter().map(would).collect::<Vec<_>>().join("\n"), @r"
        would be dropped
        would reach a, b
        would reach a; would be dropped on the way to b
        would be refused by steps.validate with missing at /id
        would reach a; would be refused by steps.validate with missing at /id; which stops the pipeline
        would be held back: a step asks to see it again later
        ");
    }

    #[test]
    fn what_was_delivered_and_what_stays_have_their_words() {
        let fates = [
            Trial::default(),
            Trial { had: vec!["b".into(), "a".into()], ..reaching(&["a", "b"]) },
            Trial { had: vec!["a".into()], dropped: vec!["b".into()], ..reaching(&["a"]) },
            Trial { had: vec!["b".into()], ..reaching(&["a", "b"]) },
            Trial { refused: refused("sinks.a"), had: vec!["b".into()], ..reaching(&["a", "b"]) },
            Trial { refused: refused("steps.validate"), halted: true, ..Trial::default() },
            Trial { held: true, ..Trial::default() },
        ];
        insta::assert_snapshot!(fates.iter().map(did).collect::<Vec<_>>().join("\n"), @r"
        was dropped by a step
        is with b, a
        is with a; was dropped by a step on the way to b
        STAYS, not every sink has taken it; b has it
        STAYS, refused by sinks.a with missing at /id; b has it
        STAYS, refused by steps.validate with missing at /id; which stops the replay
        STAYS, held back: a step asks to see it again later
        ");
    }
}
