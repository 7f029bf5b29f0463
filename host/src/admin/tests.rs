//! What the admin HTTP promises, over real connections on the loopback.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::config::{self, Options};
use crate::lifecycle::Tasks;
use crate::listener::client::{ask, ask_whole};
use crate::pipeline::reload::{Gates, Outcome, Request, Trigger};
use crate::pipeline::{Making, Origin, prepare};
use crate::plugin::{Engine, EngineSettings};

const DEADLINE: Duration = Duration::from_secs(20);
const TOKEN: &str = "0123456789abcdef";

/// An admin HTTP that serves pipelines which do not run: the test answers in their place.
struct Running {
    pipelines: Vec<Pipeline>,
    address: SocketAddr,
    stop: Stop,
    tasks: Tasks,
    _folder: TempDir,
}

/// A pipeline without steps, as `tidegate run` makes it before it runs.
fn pipeline(folder: &Path, name: &str, telemetry: &Telemetry) -> Pipeline {
    let file = folder.join(format!("{name}.toml"));
    let text = format!(
        "pipeline.name = \"{name}\"\n\
         [source.http]\nlisten = \"127.0.0.1:0\"\njournal = \"{name}\"\n\
         [sinks.screen.live]\nlisten = \"127.0.0.1:0\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let loaded = config::load(&file, &Options::default()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let engine = Engine::new(&EngineSettings { cache: None, instances: 1 }).unwrap();
    let telemetry = telemetry.of_pipeline(name);
    let making = Making { number: 1, engine: &engine, telemetry: &telemetry, before: None, force: false, progress: &|_| {} };
    let generation = prepare(&loaded, &making, &mut Gates::default()).unwrap_or_else(|problems| panic!("{problems:?}"));
    Pipeline::new(loaded, generation, telemetry, Origin { engine, options: Options::default() })
}

async fn start(names: &[&str], listen: &str, token: Option<&str>) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = Telemetry::default();
    let pipelines: Vec<Pipeline> = names.iter().map(|name| pipeline(folder.path(), name, &telemetry)).collect();
    let listener = bind(listen.parse().unwrap()).await.unwrap();
    let mut address = listener.local_addr().unwrap();
    address.set_ip([127, 0, 0, 1].into());
    let shown = Shown { pipelines: Arc::new(pipelines.clone()), telemetry, token: token.map(Secret::from) };
    let (stop, mut tasks) = (Stop::new(), Tasks::default());
    let stopping = stop.clone();
    tasks.spawn("admin", async move { serve(listener, shown, stopping).await.unwrap() });
    Running { pipelines, address, stop, tasks, _folder: folder }
}

fn event(pipeline: &str, outcome: Outcome, trigger: Trigger) -> Event {
    Event {
        pipeline: pipeline.to_owned(),
        at: "2026-01-02T03:04:05.678Z".to_owned(),
        trigger,
        outcome,
        from: 1,
        to: 2,
        reason: None,
        changes: Vec::new(),
        gates: Vec::new(),
        swap: None,
        millis: 1.0,
    }
}

impl Running {
    /// Answers for a pipeline; each request is told as well.
    fn answer(&mut self, index: usize, outcome: Outcome) -> mpsc::Receiver<(Trigger, bool)> {
        let name = self.pipelines[index].name.to_string();
        let mut requests = self.pipelines[index].take_requests().unwrap();
        let (tell, told) = mpsc::channel(16);
        self.tasks.spawn("answers", async move {
            while let Some(Request { trigger, force, reply }) = requests.recv().await {
                tell.send((trigger, force)).await.unwrap();
                reply.send(event(&name, outcome, trigger)).unwrap();
            }
        });
        told
    }

