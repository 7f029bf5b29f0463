//! What the view promises, over real connections on the loopback.

use bytes::Bytes;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::listener::client::{ask, ask_whole, send};
use crate::message::{MessageId, NoProperties};

const DEADLINE: Duration = Duration::from_secs(20);

fn message(body: &str) -> Message {
    Message::new(MessageId::new("id-1"), Bytes::copy_from_slice(body.as_bytes()), Arc::new(NoProperties))
}

async fn opened(replay: usize) -> (LiveSink, SocketAddr) {
    let settings = Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), replay };
    let sink = LiveSink::new(settings, "sinks.screen", Telemetry::default());
    let address = address(&sink).await;
    (sink, address)
}

async fn address(sink: &LiveSink) -> SocketAddr {
    let mut door = sink.door();
    let open = timeout(DEADLINE, door.wait_for(|door| matches!(door, Door::Open(_)))).await.unwrap().unwrap().clone();
    let Door::Open(address) = open else { panic!("{open:?}") };
    address
}

/// A viewer's stream of events, as text.
struct Viewer {
    stream: TcpStream,
    text: String,
}

impl Viewer {
    async fn look(at: SocketAddr, headers: &[(&str, &str)]) -> Self {
        let mut viewer = Self { stream: send(at, "GET", "/events", headers, b"").await, text: String::new() };
        viewer.until("\r\n\r\n").await;
        viewer
    }

    async fn until(&mut self, words: &str) {
        let mut chunk = [0; 4096];
        while !self.text.contains(words) {
            let read = timeout(DEADLINE, self.stream.read(&mut chunk)).await.expect("in time").unwrap();
            assert!(read > 0, "the stream ended before {words:?}: {}", self.text);
            self.text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        }
    }

    /// The bodies that were shown so far, in order.
    fn bodies(&self) -> Vec<String> {
        let data = self.text.lines().filter_map(|line| line.strip_prefix("data: "));
        let bodies = data.filter_map(|data| serde_json::from_str::<Value>(data).ok()?["body"].as_str().map(str::to_owned));
        bodies.collect()
    }

    fn last_id(&self) -> String {
        self.text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_late_viewer_sees_the_newest_and_then_what_comes_in_order() {
    let (mut sink, address) = opened(2).await;
    let written = sink.write(&["0", "1", "2"].map(message)).await.unwrap();
    assert_eq!(written.unheard, 3);
    let mut viewer = Viewer::look(address, &[]).await;
    viewer.until("\"body\":\"2\"").await;
    let written = sink.write(&[message("3")]).await.unwrap();
    assert_eq!(written.unheard, 0);
    viewer.until("\"body\":\"3\"").await;
    assert_eq!(viewer.bodies(), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_viewer_who_comes_back_goes_on_where_it_was() {
    let (mut sink, address) = opened(1).await;
    sink.write(&[message("0")]).await.unwrap();
    let mut viewer = Viewer::look(address, &[]).await;
    viewer.until("\"body\":\"0\"").await;
    let last = viewer.last_id();
    drop(viewer);
    sink.write(&["1", "2", "3"].map(message)).await.unwrap();
    let mut back = Viewer::look(address, &[("last-event-id", &last)]).await;
    back.until("\"body\":\"3\"").await;
    assert_eq!(back.bodies(), ["1", "2", "3"]);
    let mut of_another_life = Viewer::look(address, &[("last-event-id", "7-1")]).await;
    of_another_life.until("\"body\":\"3\"").await;
    assert_eq!(of_another_life.bodies(), ["3"]);
}

#[tokio::test]
async fn a_viewer_who_does_not_read_holds_nobody_up_and_is_told_what_it_missed() {
    let (mut sink, address) = opened(0).await;
    let mut viewer = Viewer::look(address, &[]).await;
    let large = "x".repeat(1 << 20);
    let batch = vec![message(&large); 64];
    for _ in 0..4 {
        timeout(DEADLINE, sink.write(&batch)).await.expect("the viewer holds nobody up").unwrap();
    }
    viewer.until("event: lagged").await;
    viewer.until("\"missed\":").await;
}

#[tokio::test]
async fn the_page_comes_with_a_policy_and_only_to_this_machine() {
    let (_sink, address) = opened(1).await;
    let (status, head, body) = ask_whole(address, "GET", "/", &[], b"").await;
    assert_eq!((status, body.contains("EventSource")), (200, true));
    assert!(head.contains("content-security-policy: default-src 'none'") && head.contains("nosniff"), "{head}");
    assert!(!head.contains("access-control-allow-origin"), "{head}");
    assert_eq!(ask(address, "GET", "/recent", &[("host", "evil.example")], b"").await.0, 403);
    assert_eq!(ask(address, "POST", "/recent", &[], b"").await.0, 405);
    assert_eq!(ask(address, "GET", "/other", &[], b"").await.0, 404);
}

#[tokio::test]
async fn the_newest_are_there_as_json_to_the_letter() {
    let (mut sink, address) = opened(2).await;
    let odd = "<script>alert(1)</script>\r\n\"\u{2028}é";
    sink.write(&["0", "1", odd].map(message)).await.unwrap();
    let recent: Value = serde_json::from_str(&ask(address, "GET", "/recent", &[], b"").await.1).unwrap();
    assert_eq!(recent[1]["body"], odd);
    assert_eq!((&recent[1]["sequence"], &recent[1]["id"], recent.as_array().unwrap().len()), (&3.into(), &"id-1".into(), 2));
    assert!(recent[1]["time"].as_str().unwrap().ends_with('Z'));
    let mut viewer = Viewer::look(address, &[]).await;
    viewer.until("\"sequence\":3").await;
    viewer.until("\n\n").await;
    assert_eq!(viewer.bodies(), ["1", odd]);
}

#[tokio::test]
async fn an_address_in_use_fails_writes_until_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let telemetry = Telemetry::default();
    let settings = Settings { listen: taken.local_addr().unwrap(), replay: 1 };
    let mut sink = LiveSink::new(settings, "sinks.screen", telemetry.clone());
    let error = sink.write(&[message("0")]).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.message.contains("in use")), ("not_listening", true));
    assert!(matches!(&telemetry.stages()["sinks.screen"], Health::Down(reason) if reason.contains("in use")));
    drop(taken);
    address(&sink).await;
    sink.write(&[message("0")]).await.unwrap();
    assert_eq!(telemetry.stages()["sinks.screen"], Health::Up);
}

#[tokio::test]
async fn a_sink_that_is_dropped_ends_its_listener_and_its_viewers() {
    let (mut sink, address) = opened(1).await;
    sink.write(&[message("0")]).await.unwrap();
    let mut viewer = Viewer::look(address, &[]).await;
    viewer.until("\"body\":\"0\"").await;
    drop(sink);
    let mut rest = Vec::new();
    timeout(DEADLINE, viewer.stream.read_to_end(&mut rest)).await.expect("the stream ends").unwrap();
    let closed = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(DEADLINE, closed).await.expect("the listener ends");
}
