//! How many messages the broker may send ahead, so that they fit into a number of bytes.
//!
//! AMQP counts messages and not bytes (RabbitMQ has no `prefetch_size`), so the window follows what comes: it begins with as many of the largest
//! messages as fit, opens once a whole window has been smaller, and closes at once when a larger message is seen. A window of small
//! messages that all at once become large is sent whole before that can be seen: that, and no more, is beyond the limit.

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
    /// Messages since the window was last looked at.
    seen: usize,
}

impl Allowance {
    /// The first window: nothing is known of the messages yet.
    pub(super) fn new(prefetch: u16, bytes: usize) -> Self {
        let mut allowance = Self { most: usize::from(prefetch.max(1)), bytes, now: 0, largest: 0, seen: 0 };
        allowance.now = allowance.fitting(LARGEST);
        allowance
    }

    /// Messages that the broker may send ahead.
    pub(super) fn prefetch(&self) -> u16 {
        u16::try_from(self.now).unwrap_or(u16::MAX)
    }

    /// Notes the sizes of messages that came; says whether the window is another one from now on.
    pub(super) fn note(&mut self, sizes: impl Iterator<Item = usize>) -> bool {
        for size in sizes {
            self.largest = self.largest.max(size);
            self.seen += 1;
        }
        let (before, fitting) = (self.now, self.fitting(self.largest));
        let whole = self.seen >= self.now;
        let opens = whole && (fitting >= self.now * 2 || fitting == self.most);
        if fitting < self.now || opens {
            self.now = fitting;
        }
        if whole || self.now != before {
            (self.largest, self.seen) = (0, 0);
        }
        self.now != before
    }

    fn fitting(&self, size: usize) -> usize {
        (self.bytes / size.max(1)).clamp(1, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn small_messages_open_the_window_and_a_large_one_closes_it() {
        let mut allowance = Allowance::new(2048, 256 * MIB);
        assert_eq!(allowance.prefetch(), 16);
        assert!(!allowance.note([290; 15].into_iter()), "the window is not through");
        assert!(allowance.note([290].into_iter()));
        assert_eq!(allowance.prefetch(), 2048);
        assert!(!allowance.note([290; 5000].into_iter()));
        assert!(allowance.note([290, 4 * MIB].into_iter()));
        assert_eq!(allowance.prefetch(), 64);
        assert!(!allowance.note([4 * MIB; 64].into_iter()));
        assert!(allowance.note([290; 64].into_iter()));
        assert_eq!(allowance.prefetch(), 2048);
    }

    #[test]
    fn it_never_closes_altogether_and_never_passes_the_prefetch() {
        let mut allowance = Allowance::new(2048, MIB);
        assert_eq!(allowance.prefetch(), 1);
        assert!(!allowance.note([64 * MIB].into_iter()));
        assert_eq!(allowance.prefetch(), 1);
        assert!(allowance.note([0].into_iter()));
        assert_eq!(allowance.prefetch(), 2048);
        assert_eq!(Allowance::new(7, usize::MAX).prefetch(), 7);
    }

    #[test]
    fn a_window_that_would_open_only_a_little_stays_as_it_is() {
        let mut allowance = Allowance::new(2048, 256 * MIB);
        assert!(allowance.note([MIB; 16].into_iter()));
        assert_eq!(allowance.prefetch(), 256);
        assert!(!allowance.note([MIB * 9 / 10; 256].into_iter()));
        assert_eq!(allowance.prefetch(), 256);
    }
}
