//! Sinks that a command has opened itself, beside those of a host that runs.

use std::sync::Arc;

use super::stages;
use super::trial::Trial;
use crate::config::{Plan, SinkKind, SinkPlan};
use crate::message::Message;
use crate::sink::{Sink, StageError, Written};
use crate::source::Refusal;
use crate::telemetry::Telemetry;

/// Takes what has passed the steps to its sinks, and waits until each has confirmed it.
pub struct Courier {
    /// Those that store come first: a row that is there already is not stored twice, and what one of them refuses nobody has heard yet.
    sinks: Vec<Recipient>,
    /// How many messages a sink already had, by message id.
    pub duplicates: u64,
}

struct Recipient {
    name: Arc<str>,
    sink: Box<dyn Sink>,
}

/// A sink could not take its messages, or not all of them.
#[derive(Debug, thiserror::Error)]
#[error("sinks.{sink}: {cause}")]
pub struct Undelivered {
    /// The sink.
    pub sink: Arc<str>,
    /// Why.
    pub cause: StageError,
}

impl Courier {
    /// A courier to those sinks of a plan that are `wanted`. Nothing is contacted yet.
    #[must_use]
    pub fn new(plan: &Plan, wanted: impl Fn(&str) -> bool) -> Self {
        let mut plans: Vec<_> = plan.sinks.iter().filter(|sink| wanted(&sink.name)).collect();
        plans.sort_by_key(|sink| !matches!(sink.kind, SinkKind::Postgres(_) | SinkKind::Sqlite(_)));
        let telemetry = Telemetry::default();
        let open = |sink: &SinkPlan| Recipient { name: Arc::clone(&sink.name), sink: stages::make_sink(sink, &telemetry) };
        Self { sinks: plans.into_iter().map(open).collect(), duplicates: 0 }
    }

    /// Proves that every sink can be reached, and is fit for use.
    ///
    /// # Errors
    /// Names the first that is not.
    pub async fn prove(&mut self) -> Result<(), Undelivered> {
        for recipient in &mut self.sinks {
            recipient.write(&[]).await?;
        }
        Ok(())
    }

    /// Gives each sink what reaches it of the messages that no step and no sink before has refused, and notes in their trials who has
    /// them and who refuses them.
    ///
    /// # Errors
    /// Ends with the first sink that fails. It, and it alone, may have messages of which their trials do not say so.
    pub async fn deliver(&mut self, trials: &mut [Trial]) -> Result<(), Undelivered> {
        for recipient in &mut self.sinks {
            self.duplicates += recipient.deliver(trials).await?;
        }
        Ok(())
    }
}

impl Recipient {
    async fn write(&mut self, batch: &[Message]) -> Result<Written, Undelivered> {
        let undelivered = |cause| Undelivered { sink: Arc::clone(&self.name), cause };
        self.sink.write(batch).await.map_err(undelivered)
    }

