//! How many messages the broker may send ahead, so that they fit into a number of bytes.
//!
//! AMQP counts messages and not bytes (RabbitMQ has no `prefetch_size`), so the window follows what comes: it begins with as many of the largest
//! messages as fit, opens when it is full of smaller ones, and closes at once when a larger message is seen. A window of small
//! messages that all at once become large is sent whole before that can be seen: that is beyond the limit.

/// The largest message that a broker takes if nothing else is said (`max_message_size` of RabbitMQ 4: 16 MiB).
const LARGEST: usize = 16 << 20;

/// The window of one connection.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Most messages, however small.
    most: usize,
    /// Most bytes.
    bytes: usize,
    /// Messages that the broker may send ahead now.
    now: usize,
    /// The largest message since `seen` was 0.
    largest: usize,
    /// The largest message of the whole window before that, where there was one.
    before: Option<usize>,
    /// Messages since then.
    seen: usize,
}

impl Allowance {
    /// The first window: nothing is known of the messages yet. A `careful` one supposes the worst of them.
    pub(super) fn new(prefetch: u16, bytes: usize, careful: bool) -> Self {
        let mut allowance = Self { most: usize::from(prefetch.max(1)), bytes, now: 0, largest: 0, before: None, seen: 0 };
        allowance.now = if careful { allowance.fitting(LARGEST) } else { allowance.most };
        allowance
    }

    /// Messages that the broker may send ahead.
    pub(super) fn prefetch(&self) -> u16 {
        u16::try_from(self.now).unwrap_or(u16::MAX)
    }

    /// Notes the sizes of messages that came.
    pub(super) fn note(&mut self, sizes: impl Iterator<Item = usize>) {
        if self.seen >= self.now {
            (self.before, self.largest, self.seen) = (Some(self.largest), 0, 0);
        }
        for size in sizes {
            self.largest = self.largest.max(size);
            self.seen += 1;
        }
    }

    /// Whether the window may be another one, as far as the sizes tell.
    fn may_change(&self) -> bool {
        let fitting = self.wanted();
        let is_known = self.before.is_some() || self.seen >= self.now;
        let opens = is_known && fitting > self.now && (fitting >= self.now * 2 || fitting == self.most);
        fitting < self.now || opens
    }

    /// Whether changing the window is right while so many messages are out.
    ///
    /// It opens only when it is full: what is on its way to a consumer that is cancelled a quorum queue takes back, and delivers late. A window
    /// that is never full holds nothing up.
    pub(super) fn would_change(&self, unacknowledged: usize) -> bool {
        self.may_change() && (!self.would_open() || unacknowledged >= self.now)
    }

    /// Whether a change would open it further.
    pub(super) fn would_open(&self) -> bool {
        self.wanted() >= self.now
    }

    /// Changes the window to what fits.
    pub(super) fn change(&mut self) {
        (self.now, self.largest, self.before, self.seen) = (self.wanted(), 0, None, 0);
    }

    /// As many messages as fit of those that came last.
    fn wanted(&self) -> usize {
        self.fitting(self.largest.max(self.before.unwrap_or(0)))
    }

    fn fitting(&self, size: usize) -> usize {
        (self.bytes / size.max(1)).clamp(1, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Notes messages of one size that are all out, and says whether the window changes.
    fn full(allowance: &mut Allowance, size: usize, count: usize) -> bool {
        allowance.note(std::iter::repeat_n(size, count));
        changes(allowance, count)
    }

    /// Changes the window where that is right; says whether it was.
    fn changes(allowance: &mut Allowance, unacknowledged: usize) -> bool {
        let changes = allowance.would_change(unacknowledged);
        if changes {
            allowance.change();
        }
        changes
    }

    #[test]
    fn small_messages_open_the_window_and_a_large_one_closes_it() {
        let mut allowance = Allowance::new(2048, 256 * MIB, true);
        assert_eq!(allowance.prefetch(), 16);
        assert!(!full(&mut allowance, 290, 15), "the window is not full");
        assert!(full(&mut allowance, 290, 16));
        assert_eq!(allowance.prefetch(), 2048);
        assert!(!full(&mut allowance, 290, 5000));
        allowance.note([290, 4 * MIB].into_iter());
        assert!(changes(&mut allowance, 2));
        assert_eq!(allowance.prefetch(), 64);
        assert!(!full(&mut allowance, 4 * MIB, 64));
        assert!(!full(&mut allowance, 290, 64), "the window before had large ones");
        assert!(full(&mut allowance, 290, 64));
        assert_eq!(allowance.prefetch(), 2048);
    }

    #[test]
    fn a_window_that_is_not_full_stays_as_it_is() {
        let mut allowance = Allowance::new(2048, 256 * MIB, true);
        for _ in 0..100 {
            allowance.note([290; 10].into_iter());
            assert!(!changes(&mut allowance, 10));
        }
        assert_eq!(allowance.prefetch(), 16);
    }

    #[test]
    fn a_window_that_fills_in_pieces_opens_with_the_last_of_them() {
        let mut allowance = Allowance::new(2048, 256 * MIB, true);
        for (count, unacknowledged) in [(10, 10), (6, 6)] {
            allowance.note(std::iter::repeat_n(290, count));
            assert!(!changes(&mut allowance, unacknowledged));
        }
        allowance.note([290; 10].into_iter());
        assert!(changes(&mut allowance, 16), "nothing more comes before it is open");
    }

    #[test]
    fn a_window_that_began_open_closes_at_the_first_large_message() {
        let mut allowance = Allowance::new(2048, 256 * MIB, false);
        assert_eq!(allowance.prefetch(), 2048);
        allowance.note([16 * MIB].into_iter());
        assert!(changes(&mut allowance, 1));
        assert_eq!(allowance.prefetch(), 16);
    }

    #[test]
    fn it_never_closes_altogether_and_never_passes_the_prefetch() {
        let mut allowance = Allowance::new(2048, MIB, true);
        assert_eq!(allowance.prefetch(), 1);
        assert!(!full(&mut allowance, 64 * MIB, 1));
        assert_eq!(allowance.prefetch(), 1);
        assert!(!full(&mut allowance, 0, 1));
        assert!(full(&mut allowance, 0, 1));
        assert_eq!(allowance.prefetch(), 2048);
        assert_eq!(Allowance::new(7, usize::MAX, true).prefetch(), 7);
    }

    #[test]
    fn a_window_that_would_open_only_a_little_stays_as_it_is() {
        let mut allowance = Allowance::new(2048, 256 * MIB, true);
        assert!(full(&mut allowance, MIB, 16));
        assert_eq!(allowance.prefetch(), 256);
        assert!(!full(&mut allowance, MIB * 9 / 10, 256));
        assert_eq!(allowance.prefetch(), 256);
    }
}
