//! Letters that are carried in this process: through the steps, and to sinks that it opens itself. A host that runs has no part in it, and a
//! message cannot ask for it.

use super::fate;
use super::letter::DeadLetter;
use super::route::Router;
use super::running;
use super::selection::Selection;
use super::steps::{Steps, Tried, routed};
use super::survey::Survey;
use super::walk::Walk;
use crate::cli::{Failure, say};
use crate::config::{Plan, SinkKind};
use crate::pipeline::{Courier, Trial, Undelivered};
use crate::source::Mailbox;

/// Carries letters; each leaves its queue once every sink that it goes to has confirmed it.
pub(super) struct Here<'a> {
    plan: &'a Plan,
    router: &'a Router<'a>,
    steps: Steps,
    courier: Courier,
    tally: Tally,
}

/// How many letters were replayed, how many of these a step dropped, and how many were tried and stay.
#[derive(Debug, Default)]
struct Tally {
    replayed: usize,
    dropped: usize,
    staying: usize,
}

impl<'a> Here<'a> {
    /// Opens the sinks that the letters go to, and sees that each is fit for use: half a replay helps nobody.
    pub(super) async fn ready(plan: &'a Plan, router: &'a Router<'a>, steps: Steps, survey: &Survey) -> Result<Self, Failure> {
        let mut courier = Courier::new(plan, |sink| survey.reaches(sink));
        let failed = |undelivered: Undelivered| Failure::Running(format!("nothing was replayed: {undelivered}"));
        courier.prove().await.map_err(failed)?;
        Ok(Self { plan, router, steps, courier, tally: Tally::default() })
    }

    /// Replays what matches.
    pub(super) async fn run(mut self, mailbox: &dyn Mailbox, selection: &Selection) -> Result<(), Failure> {
        let mut walk = Walk::begin(mailbox, selection).await.map_err(running)?;
        let ended = self.all(&mut walk).await;
        // However it ends, what stays lies in its order again.
        let left = walk.end().await.map_err(|error| self.ended(&error.message));
        ended.and(left)?;
        say(&self.summary());
        self.check()
    }

    async fn all(&mut self, walk: &mut Walk<'_>) -> Result<(), Failure> {
        loop {
            let mut letters = walk.next().await.map_err(|error| self.ended(&error.message))?;
            if letters.is_empty() {
                return Ok(());
            }
            while !letters.is_empty() {
                let rest = letters.split_off(letters.len().min(self.plan.batch.max_messages));
                self.batch(walk, std::mem::replace(&mut letters, rest)).await?;
            }
        }
    }

    /// Takes a batch through the steps, gives the sinks what passes, and only then takes out what every sink has confirmed.
    async fn batch(&mut self, walk: &mut Walk<'_>, letters: Vec<DeadLetter>) -> Result<(), Failure> {
        let mut tried = self.steps.try_all(routed(letters, self.router)).await?;
        tried.truncate(tried.iter().position(halts).map_or(tried.len(), |halting| halting + 1));
        let mut letters = Vec::with_capacity(tried.len());
        let mut trials = Vec::with_capacity(tried.len());
        for (letter, trial) in tried {
            trials.push(trial.map_err(|why| self.ended(&why.to_string()))?);
            letters.push(letter);
        }
        let delivered = self.courier.deliver(&mut trials).await;
        let fates = || letters.iter().zip(&trials);
        let done: Vec<DeadLetter> = fates().filter(|(_, trial)| trial.is_settled()).map(|(letter, _)| letter.clone()).collect();
        walk.discard(&done).await.map_err(|error| self.lying(done.len(), &error.message))?;
        say(&fates().map(|(letter, trial)| fate::line(letter, &fate::did(trial))).collect::<String>());
        self.tally.count(&trials);
        delivered.map_err(|undelivered| self.undelivered(&undelivered))?;
        match trials.last() {
            Some(last) if last.halted => Err(self.ended("a step failed whose failure stops the line (`on_error = \"halt\"`)")),
            _ => Ok(()),
        }
    }

    fn summary(&self) -> String {
        let mut text = format!("replayed {} letter(s)\n", self.tally.replayed);
        if self.tally.dropped > 0 {
            text.push_str(&format!("{} of them were dropped by a step, and reached no sink\n", self.tally.dropped));
        }
        if self.courier.duplicates > 0 {
            text.push_str(&format!("{} row(s) were there already, and were not stored twice\n", self.courier.duplicates));
        }
        text
    }

    /// What stays is no success, and must not look like one to a script.
    fn check(&self) -> Result<(), Failure> {
        match self.tally.staying {
            0 => Ok(()),
            staying => Err(Failure::Running(format!("{staying} letter(s) stay on {}", self.queue()))),
        }
    }

    fn queue(&self) -> String {
        format!("{}.dead", super::queue(self.plan))
    }

    fn ended(&self, cause: &str) -> Failure {
        let (replayed, queue) = (self.tally.replayed, self.queue());
        Failure::Running(format!("{cause}; {replayed} letter(s) were replayed before, and all others stay on {queue}"))
    }

    /// The sinks have letters that could not be taken out.
    fn lying(&self, done: usize, cause: &str) -> Failure {
        self.ended(&format!(
            "{cause}: {done} letter(s) were replayed and may lie on {} all the same, so that a replay repeats them (a row with a message id \
             is not stored twice, a broadcast is repeated)",
            self.queue()
        ))
    }

    /// A sink has failed with letters under way.
    fn undelivered(&self, undelivered: &Undelivered) -> Failure {
        self.ended(&format!(
            "{undelivered}: what it could not take stays, and goes again to every sink that had it (a row with a message id is not stored \
             twice, a broadcast is repeated)"
        ))
    }
}

impl Tally {
    fn count(&mut self, trials: &[Trial]) {
        for trial in trials {
            if trial.is_settled() {
                self.replayed += 1;
                self.dropped += usize::from(trial.had.is_empty());
            } else {
                self.staying += 1;
            }
        }
    }
}

fn halts((_, trial): &Tried) -> bool {
    trial.as_ref().is_ok_and(|trial| trial.halted)
}

/// A view that lives inside the host's process cannot be reached from another one.
pub(super) fn refuse_live(plan: &Plan, survey: &Survey) -> Result<(), Failure> {
    let is_live = |kind: &SinkKind| matches!(kind, SinkKind::Live(_));
    match plan.sinks.iter().find(|sink| is_live(&sink.kind) && survey.reaches(&sink.name)) {
        None => Ok(()),
        Some(sink) => Err(Failure::Usage(format!(
            "nothing was replayed: sinks.{} lives inside the host, where no command reaches it. Choose another sink with --lane SINK, or \
             name the component in {}, have the host take that up (`tidegate reload`), and replay without --with and --from",
            sink.name,
            plan.file.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Reason;
    use crate::source::Refusal;

    #[test]
    fn what_a_step_dropped_is_replayed_and_what_is_refused_or_not_had_by_all_stays() {
        let reason = Reason::new("missing", "no id");
        let reaching = || Trial { reached: [("a".into(), Vec::new())].into(), ..Trial::default() };
        let trials = [
            Trial::default(),
            Trial { had: vec!["a".into()], ..reaching() },
            reaching(),
            Trial { refused: vec![Refusal { stage: "sinks.a".into(), reason, plugin: None }], ..reaching() },
            Trial { held: true, ..Trial::default() },
        ];
        let mut tally = Tally::default();
        tally.count(&trials);
        assert_eq!((tally.replayed, tally.dropped, tally.staying), (2, 1, 3));
    }
}
