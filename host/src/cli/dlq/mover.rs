//! Letters on their way to the queues of the host, which carries them again.

use super::letter::{DeadLetter, plain};
use super::route::{Route, Router};
use super::running;
use super::selection::Selection;
use super::walk::Walk;
use crate::cli::{Failure, say};
use crate::config::Plan;
use crate::source::{Letter, Mailbox, header};

/// Moves letters, each exactly once as far as the source can.
pub(super) struct Mover<'a> {
    plan: &'a Plan,
    router: &'a Router<'a>,
    moved: usize,
}

impl<'a> Mover<'a> {
    /// Nothing is moved yet.
    pub(super) fn new(plan: &'a Plan, router: &'a Router<'a>) -> Self {
        Self { plan, router, moved: 0 }
    }

    /// Moves what matches.
    pub(super) async fn run(mut self, mailbox: &dyn Mailbox, selection: &Selection) -> Result<(), Failure> {
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
        let from = format!("{}.dead", super::queue(self.plan));
        let mut headers = vec![(header::ATTEMPTS, letter.attempts().to_string()), (header::REPLAYED_FROM, from)];
        headers.extend(letter.header(header::LETTER).map(|id| (header::LETTER, id)));
        Letter { message: letter.again(), headers }
    }

    fn lines<'l>(&self, route: &Route, letters: impl Iterator<Item = &'l DeadLetter>) -> String {
        let queue = route.queue(super::queue(self.plan));
        let line = |letter: &DeadLetter| {
            let id = letter.header(header::LETTER).unwrap_or_else(|| "-".to_owned());
            format!("position {} (letter {}) is on {queue}\n", letter.position, plain(&id))
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
