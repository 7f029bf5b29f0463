//! Messages at a fixed rate, and how long after it was due each of them is at both ends.
//!
//! Every message has its moment, whatever became of those before it, and is timed from there: when something stands still, all that was
//! due meanwhile has waited, and counts.

use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use lapin::Channel;
use lapin::options::ConfirmSelectOptions;
use redis::AsyncCommands;
use sqlx::{Connection, PgConnection};
use tidegate_harness::deadline::Deadline;
use tidegate_harness::failure::While;
use tidegate_harness::{Failure, Result};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval};

use crate::load::{self, BODY_BYTES};
use crate::native::{self, Settings};

/// How often the newest row is asked for.
const LOOK: Duration = Duration::from_millis(1);
/// Longest wait for messages after the last was due.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most messages that are taken off the list at a time.
const TAKEN: usize = 1000;
/// Seconds whose messages are not counted: connections and instances are still cold.
const WARM_UP_SECONDS: usize = 2;
/// Longest time that is told apart, in microseconds.
const LONGEST_MICROS: u64 = 600_000_000;

/// When each message is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rate: usize,
    pub(crate) messages: usize,
    clock: Deadline,
}

/// Times of all messages, in microseconds from when each was due.
pub(crate) struct Times {
    /// Until a subscriber had taken it off the list.
    pub(crate) broadcast: Histogram<u64>,
    /// Until its committed row could be seen.
    pub(crate) stored: Histogram<u64>,
}

impl Plan {
    /// Begins now.
    pub(crate) fn begin(rate: usize, seconds: usize) -> Self {
        let length = Duration::from_secs(seconds as u64 + WARM_UP_SECONDS as u64);
        Self { rate, messages: Self::messages(rate, seconds), clock: Deadline::after(length + PATIENCE) }
    }

    /// How many messages there are in so many seconds, those of the warm-up included.
    pub(crate) fn messages(rate: usize, seconds: usize) -> usize {
        rate * (seconds + WARM_UP_SECONDS)
    }

    fn due(&self, number: usize) -> Duration {
        Duration::from_secs_f64(number as f64 / self.rate as f64)
    }

    /// Notes that messages arrived at a moment.
    fn note(&self, times: &mut Histogram<u64>, numbers: std::ops::Range<usize>, now: Duration) {
        for number in numbers.filter(|number| *number >= self.rate * WARM_UP_SECONDS) {
            times.saturating_record(u64::try_from(now.saturating_sub(self.due(number)).as_micros()).unwrap_or(LONGEST_MICROS));
        }
    }

    fn in_time(&self, what: &str, seen: usize) -> Result<()> {
        if self.clock.is_over() { Err(Failure::new(format!("{seen} of {} messages were {what}", self.messages))) } else { Ok(()) }
    }
}

/// What a subscriber heard.
pub(crate) struct Heard {
    /// Times of all messages, in microseconds from when each was due.
    pub(crate) times: Histogram<u64>,
    /// The longest of them, by the second in which the message was due.
    pub(crate) slowest: Vec<Duration>,
}

/// An empty histogram of three digits.
pub(crate) fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, 3).doing("making a histogram")
}

/// Who publishes.
pub(crate) type Publisher = thread::JoinHandle<Result<()>>;

/// Publishes all messages at their moments, and sees each at both ends.
pub(crate) async fn run(plan: Plan, to: &Settings) -> Result<Times> {
    let publisher = publisher(plan, to).await?;
    let (heard, stored) = tokio::try_join!(listen(to, plan), watch(&to.database_url, plan))?;
    published(publisher)?;
    Ok(Times { broadcast: heard.times, stored })
}

/// Begins to publish all messages at their moments.
pub(crate) async fn publisher(plan: Plan, to: &Settings) -> Result<Publisher> {
    let channel = load::channel(&to.amqp_url).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.doing("asking for confirms")?;
    let (runtime, queue) = (Handle::current(), to.queue.clone());
    // A thread of its own: the timers of the runtime are a millisecond coarse.
    Ok(thread::spawn(move || publish(&runtime, &channel, &queue, plan)))
}

