//! Going through the dead letters that a selection is about, a page at a time.

use super::letter::DeadLetter;
use super::selection::Selection;
use crate::source::{Destination, Letter, Lying, Mailbox, MoveError, SideQueue, Sifting, StageError};

/// Letters that are looked at together: what is in memory at one time.
const PAGE: usize = 256;

/// A walk through the dead letters, oldest first.
pub(super) struct Walk<'a> {
    sifting: Box<dyn Sifting + 'a>,
    selection: Selection,
    position: u64,
    matched: u64,
}

impl<'a> Walk<'a> {
    /// Begins with the oldest letter.
    pub(super) async fn begin(mailbox: &'a dyn Mailbox, selection: &Selection) -> Result<Self, StageError> {
        let sifting = mailbox.sift(&SideQueue::Dead).await?;
        Ok(Self { sifting, selection: selection.clone(), position: 0, matched: 0 })
    }

    /// How many letters lay there at the beginning.
    pub(super) fn total(&self) -> u64 {
        self.sifting.total()
    }

    /// The next letters that match; empty when there are no more.
    pub(super) async fn next(&mut self) -> Result<Vec<DeadLetter>, StageError> {
        while self.left() > 0 {
            let page = self.sifting.next(PAGE).await?;
            if page.is_empty() {
                break;
            }
            let mut matching = Vec::new();
            for Lying { place, message } in page {
                self.position += 1;
                let letter = DeadLetter { position: self.position, place, message };
                if self.left() > 0 && self.selection.matches(&letter) {
                    self.matched += 1;
                    matching.push(letter);
                }
            }
            if !matching.is_empty() {
                return Ok(matching);
            }
        }
        Ok(Vec::new())
    }

    fn left(&self) -> u64 {
        self.selection.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.matched))
    }

    /// Puts letters on another queue, and takes them out of this one.
    pub(super) async fn move_to(&mut self, to: &Destination, letters: Vec<(i64, Letter)>) -> Result<(), MoveError> {
        self.sifting.move_to(to, letters).await
    }

    /// Takes letters out for good.
    pub(super) async fn discard(&mut self, letters: &[DeadLetter]) -> Result<(), StageError> {
        let places: Vec<i64> = letters.iter().map(|letter| letter.place).collect();
        self.sifting.discard(&places).await
    }

    /// Ends the walk: what was not taken out lies where it lay.
    pub(super) async fn end(self) -> Result<(), StageError> {
        self.sifting.leave().await
    }
}

/// How many letters match.
pub(super) async fn count(mailbox: &dyn Mailbox, selection: &Selection) -> Result<u64, StageError> {
    let mut walk = Walk::begin(mailbox, selection).await?;
    while !walk.next().await?.is_empty() {}
    let matched = walk.matched;
    walk.end().await?;
    Ok(matched)
}
