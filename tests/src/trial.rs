//! A rig whose files are changed while it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use lapin::BasicProperties;
use serde_json::Value;
use tempfile::TempDir;
use tidegate::lifecycle::Stop;
use tidegate_harness::pipeline::Pipeline;
use tokio::runtime;

use crate::broker::{Queue, eventually, pause};
use crate::host::{PATIENCE, Rig, answer, command, plugins};
use crate::store::row_count;

/// Taken up soon, and watched by nobody afterwards.
pub(crate) const RELOAD: &str = "\n[reload]\nsettle = \"50ms\"\npoll = \"500ms\"\nprobation = \"0s\"\n";

/// A rig with components of its own, which a test may change.
pub(crate) struct Trial {
    pub(crate) rig: Rig,
    /// The components of the pipeline.
    components: TempDir,
}

impl Trial {
    /// The shipped shape, not started yet.
    pub(crate) async fn new() -> Self {
        Self::on(Queue::classic().await).await
    }

    pub(crate) async fn on(queue: Queue) -> Self {
        let mut rig = Rig::on(queue).await;
        let components = TempDir::new().unwrap();
        for name in ["validate-message", "reshape", "aes-256-gcm", "aes-256-cbc"] {
            let file = format!("{name}.wasm");
            fs::copy(plugins().join(&file), components.path().join(&file)).unwrap();
        }
        let (shared, own) = (plugins().display().to_string(), components.path().display().to_string());
        rig.pipeline.steps = rig.pipeline.steps.replace(&shared, &own);
        rig.pipeline.sinks += RELOAD;
        Self { rig, components }
    }

    /// The file of a component.
    pub(crate) fn component(&self, name: &str) -> PathBuf {
        self.components.path().join(name).with_extension("wasm")
    }

    /// pipeline.toml.
    pub(crate) fn file(&self) -> PathBuf {
        self.rig.folder.path().join("pipeline.toml")
    }

    /// Changes the file's text and saves it, as an editor does.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Pipeline)) {
        change(&mut self.rig.pipeline);
        save(&self.file(), self.rig.pipeline.text().as_bytes());
    }

    /// The newest event, and its time, by which it is told from others.
    fn newest(&mut self) -> Option<Value> {
        self.rig.host().status().unwrap()["reloads"].as_array().unwrap().last().cloned()
    }

    /// Does something to the files, and waits for the event that comes of it.
    pub(crate) fn after(&mut self, deed: impl FnOnce(&mut Self)) -> Value {
        let before = self.newest();
        deed(self);
        self.event_after(before.as_ref())
    }

    fn event_after(&mut self, before: Option<&Value>) -> Value {
        let before = before.map(|event| event["at"].clone());
        let newest = |host: &tidegate_harness::host::Host| {
            let newest = host.status()?["reloads"].as_array().and_then(|events| events.last().cloned());
            Ok(newest.filter(|newest| Some(&newest["at"]) != before.as_ref()))
        };
        self.rig.host().wait_until("a reload", PATIENCE, newest).unwrap()
    }

    /// As [`Self::after`], and sees that it was swapped.
    pub(crate) fn swapped(&mut self, deed: impl FnOnce(&mut Self)) -> Value {
        let event = self.after(deed);
        assert_eq!(event["outcome"], "swapped", "{event:#}");
        assert_eq!(event["swap"]["balanced"], true, "{event:#}");
        assert_eq!(event["swap"]["redelivered"], 0, "{event:#}");
        event
    }

    /// A command of the host, its exit code and what it printed.
    pub(crate) fn ask(&self, arguments: &[&str]) -> (i32, Value) {
        // The file may name another address by now.
        let host = format!("127.0.0.1:{}", self.rig.pipeline.admin_port);
        answer(&command(self.rig.folder.path(), &[arguments, &["--json", "--host", &host]].concat(), b""))
    }

    /// `tidegate reload`: the event.
    pub(crate) fn reload(&self) -> Value {
        self.ask(&["reload"]).1["events"][0].clone()
    }

    /// Generation that runs.
    pub(crate) fn generation(&mut self) -> u64 {
        self.rig.host().status().unwrap()["generation"].as_u64().unwrap()
    }

    /// How often saved files were looked at and said what runs.
    pub(crate) fn unchanged(&mut self) -> u64 {
        let metrics = self.rig.host().get("/metrics").unwrap().text();
        let looks =
            |line: &&str| line.starts_with("tidegate_reloads_total") && line.contains("outcome=\"unchanged\",trigger=\"file\"");
        metrics.lines().find(looks).map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
    }

    /// Puts the files right again, and waits until the host has seen it.
    pub(crate) fn mended(&mut self, deed: impl FnOnce(&mut Self)) {
        let before = self.unchanged();
        deed(self);
        assert_eq!(self.reload()["outcome"], "unchanged");
        let file = self.rig.folder.path().to_owned();
        tidegate_harness::deadline::wait_for(&format!("the mended files of {} to be seen", file.display()), PATIENCE, || {
            Ok((self.unchanged() > before).then_some(()))
        })
        .unwrap();
    }

    /// The status, once it is as wanted.
    pub(crate) fn status_when(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let look = |host: &tidegate_harness::host::Host| Ok(Some(host.status()?).filter(&wanted));
        self.rig.host().wait_until(what, PATIENCE, look).unwrap()
    }

    /// A counter of a stage, e.g. its connections.
    pub(crate) fn connects(&mut self, stage: &str) -> u64 {
        let metrics = self.rig.host().get("/metrics").unwrap().text();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("tidegate_stage_connects_total") && line.contains(&format!("stage=\"{stage}\"")));
        line.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
    }

    /// Sees that so many numbered messages arrived once each, in order, at Redis and PostgreSQL, and that each row opens to its text.
    pub(crate) async fn arrived(&mut self, count: usize) {
        eventually("all rows", async || row_count(&self.rig.pool).await >= count).await;
        eventually("the whole broadcast", async || self.rig.key.length().await >= count).await;
        let sent: Vec<Vec<u8>> = (0..count).map(|number| body(number).into_bytes()).collect();
        assert!(self.rig.broadcast().await == sent, "the broadcast is not what was sent, in order");
        let rows = self.rig.rows().await;
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        assert_eq!(ids, (0..count).map(|number| format!("user_{number}")).collect::<Vec<_>>());
        let sealed: Vec<&str> = rows.iter().map(|row| row.message_content.as_str()).collect();
        let opened = self.rig.open(&sealed);
        for (number, opened) in opened.into_iter().enumerate() {
            assert_eq!(opened, Some(format!("message {number}")), "{}", sealed[number]);
        }
        assert_eq!(self.rig.queue.depth(&self.rig.queue.dead()).await, 0);
    }
}