    /// Says how many of the messages it had before.
    async fn deliver(&mut self, trials: &mut [Trial]) -> Result<u64, Undelivered> {
        let mut going: Vec<&mut Trial> =
            trials.iter_mut().filter(|trial| trial.is_clear() && trial.reached.contains_key(&self.name)).collect();
        let parts = |(place, trial): (usize, &&mut Trial)| {
            let messages = trial.reached.get(&self.name).cloned().unwrap_or_default();
            messages.into_iter().map(move |message| (place, message)).collect::<Vec<_>>()
        };
        let (places, batch): (Vec<usize>, Vec<Message>) = going.iter().enumerate().flat_map(parts).unzip();
        if batch.is_empty() {
            return Ok(0);
        }
        let written = self.write(&batch).await?;
        let stage: Arc<str> = format!("sinks.{}", self.name).into();
        for (index, reason) in written.refused {
            if let Some(trial) = places.get(index).and_then(|place| going.get_mut(*place)) {
                trial.refused.push(Refusal { stage: Arc::clone(&stage), reason, plugin: None });
            }
        }
        let taken = going.into_iter().filter(|trial| trial.is_clear());
        taken.for_each(|trial| trial.had.push(Arc::clone(&self.name)));
        Ok(written.duplicates)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::message::{MessageId, NoProperties, Reason};

    /// What each sink was given, in order.
    type Heard = Arc<Mutex<Vec<String>>>;

    /// A sink that refuses one message, or fails.
    struct Memory {
        heard: Heard,
        refuses: &'static str,
        down: bool,
    }

    #[async_trait]
    impl Sink for Memory {
        async fn write(&mut self, batch: &[Message]) -> Result<Written, StageError> {
            if self.down {
                return Err(StageError { code: "down".to_owned(), message: "it is down".to_owned(), needs_operator: false });
            }
            self.heard.lock().unwrap().extend(batch.iter().map(Message::label));
            let refused = batch.iter().enumerate().filter(|(_, message)| message.label() == self.refuses);
            Ok(Written { refused: refused.map(|(index, _)| (index, Reason::new("no", "no"))).collect(), ..Written::default() })
        }
    }

    fn courier(sinks: [(&'static str, &'static str, bool); 2]) -> (Courier, [Heard; 2]) {
        let heard = [Heard::default(), Heard::default()];
        let open = |((name, refuses, down), heard): ((&'static str, _, _), &Heard)| Recipient {
            name: name.into(),
            sink: Box::new(Memory { heard: Arc::clone(heard), refuses, down }),
        };
        let sinks = sinks.into_iter().zip(&heard).map(open).collect();
        (Courier { sinks, duplicates: 0 }, heard)
    }

    /// A message, or several parts of one, on its way to these sinks.
    fn trial(ids: &[&str], sinks: &[&str]) -> Trial {
        let message = |id: &&str| Message::new(MessageId::new(id), Bytes::new(), Arc::new(NoProperties));
        let messages: Vec<Message> = ids.iter().map(message).collect();
        Trial { reached: sinks.iter().map(|sink| ((*sink).into(), messages.clone())).collect(), ..Trial::default() }
    }

    fn heard(heard: &Heard) -> Vec<String> {
        heard.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn what_one_sink_refuses_no_later_one_hears_and_the_rest_is_settled() {
        let (mut courier, [rows, broadcast]) = courier([("rows", "b.2", false), ("broadcast", "", false)]);
        let mut held = trial(&["h"], &["rows"]);
        held.held = true;
        let mut trials = [
            trial(&["a"], &["rows", "broadcast"]),
            trial(&["b.1", "b.2"], &["rows", "broadcast"]),
            held,
            trial(&["c"], &["broadcast"]),
        ];
        courier.deliver(&mut trials).await.unwrap();
        assert_eq!(
            (heard(&rows), heard(&broadcast)),
            (vec!["a".into(), "b.1".into(), "b.2".into()], vec!["a".into(), "c".into()])
        );
        assert_eq!(trials.each_ref().map(Trial::is_settled), [true, false, false, true]);
        assert_eq!(&*trials[1].refused[0].stage, "sinks.rows");
    }

    #[tokio::test]
    async fn a_sink_that_fails_ends_the_delivery_and_only_what_does_not_need_it_is_settled() {
        let (mut courier, [rows, _]) = courier([("rows", "", false), ("broadcast", "", true)]);
        assert_eq!(courier.prove().await.unwrap_err().to_string(), "sinks.broadcast: it is down");
        let mut trials = [trial(&["a"], &["rows", "broadcast"]), trial(&["b"], &["rows"]), Trial::default()];
        assert_eq!(&*courier.deliver(&mut trials).await.unwrap_err().sink, "broadcast");
        assert_eq!(heard(&rows), ["a", "b"]);
        assert_eq!(trials.each_ref().map(Trial::is_settled), [false, true, true]);
        assert_eq!(trials[0].had.iter().map(|sink| &**sink).collect::<Vec<_>>(), ["rows"]);
    }
}
