//! What the source promises, over real connections on the loopback.

use bytes::Bytes;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::*;
use crate::delivery::{Delivery, settle};
use crate::ledger::{Ledger, Outcome};
use crate::listener::client::{ask, ask_whole, send};
use crate::source::journal::Journal;
use crate::source::{Pace, Takeovers};
use crate::telemetry::{Health, Telemetry};

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    folder: TempDir,
    address: SocketAddr,
    journal: Journal,
    batches: mpsc::Receiver<Vec<Delivery>>,
    ledger: Arc<Ledger>,
    telemetry: Telemetry,
    stop: Stop,
    leaving: Stop,
    tasks: Tasks,
    left: watch::Receiver<Option<u64>>,
}

fn settings() -> Settings {
    Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        journal: PathBuf::new(),
        queue: "q".into(),
        prefetch: 100,
        max_in_flight_bytes: 1 << 20,
        max_body_bytes: 1000,
        max_waiting: 50,
    }
}

async fn start() -> Running {
    start_in(tempfile::tempdir().unwrap(), settings(), Duration::ZERO).await
}

async fn start_in(folder: TempDir, settings: Settings, linger: Duration) -> Running {
    let journal = Journal::open(folder.path(), "q").await.unwrap();
    let source = HttpSource::new(settings, journal.clone(), "source.http");
    let (sender, batches) = mpsc::channel(4);
    let (ledger, telemetry) = (Arc::new(Ledger::default()), Telemetry::default());
    let (stop, leaving) = (Stop::new(), Stop::new());
    ledger.open_lane("a");
    let intake = Intake {
        batches: sender,
        ledger: Arc::clone(&ledger),
        telemetry: telemetry.clone(),
        pace: watch::channel(Pace { max_messages: 8, linger, drain_timeout: Duration::from_secs(5) }).1,
        leaving: leaving.clone(),
        ending: stop.clone(),
        takeovers: Takeovers::default(),
    };
    let mut door = source.door();
    let (tell_left, left) = watch::channel(None);
    let (mut tasks, stopping) = (Tasks::default(), stop.clone());
    tasks.spawn("source", async move {
        let count = Box::new(source).run(intake, stopping).await;
        tell_left.send_replace(Some(count));
    });
    let open = timeout(DEADLINE, door.wait_for(|door| matches!(door, Door::Open(_)))).await.unwrap().unwrap().clone();
    let Door::Open(address) = open else { panic!("{open:?}") };
    Running { folder, address, journal, batches, ledger, telemetry, stop, leaving, tasks, left }
}

impl Running {
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        ask(self.address, "POST", path, headers, body.as_bytes()).await
    }

    async fn next(&mut self) -> Vec<Delivery> {
        timeout(DEADLINE, self.batches.recv()).await.expect("a batch in time").expect("a batch")
    }

    /// Takes batches until there are so many messages.
    async fn take(&mut self, messages: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        while taken.len() < messages {
            taken.extend(self.next().await);
        }
        taken
    }

    async fn until_waiting(&self, messages: u64) {
        until(|| self.journal.waiting() == messages).await;
    }

    /// Stops; gives back the folder and how many messages were left.
    async fn stop(mut self) -> (TempDir, u64) {
        self.stop.cancel();
        let left = timeout(DEADLINE, self.left.wait_for(Option::is_some)).await.unwrap().unwrap().unwrap();
        self.tasks.join().await;
        assert!(self.ledger.balance().balanced, "{:?}", self.ledger.balance());
        (self.folder, left)
    }
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, wait).await.expect("in time");
}

fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8(delivery.message.body.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn a_posted_message_is_durable_when_it_is_answered_and_gone_when_it_is_settled() {
    let mut running = start().await;
    let headers = [("message-id", "m-1"), ("content-type", "text/plain"), ("X-Tenant", "blue"), ("authorization", "secret")];
    let answer = running.post("/messages", &headers, "hello").await;
    assert_eq!(answer, (202, "{\"accepted\":1}".to_owned()));
    assert_eq!(running.journal.count("q").await.unwrap(), 1);
    let batch = running.next().await;
    let message = &batch[0].message;
    let value = |key| message.properties.get(key).map(|value| value.into_owned());
    assert_eq!((bodies(&batch), message.label()), (vec!["hello".to_owned()], "m-1".to_owned()));
    assert_eq!(value("content-type").as_deref(), Some("text/plain"));
    assert_eq!(value("header:x-tenant").as_deref(), Some("blue"));
    assert_eq!(value("source").as_deref(), Some("source.http"));
    assert_eq!(value("header:authorization"), None);
    settle(batch, Outcome::Delivered);
    running.until_waiting(0).await;
    until(|| running.ledger.balance().acked == 1).await;
    assert_eq!(running.telemetry.stages()["source.http"], Health::Up);
    assert_eq!(running.stop().await.1, 0);
}

#[tokio::test]
async fn messages_come_in_the_order_in_which_they_were_answered() {
    let mut running = start().await;
    for number in 0..20 {
        running.post("/messages", &[], &number.to_string()).await;
    }
    let taken = running.take(20).await;
    assert_eq!(bodies(&taken), (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    settle(taken, Outcome::Delivered);
    running.until_waiting(0).await;
    running.stop().await;
}

#[tokio::test]
async fn a_batch_comes_as_lines_or_as_an_array_whose_bytes_are_kept() {
    let mut running = start().await;
    let lines = [("content-type", "application/x-ndjson")];
    assert_eq!(running.post("/messages", &lines, "{\"n\":1}\n{\"n\":2}\n").await.1, "{\"accepted\":2}");
    assert_eq!(running.post("/messages/batch", &lines, "3\n4").await.1, "{\"accepted\":2}");
    let json = [("content-type", "application/json")];
    assert_eq!(running.post("/messages/batch", &json, "[{\"n\" : 5.0}, 6]").await.1, "{\"accepted\":2}");
    let taken = running.take(6).await;
    assert_eq!(bodies(&taken), ["{\"n\":1}", "{\"n\":2}", "3", "4", "{\"n\" : 5.0}", "6"]);
    settle(taken, Outcome::Delivered);
    running.until_waiting(0).await;
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_with_a_reason_and_nothing_of_it_is_stored() {
    let running = start().await;
    let json = [("content-type", "application/json")];
    let long = "x".repeat(1001);
    let long_line = format!("1\n{long}");
    let long_id = [("message-id", &*long)];
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);
    let cases: [Case<'_>; 8] = [
        ("/messages", &[], &long, 413, "1000 bytes"),
        ("/messages/batch", &[], &long_line, 413, "message 1"),
        ("/messages/batch", &[], "\n\n", 400, "empty"),
        ("/messages/batch", &json, "[]", 400, "empty"),
        ("/messages/batch", &json, "{}", 400, "no JSON array"),
        ("/messages/batch", &[("message-id", "m")], "1\n2", 400, "Message-Id"),
        ("/messages", &long_id, "x", 400, "255"),
        ("/elsewhere", &[], "x", 404, "GET /"),
    ];
    for (path, headers, body, status, words) in cases {
        let answer = running.post(path, headers, body).await;
        assert_eq!((answer.0, answer.1.contains(words)), (status, true), "{path}: {answer:?}");
        assert!(serde_json::from_str::<serde_json::Value>(&answer.1).unwrap()["error"].is_string());
    }
    let answer = ask(running.address, "GET", "/messages", &[], b"").await;
    assert_eq!((answer.0, answer.1.contains("error")), (405, true));
    let rebound = ask(running.address, "POST", "/messages", &[("host", "evil.example")], b"x").await;
    let page = ask(running.address, "POST", "/messages", &[("origin", "https://evil.example")], b"x").await;
    assert_eq!((rebound.0, page.0), (403, 403));
    assert!(ask(running.address, "GET", "/", &[], b"").await.1.contains("POST /messages"));
    assert_eq!(running.journal.count("q").await.unwrap(), 0);
    running.stop().await;
}

#[tokio::test]
async fn an_empty_body_is_a_message_for_the_steps_to_judge() {
    let mut running = start().await;
    assert_eq!(running.post("/messages", &[], "").await.0, 202);
    let taken = running.take(1).await;
    assert_eq!(taken[0].message.body, Bytes::new());
    settle(taken, Outcome::DeadLettered);
    running.until_waiting(0).await;
    running.stop().await;
}

#[tokio::test]
async fn when_too_many_wait_a_post_is_told_to_come_again() {
    let mut running = start().await;
    let lines = "1\n".repeat(50);
    assert_eq!(running.post("/messages/batch", &[], &lines).await.0, 202);
    let (status, head, body) = ask_whole(running.address, "POST", "/messages", &[], b"x").await;
    assert_eq!((status, head.contains("retry-after: 1"), body.contains("50")), (503, true, true), "{head} {body}");
    let taken = running.take(50).await;
    settle(taken, Outcome::Delivered);
    running.until_waiting(0).await;
    assert_eq!(running.post("/messages", &[], "x").await.0, 202);
    settle(running.take(1).await, Outcome::Delivered);
    running.until_waiting(0).await;
    running.stop().await;
}

#[tokio::test]
async fn no_more_than_the_prefetch_is_taken_and_batches_are_no_longer_than_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = start_in(folder, Settings { prefetch: 10, ..settings() }, Duration::ZERO).await;
    running.post("/messages/batch", &[], &"1\n".repeat(30)).await;
    let (first, second) = (running.next().await, running.next().await);
    assert_eq!((first.len(), second.len()), (8, 2));
    assert!(timeout(Duration::from_millis(300), running.batches.recv()).await.is_err());
    settle(first, Outcome::Delivered);
    assert_eq!(running.next().await.len(), 8);
    drop(second);
    running.stop().await;
}

#[tokio::test]
async fn with_a_linger_a_batch_waits_for_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = start_in(folder, settings(), Duration::from_secs(10)).await;
    for number in 0..8 {
        running.post("/messages", &[], &number.to_string()).await;
    }
    let batch = running.next().await;
    assert_eq!(batch.len(), 8);
    settle(batch, Outcome::Delivered);
    running.until_waiting(0).await;
    running.stop().await;
}

#[tokio::test]
async fn a_dropped_delivery_comes_again_with_all_after_it_in_order() {
    let mut running = start().await;
    running.post("/messages/batch", &[], "0\n1\n2\n3").await;
    let mut taken = running.take(4).await;
    let late = taken.split_off(2);
    drop(taken.remove(1));
    settle(taken, Outcome::Delivered);
    let again = running.take(3).await;
    assert_eq!(bodies(&again), ["1", "2", "3"]);
    settle(late, Outcome::Delivered);
    settle(again, Outcome::Delivered);
    running.until_waiting(0).await;
    running.stop().await;
}

#[tokio::test]
async fn a_stop_leaves_what_is_not_settled_in_the_journal_for_the_next_start() {
    let mut running = start().await;
    running.post("/messages/batch", &[], "0\n1\n2\n3").await;
    let mut taken = running.take(4).await;
    let rest = taken.split_off(2);
    running.stop.cancel();
    settle(taken, Outcome::Delivered);
    running.until_waiting(2).await;
    drop(rest);
    let (folder, left) = running.stop().await;
    assert_eq!(left, 2);
    let mut again = start_in(folder, settings(), Duration::ZERO).await;
    let taken = again.take(2).await;
    assert_eq!(bodies(&taken), ["2", "3"]);
    settle(taken, Outcome::Delivered);
    again.until_waiting(0).await;
    again.stop().await;
}

#[tokio::test]
async fn a_source_that_is_left_takes_no_more_and_hands_on_all_that_its_journal_has() {
    let mut running = start().await;
    running.post("/messages/batch", &[], &(0..40).map(|number| number.to_string()).collect::<Vec<_>>().join("\n")).await;
    let first = running.take(1).await;
    running.leaving.cancel();
    let mut taken = bodies(&first);
    settle(first, Outcome::Delivered);
    while let Some(batch) = timeout(DEADLINE, running.batches.recv()).await.expect("a batch, or the end, in time") {
        taken.extend(bodies(&batch));
        settle(batch, Outcome::Delivered);
    }
    assert_eq!(taken, (0..40).map(|number| number.to_string()).collect::<Vec<_>>());
    let refused = tokio::net::TcpStream::connect(running.address).await;
    assert!(refused.is_err(), "it still listens");
    assert_eq!((running.journal.waiting(), running.stop().await.1), (0, 0));
}

#[tokio::test]
async fn what_a_source_that_is_left_cannot_hand_on_in_time_is_told() {
    let mut running = start().await;
    running.post("/messages/batch", &[], "0\n1\n2").await;
    let taken = running.take(3).await;
    running.leaving.cancel();
    drop(taken);
    running.stop.cancel();
    assert_eq!(running.stop().await.1, 3);
}

#[tokio::test]
async fn a_stop_takes_no_more_and_answers_what_is_half_sent() {
    let mut running = start().await;
    let mut half = send(running.address, "POST", "/messages", &[("content-length", "10")], b"").await;
    let whole = running.post("/messages", &[], "x").await;
    assert_eq!(whole.0, 202);
    settle(running.take(1).await, Outcome::Delivered);
    running.until_waiting(0).await;
    running.stop.cancel();
    let mut answer = String::new();
    timeout(DEADLINE, half.read_to_string(&mut answer)).await.expect("in time").unwrap();
    assert!(answer.contains(" 503 "), "{answer}");
    let address = running.address;
    running.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_is_a_503_and_the_source_is_down() {
    let running = start().await;
    std::fs::remove_file(running.journal.file()).unwrap();
    let (status, head, body) = ask_whole(running.address, "POST", "/messages", &[], b"x").await;
    assert_eq!((status, head.contains("retry-after")), (503, true));
    assert!(body.contains("sqlite_gone") && !body.contains(running.folder.path().to_str().unwrap()), "{body}");
    assert!(matches!(&running.telemetry.stages()["source.http"], Health::Down(_)));
    running.stop().await;
}

#[tokio::test]
async fn the_source_ends_with_its_pipeline() {
    let mut running = start().await;
    running.batches.close();
    timeout(DEADLINE, running.left.wait_for(Option::is_some)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_window_knows_when_half_of_the_prefetch_is_out_after_it_was_opened_anew_as_well() {
    let mut running = start_in(tempfile::tempdir().unwrap(), Settings { prefetch: 4, ..settings() }, Duration::ZERO).await;
    for _ in 0..2 {
        running.post("/messages", &[], "one").await;
        let one = running.take(1).await;
        assert!(!one[0].is_pressing());
        running.post("/messages", &[], "two").await;
        let two = running.take(1).await;
        assert!(one[0].is_pressing());
        settle(one, Outcome::Delivered);
        // Let go without an answer: what is left comes again, in another window.
        drop(two);
        settle(running.take(1).await, Outcome::Delivered);
        running.until_waiting(0).await;
    }
    assert_eq!(running.stop().await.1, 0);
}
