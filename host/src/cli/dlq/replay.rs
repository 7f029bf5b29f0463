//! `tidegate dlq replay`: letters into the pipeline again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::letter::DeadLetter;
use super::route::{Choice, NoRoute, Route, Router};
use super::selection::Selection;
use super::walk::Walk;
use super::{Place, ask, running, trial};
use crate::cli::{Failure, say};
use crate::config::Plan;
use crate::message::MessageId;
use crate::source::{Letter, Mailbox, header};

/// Arguments of `tidegate dlq replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --from, --lane and --all-lanes each letter goes where it came from: what was refused before the fan-out goes \
    through everything; what was refused in a sink's lane goes to that sink alone, so that no other sink gets it twice."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    selection: Selection,
    /// Begins at this step: by the queue that leads to it. The steps before it run again, because what lies here is the original.
    #[arg(long, value_name = "STEP", conflicts_with_all = ["lane", "all_lanes"])]
    from: Option<String>,
    /// To this sink alone.
    #[arg(long, value_name = "SINK", conflicts_with = "all_lanes")]
    lane: Option<String>,
    /// To every sink, those that have had the message too.
    #[arg(long)]
    all_lanes: bool,
    /// Sends nothing: runs the letters through the steps of the file and shows what would become of them.
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: another component for a step.
    #[arg(long, value_name = "STEP=FILE", value_parser = with)]
    with: Vec<(String, PathBuf)>,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
}

fn with(text: &str) -> Result<(String, PathBuf), String> {
    let parts = text.split_once('=').filter(|(step, file)| !step.is_empty() && !file.is_empty());
    let (step, file) = parts.ok_or("expected STEP=FILE, e.g. validate=new.wasm")?;
    Ok((step.trim_start_matches("steps.").to_owned(), file.into()))
}

/// Replays what matches, or tries what would become of it.
pub(super) async fn replay(arguments: Arguments) -> Result<(), Failure> {
    if !arguments.with.is_empty() && !arguments.dry_run {
        let text = "--with goes with --dry-run: to replay with another component, name it in pipeline.toml, have the host take that up, \
                    and replay then";
        return Err(Failure::Usage(text.to_owned()));
    }
    let loaded = arguments.place.load()?;
    let choice = match (&arguments.from, &arguments.lane, arguments.all_lanes) {
        (Some(step), ..) => Choice::From(step.clone()),
        (_, Some(sink), _) => Choice::Lane(sink.clone()),
        (.., true) => Choice::AllLanes,
        _ => Choice::ByLetter,
    };
    let plan = loaded.plan.clone();
    let router = Router::new(&plan, &choice)?;
    let mailbox = super::mailbox(&plan).await?;
    if arguments.dry_run {
        return trial::try_all(loaded, &router, &*mailbox, &arguments.selection, &arguments.with).await;
    }
    let survey = Survey::of(&*mailbox, &arguments.selection, &router).await?;
    survey.check()?;
    if survey.total() == 0 {
        say("no letter matches\n");
        return Ok(());
    }
    say(&survey.describe(super::queue(&plan)));
    if !ask::may(&format!("Replay {} letter(s)?", survey.total()), arguments.yes)? {
        say("nothing was replayed\n");
        return Ok(());
    }
    // The same letters again, and none that came meanwhile.
    let selection = Selection { limit: Some(survey.total()), ..arguments.selection };
    Mover { plan: &plan, router: &router, moved: 0 }.run(&*mailbox, &selection).await
}

/// What would be moved where.
#[derive(Debug, Default)]
struct Survey {
    routes: BTreeMap<Route, u64>,
    /// Letters that go to every sink although one lane, at least, has had them.
    repeated: u64,
    stuck: BTreeMap<NoRoute, u64>,
}

impl Survey {
    async fn of(mailbox: &dyn Mailbox, selection: &Selection, router: &Router<'_>) -> Result<Self, Failure> {
        let mut survey = Self::default();
        let mut walk = Walk::begin(mailbox, selection).await.map_err(running)?;
        loop {
            let letters = walk.next().await.map_err(running)?;
            if letters.is_empty() {
                break;
            }
            letters.iter().for_each(|letter| survey.add(letter, router.route(letter)));
        }
        walk.end().await.map_err(running)?;
        Ok(survey)
    }

    fn add(&mut self, letter: &DeadLetter, route: Result<Route, NoRoute>) {
        let in_a_lane = letter.lane().is_some();
        match route {
            Ok(route) => {
                self.repeated += u64::from(route == Route::Whole && in_a_lane);
                *self.routes.entry(route).or_default() += 1;
            }
            Err(why) => *self.stuck.entry(why).or_default() += 1,
        }
    }

    fn total(&self) -> u64 {
        self.routes.values().sum()
    }

    /// Half a replay helps nobody.
    fn check(&self) -> Result<(), Failure> {
        if self.stuck.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = self.stuck.iter().map(|(why, count)| format!("  {count} letter(s): {why}\n")).collect();
        Err(Failure::Running(format!("nothing was replayed, because not every letter has a way back:\n{}", lines.concat())))
    }