/// Waits until all is published and confirmed.
pub(crate) fn published(publisher: Publisher) -> Result<()> {
    publisher.join().map_err(|_| Failure::new("the publishing panicked"))?
}

/// Nobody waits for the broker's answers meanwhile: a broker that is slow to confirm does not slow the messages after.
fn publish(runtime: &Handle, channel: &Channel, queue: &str, plan: Plan) -> Result<()> {
    let mut confirms = Vec::with_capacity(plan.messages);
    for number in 0..plan.messages {
        thread::sleep(plan.due(number).saturating_sub(plan.clock.elapsed()));
        let body = load::body(number, BODY_BYTES);
        confirms.push(runtime.block_on(load::publish(channel, queue, number, &body))?);
    }
    confirms.into_iter().try_for_each(|confirm| runtime.block_on(load::confirmed(confirm)))
}

/// A subscriber: takes what is broadcast off the list as it comes, and sees that it is in order.
pub(crate) async fn listen(to: &Settings, plan: Plan) -> Result<Heard> {
    let key = to.keys.first().map_or("", String::as_str);
    let (mut redis, mut times, mut seen) = (native::connect_redis(&to.redis_url).await?, histogram()?, 0);
    let mut slowest = vec![Duration::ZERO; plan.messages / plan.rate + 1];
    while seen < plan.messages {
        let first: Option<(String, Vec<u8>)> = redis.blpop(key, 1.0).await.doing("taking from the list")?;
        let mut bodies: Vec<Vec<u8>> = first.into_iter().map(|(_, body)| body).collect();
        while !bodies.is_empty() {
            let now = plan.clock.elapsed();
            for body in &bodies {
                let number = load::number(body).ok_or_else(|| Failure::new("a body without its number"))?;
                if number != seen {
                    return Err(Failure::new(format!("message {number} was broadcast as the {seen}th")));
                }
                plan.note(&mut times, number..number + 1, now);
                if let Some(slowest) = slowest.get_mut(number / plan.rate) {
                    *slowest = (*slowest).max(now.saturating_sub(plan.due(number)));
                }
                seen += 1;
            }
            let more: Option<Vec<Vec<u8>>> =
                redis.lpop(key, std::num::NonZeroUsize::new(TAKEN)).await.doing("taking from the list")?;
            bodies = more.unwrap_or_default();
        }
        plan.in_time("broadcast", seen)?;
    }
    Ok(Heard { times, slowest })
}

/// Asks for the newest committed row again and again. Rows are numbered in the order of the messages: the pipeline stores them over one
/// connection, and the table was emptied before.
async fn watch(url: &str, plan: Plan) -> Result<Histogram<u64>> {
    let mut database = PgConnection::connect(url).await.doing("connecting to PostgreSQL")?;
    let (mut times, mut seen, mut looks) = (histogram()?, 0, interval(LOOK));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sql = "SELECT message_id FROM messages ORDER BY message_id DESC LIMIT 1";
    while seen < plan.messages {
        looks.tick().await;
        let newest: Option<i64> = sqlx::query_scalar(sql).fetch_optional(&mut database).await.doing("looking at PostgreSQL")?;
        let (now, newest) = (plan.clock.elapsed(), usize::try_from(newest.unwrap_or_default()).unwrap_or_default());
        plan.note(&mut times, seen..newest.max(seen), now);
        seen = seen.max(newest);
        plan.in_time("stored", seen)?;
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_for_others_has_waited_since_it_was_due_and_a_warm_up_is_not_counted() {
        let (plan, mut times) = (Plan::begin(1000, 8), histogram().unwrap());
        assert_eq!(plan.messages, 10_000);
        // Everything stood still until second 5: the message that was due at 4 has waited for 1.
        plan.note(&mut times, 0..4001, Duration::from_secs(5));
        assert_eq!(times.len(), 2001);
        assert!(times.equivalent(times.min(), 1_000_000), "{}", times.min());
        assert!(times.equivalent(times.max(), 3_000_000), "{}", times.max());
    }
}
