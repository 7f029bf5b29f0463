//! `tidegate dlq replay --dry-run`: what would become of letters, by the steps of the file or with other components.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::letter::{DeadLetter, plain};
use super::route::Router;
use super::running;
use super::selection::Selection;
use super::walk::Walk;
use crate::cli::{Failure, load, say};
use crate::config::Loaded;
use crate::lifecycle::blocking;
use crate::pipeline::{Generation, Trial, try_message};
use crate::source::{Mailbox, header};
use crate::telemetry::Telemetry;

/// Runs every letter that matches through the steps, and sends nothing.
pub(super) async fn try_all(
    mut loaded: Loaded,
    router: &Router<'_>,
    mailbox: &dyn Mailbox,
    selection: &Selection,
    with: &[(String, PathBuf)],
) -> Result<(), Failure> {
    for (step, file) in with {
        let known = loaded.plan.steps.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let unknown = || Failure::Usage(format!("--with: there is no step `{step}`; there are {known}"));
        let plan = loaded.plan.steps.get_mut(step.as_str()).ok_or_else(unknown)?;
        plan.plugin.clone_from(file);
        plan.sha256 = None;
    }
    let generation = Arc::new(generation(loaded).await?);
    let mut walk = Walk::begin(mailbox, selection).await.map_err(running)?;
    let mut counts = BTreeMap::new();
    loop {
        let letters = walk.next().await.map_err(running)?;
        if letters.is_empty() {
            break;
        }
        let lanes = letters.iter().map(|letter| Ok(router.route(letter)?.lane().map(Arc::from))).collect();
        for (letter, fate) in try_page(&generation, letters, lanes).await? {
            say(&line(&letter, &fate));
            *counts.entry(fate).or_insert(0) += 1;
        }
    }
    walk.end().await.map_err(running)?;
    say(&summary(&counts));
    Ok(())
}

/// Where a letter would go: to one sink, or to every one.
type Way = Result<Option<Arc<str>>, super::route::NoRoute>;

/// The file's generation. Its test cases are not run: who tries out a component wants to see what it does.
async fn generation(mut loaded: Loaded) -> Result<Generation, Failure> {
    loaded.plan.tests.clear();
    let built = blocking(move || {
        let engine = load::engine(std::slice::from_ref(&loaded))?;
        let ready = load::ready(&loaded, &engine, &Telemetry::default());
        ready.map(|(generation, _)| generation).map_err(|problems| load::refuse(&problems))
    });
    built.await.map_err(panicked)?
}

async fn try_page(
    generation: &Arc<Generation>,
    letters: Vec<DeadLetter>,
    lanes: Vec<Way>,
) -> Result<Vec<(DeadLetter, String)>, Failure> {
    let generation = Arc::clone(generation);
    let one = move |(letter, lane): (DeadLetter, Way)| {
        let fate = match lane {
            Ok(lane) => fate(&try_message(&generation, letter.message.clone(), lane.as_deref())),
            Err(why) => format!("would not be replayed: {why}"),
        };
        (letter, fate)
    };
    blocking(move || letters.into_iter().zip(lanes).map(one).collect()).await.map_err(panicked)
}

fn panicked(failure: impl std::fmt::Display) -> Failure {
    Failure::Running(format!("the trial panicked: {failure}"))
}

fn fate(trial: &Trial) -> String {
    let mut parts = Vec::new();
    if !trial.reached.is_empty() {
        parts.push(format!("would reach {}", trial.reached.join(", ")));
    }
    for refusal in &trial.refused {
        let reason = &refusal.reason;
        parts.push(format!("would be refused by {}", why(&refusal.stage, &reason.code, reason.pointer.as_deref())));
    }
    if trial.held {
        parts.push("would be held back: a step asks to see it again later".to_owned());
    }
    if trial.halted {
        parts.push("which stops the pipeline".to_owned());
    }
    if parts.is_empty() { "would be dropped".to_owned() } else { parts.join("; ") }
}

fn why(stage: &str, code: &str, pointer: Option<&str>) -> String {
    let at = pointer.map(|pointer| format!(" at {}", plain(pointer))).unwrap_or_default();
    format!("{} with {}{at}", plain(stage), plain(code))
}

fn line(letter: &DeadLetter, fate: &str) -> String {
    let header = |name| letter.header(name).unwrap_or_else(|| "-".to_owned());
    let was = why(&header(header::STAGE), &header(header::CODE), letter.header(header::POINTER).as_deref());
    let id = plain(letter.id().unwrap_or("-"));
    format!("{} (id {id}): was refused by {was}; {fate}\n", letter.position)
}

fn summary(counts: &BTreeMap<String, u64>) -> String {
    let total: u64 = counts.values().sum();
    let mut text = format!("\n{total} letter(s) tried, none sent; what the sinks themselves would say is not known\n");
    for (fate, count) in counts {
        text.push_str(&format!("  {count} {fate}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;
    use crate::message::Reason;
    use crate::source::Refusal;

    fn refusal() -> Refusal {
        let reason = Reason { pointer: Some("/id".to_owned()), ..Reason::new("missing", "no id") };
        Refusal { stage: "steps.validate".into(), reason, plugin: None }
    }

    #[test]
    fn old_and_new_stand_side_by_side() {
        let letter = letter("m-1", &[(header::STAGE, "steps.validate"), (header::CODE, "too_long"), (header::POINTER, "/a")]);
        let passed = Trial { reached: vec!["history".into()], ..Trial::default() };
        assert_eq!(
            line(&letter, &fate(&passed)),
            "1 (id m-1): was refused by steps.validate with too_long at /a; would reach history\n"
        );
    }

    #[test]
    fn every_fate_has_its_words() {
        let fates = [
            Trial::default(),
            Trial { reached: vec!["a".into(), "b".into()], ..Trial::default() },
            Trial { refused: vec![refusal()], ..Trial::default() },
            Trial { refused: vec![refusal()], reached: vec!["a".into()], halted: true, ..Trial::default() },
            Trial { held: true, ..Trial::default() },
        ];
        insta::assert_snapshot!(fates.iter().map(fate).collect::<Vec<_>>().join("\n"), @r"
        would be dropped
        would reach a, b
        would be refused by steps.validate with missing at /id
        would reach a; would be refused by steps.validate with missing at /id; which stops the pipeline
        would be held back: a step asks to see it again later
        ");
    }
}