    fn describe(&self, source: &str) -> String {
        let mut text = String::new();
        for (route, count) in &self.routes {
            let queue = route.queue(source);
            text.push_str(&match route {
                Route::Whole => format!(
                    "{count} letter(s) go to {queue}: all steps run again, and every sink gets what passes. A row that is there already \
                     (same message id) is not stored twice; a broadcast is repeated.\n"
                ),
                Route::Lane(sink) => format!(
                    "{count} letter(s) go to {queue}: all steps before sinks.{sink} run again, and no other sink gets what passes.\n"
                ),
            });
        }
        if self.repeated > 0 {
            text.push_str(&format!("{} of them were refused in one lane: the other sinks get them AGAIN.\n", self.repeated));
        }
        text
    }
}

/// Moves letters, each exactly once as far as the source can.
struct Mover<'a> {
    plan: &'a Plan,
    router: &'a Router<'a>,
    moved: usize,
}

impl Mover<'_> {
    async fn run(mut self, mailbox: &dyn Mailbox, selection: &Selection) -> Result<(), Failure> {
        let mut walk = Walk::begin(mailbox, selection).await.map_err(running)?;
        loop {
            let letters = walk.next().await.map_err(running)?;
            if letters.is_empty() {
                break;
            }
            self.page(&mut walk, letters).await?;
        }
        walk.end().await.map_err(running)?;
        say(&format!("replayed {} letter(s)\n", self.moved));
        Ok(())
    }

    async fn page(&mut self, walk: &mut Walk<'_>, letters: Vec<DeadLetter>) -> Result<(), Failure> {
        let mut routed = Vec::with_capacity(letters.len());
        for letter in letters {
            let route = self.router.route(&letter).map_err(|why| self.ended(&why.to_string()))?;
            routed.push((route, letter));
        }
        for run in routed.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((route, _)) = run.first() else { continue };
            let letters = run.iter().map(|(_, letter)| (letter.place, self.again(letter))).collect();
            let outcome = walk.move_to(&route.destination(), letters).await;
            let moved = outcome.as_ref().map_or_else(|error| error.moved, |()| run.len());
            self.moved += moved;
            say(&self.lines(route, run.iter().take(moved).map(|(_, letter)| letter)));
            outcome.map_err(|error| self.ended(&error.to_string()))?;
        }
        Ok(())
    }

    /// The message as it was, with where it comes from.
    fn again(&self, letter: &DeadLetter) -> Letter {
        let mut message = letter.message.clone();
        // A part of a message that a step had split has an id of its own; what is sent again is the whole.
        let original = message.properties.get("message-id").and_then(|id| MessageId::new(&id));
        message.id = original.or_else(|| message.id.clone());
        let from = format!("{}.dead", super::queue(self.plan));
        let mut headers = vec![(header::ATTEMPTS, letter.attempts().to_string()), (header::REPLAYED_FROM, from)];
        headers.extend(letter.header(header::LETTER).map(|id| (header::LETTER, id)));
        Letter { message, headers }
    }

    fn lines<'a>(&self, route: &Route, letters: impl Iterator<Item = &'a DeadLetter>) -> String {
        let queue = route.queue(super::queue(self.plan));
        let line = |letter: &DeadLetter| {
            let id = letter.header(header::LETTER).unwrap_or_else(|| "-".to_owned());
            format!("position {} (letter {}) is on {queue}\n", letter.position, super::letter::plain(&id))
        };
        letters.map(line).collect()
    }

    fn ended(&self, cause: &str) -> Failure {
        Failure::Running(format!(
            "{cause}; {} letter(s) were replayed before. The last ones that were under way may be on both queues: a message that was \
             replayed carries the letter's id in `{}`",
            self.moved,
            header::LETTER
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;

    #[test]
    fn a_component_is_given_as_step_and_file() {
        assert_eq!(with("validate=new.wasm"), Ok(("validate".to_owned(), "new.wasm".into())));
        assert_eq!(with("steps.validate=a=b.wasm"), Ok(("validate".to_owned(), "a=b.wasm".into())));
        assert!(with("new.wasm").is_err() && with("=new.wasm").is_err() && with("validate=").is_err());
    }

    #[test]
    fn the_survey_says_where_letters_go_and_who_hears_what_again() {
        let mut survey = Survey::default();
        survey.add(&letter("", &[(header::STAGE, "steps.validate")]), Ok(Route::Whole));
        survey.add(&letter("", &[(header::STAGE, "sinks.history")]), Ok(Route::Whole));
        survey.add(&letter("", &[(header::STAGE, "sinks.history")]), Ok(Route::Lane("history".into())));
        insta::assert_snapshot!(survey.describe("q"), @r"
        2 letter(s) go to q: all steps run again, and every sink gets what passes. A row that is there already (same message id) is not stored twice; a broadcast is repeated.
        1 letter(s) go to q.parked.history: all steps before sinks.history run again, and no other sink gets what passes.
        1 of them were refused in one lane: the other sinks get them AGAIN.
        ");
        assert!(survey.check().is_ok());
    }
}