/// Replaces a file as an editor does: beside it, and renamed over it.
pub(crate) fn save(file: &Path, content: &[u8]) {
    let beside = file.with_extension("new");
    fs::write(&beside, content).unwrap();
    fs::rename(&beside, file).unwrap();
}

/// A component with a mark of its own: it does the same, and has another digest.
pub(crate) fn marked(component: &[u8], mark: &str) -> Vec<u8> {
    let length = u8::try_from(mark.len()).unwrap();
    // A custom section: its id, its length, and its name.
    let section = [&[0, length + 1, length][..], mark.as_bytes()].concat();
    [component, &section].concat()
}

/// Numbered message.
pub(crate) fn body(number: usize) -> String {
    format!(r#"{{"id":"user_{number}","sub_id":"session","message":{{"content":"message {number}"}}}}"#)
}

/// Publishes numbered messages with ids as fast as the host takes them, until it is told to stop.
pub(crate) struct Publisher {
    stop: Stop,
    /// A thread of its own: a test that waits for its host would hold it up.
    thread: thread::JoinHandle<usize>,
}

impl Publisher {
    /// Messages that may lie on the queue: enough to keep the host busy.
    const AHEAD: u64 = 2000;
    /// Messages that are published together.
    const CHUNK: usize = 250;

    pub(crate) fn start(queue: &Queue) -> Self {
        let ((url, name), stop) = (queue.place(), Stop::new());
        let stopped = stop.clone();
        let publishing = async move {
            let queue = Queue::named(&url, &name).await;
            let mut sent = 0;
            while !stopped.is_cancelled() {
                if queue.depth(&queue.name).await > Self::AHEAD {
                    pause().await;
                    continue;
                }
                queue.publish_with(numbered(sent..sent + Self::CHUNK)).await;
                sent += Self::CHUNK;
            }
            sent
        };
        let run = move || runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(publishing);
        Self { stop, thread: thread::spawn(run) }
    }

    /// Ends, and says how many it has sent.
    pub(crate) fn stop(self) -> usize {
        self.stop.cancel();
        self.thread.join().unwrap()
    }
}

/// Numbered messages with ids.
pub(crate) fn numbered(numbers: std::ops::Range<usize>) -> impl Iterator<Item = (String, BasicProperties)> {
    numbers.map(|number| {
        let properties = BasicProperties::default().with_delivery_mode(2);
        (body(number), properties.with_message_id(format!("id-{number}").into()))
    })
}