    /// What happens to the reloads of a pipeline that has stopped.
    fn stop(&self, index: usize) {
        drop(self.pipelines[index].take_requests().unwrap());
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let (status, body) = timeout(DEADLINE, ask(self.address, "POST", path, headers, body.as_bytes())).await.unwrap();
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = timeout(DEADLINE, ask(self.address, "GET", path, &[], b"")).await.unwrap();
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    async fn end(mut self) {
        self.stop.cancel();
        drop(self.pipelines);
        timeout(DEADLINE, self.tasks.join()).await.unwrap();
    }
}

#[tokio::test]
async fn every_pipeline_is_asked_unless_one_is_named() {
    let mut running = start(&["first", "second"], "127.0.0.1:0", None).await;
    let (mut first, mut second) = (running.answer(0, Outcome::Swapped), running.answer(1, Outcome::Unchanged));
    let (status, answer) = running.post("/reload", &[], "").await;
    let outcomes = |answer: &Value| answer["events"].as_array().unwrap().iter().map(|event| event["outcome"].clone()).collect();
    let all: Vec<Value> = outcomes(&answer);
    assert_eq!((status, all), (200, vec![json!("swapped"), json!("unchanged")]));
    assert_eq!((first.recv().await, second.recv().await), (Some((Trigger::Reload, false)), Some((Trigger::Reload, false))));
    let (status, answer) = running.post("/plan", &[], r#"{"pipeline": "second", "force": true}"#).await;
    let all: Vec<Value> = outcomes(&answer);
    assert_eq!((status, all), (200, vec![json!("unchanged")]));
    assert_eq!(second.recv().await, Some((Trigger::Plan, true)));
    assert!(first.try_recv().is_err(), "the first was not meant");
    assert_eq!(running.post("/rollback", &[], r#"{"pipeline": "first"}"#).await.0, 200);
    assert_eq!(first.recv().await, Some((Trigger::Rollback, false)));
    running.end().await;
}

#[tokio::test]
async fn a_refusal_is_a_conflict_and_carries_the_event() {
    let mut running = start(&["p"], "127.0.0.1:0", None).await;
    let _told = running.answer(0, Outcome::Refused);
    let (status, answer) = running.post("/reload", &[], "").await;
    assert_eq!((status, &answer["events"][0]["outcome"]), (409, &json!("refused")));
    running.end().await;
}

#[tokio::test]
async fn a_pipeline_that_has_stopped_is_told_beside_what_the_others_answered() {
    let mut running = start(&["first", "second"], "127.0.0.1:0", None).await;
    running.stop(0);
    let _told = running.answer(1, Outcome::Swapped);
    let (status, answer) = running.post("/reload", &[], "").await;
    assert_eq!((status, &answer["events"][0]["pipeline"]), (503, &json!("second")));
    assert_eq!(answer["error"], "stopped, and so not to be asked: `first`");
    running.end().await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused_and_nobody_is_asked() {
    let mut running = start(&["first", "second"], "127.0.0.1:0", None).await;
    let mut told = running.answer(0, Outcome::Swapped);
    let (status, answer) = running.post("/reload", &[], r#"{"pipelin": "first"}"#).await;
    let problem = answer["error"].as_str().unwrap();
    assert_eq!(
        (status, problem.contains("unknown field `pipelin`"), problem.contains("`force`")),
        (400, true, true),
        "{problem}"
    );
    assert_eq!(running.post("/reload", &[], "reload, please").await.0, 400);
    let (status, answer) = running.post("/reload", &[], r#"{"pipeline": "third"}"#).await;
    let known = "no pipeline is called `third`; there are: `first`, `second`";
    assert_eq!((status, answer), (404, json!({ "error": known })));
    let (status, answer) = running.post("/reload", &[], &" ".repeat(65 << 10)).await;
    assert_eq!((status, answer), (413, json!({ "error": "the body is longer than 64 KiB" })));
    assert_eq!(running.get("/reload").await.0, 405);
    assert!(told.try_recv().is_err(), "nobody was meant");
    running.end().await;
}

#[tokio::test]
async fn where_a_token_is_set_it_must_be_shown_to_ask_but_not_to_look() {
    let mut running = start(&["p"], "127.0.0.1:0", Some(TOKEN)).await;
    let mut told = running.answer(0, Outcome::Swapped);
    for shown in ["", "Bearer", "Bearer ", "Bearer 0123456789abcdeF", "Bearer 0123456789abcde", "Basic 0123456789abcdef", TOKEN] {
        for path in ["/reload", "/rollback", "/plan"] {
            let (status, answer) = running.post(path, &[("authorization", shown)], "").await;
            assert_eq!((status, answer["error"].is_string()), (401, true), "{path} {shown}");
        }
    }
    let (status, head, _) = ask_whole(running.address, "POST", "/reload", &[], b"").await;
    assert_eq!((status, head.contains("www-authenticate: bearer")), (401, true), "{head}");
    assert!(told.try_recv().is_err(), "nobody may have been asked");
    for scheme in ["Bearer", "bearer"] {
        let shown = format!("{scheme} {TOKEN}");
        assert_eq!(running.post("/reload", &[("authorization", &shown)], "").await.0, 200, "{scheme}");
    }
    for path in ["/healthz", "/status", "/metrics"] {
        assert_eq!(running.get(path).await.0, 200, "{path}");
    }
    assert_eq!(running.get("/nothing").await.0, 404);
    running.end().await;
}

#[tokio::test]
async fn beyond_this_machine_nobody_may_ask_without_a_token() {
    let mut running = start(&["p"], "0.0.0.0:0", None).await;
    let mut told = running.answer(0, Outcome::Swapped);
    let (status, answer) = running.post("/reload", &[], "").await;
    assert_eq!((status, answer["error"].as_str().unwrap().contains("`[admin] token`")), (403, true));
    assert!(told.try_recv().is_err(), "nobody may have been asked");
    // A probe names the address that it reaches the host by.
    let probe = [("host", "10.1.2.3:9600")];
    assert_eq!(ask(running.address, "GET", "/healthz", &probe, b"").await, (200, "ok\n".to_owned()));
    running.end().await;
}

#[tokio::test]
async fn beyond_this_machine_the_token_is_enough() {
    let mut running = start(&["p"], "0.0.0.0:0", Some(TOKEN)).await;
    let _told = running.answer(0, Outcome::Swapped);
    assert_eq!(running.post("/reload", &[("authorization", "Bearer wrong-wrong-wrong")], "").await.0, 401);
    let shown = format!("Bearer {TOKEN}");
    assert_eq!(running.post("/reload", &[("host", "tidegate.example"), ("authorization", &shown)], "").await.0, 200);
    running.end().await;
}

#[tokio::test]
async fn a_web_page_neither_asks_nor_looks_on_a_loopback_address() {
    let mut running = start(&["p"], "127.0.0.1:0", None).await;
    let mut told = running.answer(0, Outcome::Swapped);
    let rebound = [("host", "evil.example")];
    let foreign = [("origin", "https://evil.example")];
    assert_eq!(running.post("/reload", &rebound, "").await.0, 403);
    assert_eq!(running.post("/reload", &foreign, "").await.0, 403);
    for path in ["/status", "/metrics", "/healthz", "/readyz"] {
        assert_eq!(ask(running.address, "GET", path, &rebound, b"").await.0, 403, "{path}");
    }
    assert!(told.try_recv().is_err(), "nobody may have been asked");
    running.end().await;
}

#[tokio::test]
async fn the_status_keeps_what_came_of_reloads_and_the_metrics_count_it() {
    let running = start(&["p"], "127.0.0.1:0", None).await;
    let pipeline = &running.pipelines[0];
    pipeline.history.push(event("p", Outcome::Refused, Trigger::File));
    pipeline.history.push(event("p", Outcome::Swapped, Trigger::Reload));
    let (status, shown) = running.get("/status").await;
    let outcomes: Vec<&Value> = shown["reloads"].as_array().unwrap().iter().map(|event| &event["outcome"]).collect();
    assert_eq!((status, outcomes), (200, vec![&json!("refused"), &json!("swapped")]));
    assert_eq!(shown["standing"], json!({ "rollback_to": null, "on_probation": false }));
    let read: Status = serde_json::from_value(shown).unwrap();
    assert_eq!((read.generation, read.reloads), (1, pipeline.history.list()));
    let (_, metrics) = running.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    for line in [
        "tidegate_reloads_total{pipeline=\"p\",outcome=\"refused\",trigger=\"file\"} 1\n",
        "tidegate_generation{pipeline=\"p\"} 1\n",
        "tidegate_reload_seconds_count{pipeline=\"p\"} 2\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    running.end().await;
}
