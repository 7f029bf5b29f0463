//! One leg: processes that drain queues, looked at from outside, and counted at the destinations.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tidegate_harness::deadline::Deadline;
use tidegate_harness::host::Host;
use tidegate_harness::scratch::Scratch;
use tidegate_harness::{Failure, Result};
use tokio::time::sleep;

use crate::case::Case;
use crate::ends::Ends;
use crate::figures::{Cpu, Figures};
use crate::meter;
use crate::runner::arguments;
use crate::settings::Settings;

/// Longest wait for a leg: this, and so long for each message.
const PATIENCE: Duration = Duration::from_secs(300);
const PATIENCE_PER_MESSAGE: Duration = Duration::from_millis(1);
/// How often the destinations are looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// The processes of a case, and the folder that they run in.
pub(crate) struct Leg {
    case: Case,
    processes: Vec<Host>,
    /// Letters that were there before.
    letters: usize,
    folder: Scratch,
}

/// One look: how much has arrived, when, and what it had cost until then.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    arrived: usize,
    at: Duration,
    pipeline: Duration,
    servers: [Option<Duration>; 3],
}

impl Look {
    /// The same, but now.
    pub(crate) fn later(self, clock: Deadline) -> Self {
        Self { at: clock.elapsed(), ..self }
    }
}

/// Queues, filled and drained.
pub(crate) async fn run(settings: &Settings, ends: &mut Ends, case: &Case) -> Result<Figures> {
    let start = if case.whole { Some(start(settings, ends, case).await?) } else { None };
    ends.fill(case).await?;
    let (clock, servers) = (patience(case), servers(ends));
    let mut leg = Leg::start(settings, ends, case).await?;
    let figures = match start {
        None => leg.measure(ends).await?,
        Some(start) => {
            let last = leg.until(ends, case.broadcast(), clock, LOOK).await?;
            leg.between(&[(Look { servers, ..start }, last)])?
        }
    };
    leg.finish(ends).await?;
    Ok(figures)
}

/// What it takes the same processes to be ready on empty queues.
async fn start(settings: &Settings, ends: &mut Ends, case: &Case) -> Result<Look> {
    ends.prepare(case).await?;
    let clock = patience(case);
    let mut leg = Leg::start(settings, ends, case).await?;
    leg.consuming(ends).await?;
    let look = leg.look(ends, 0, clock)?;
    leg.terminate()?;
    Ok(look)
}

fn patience(case: &Case) -> Deadline {
    Deadline::after(PATIENCE + PATIENCE_PER_MESSAGE * u32::try_from(case.messages).unwrap_or(u32::MAX))
}

fn servers(ends: &Ends) -> [Option<Duration>; 3] {
    ends.servers.map(|root| root.map(meter::tree_cpu))
}

impl Leg {
    /// Starts the processes, without waiting.
    pub(crate) async fn start(settings: &Settings, ends: &Ends, case: &Case) -> Result<Self> {
        let letters = if case.beside_letters { ends.waiting(case, ".dead").await? } else { 0 };
        let folder = Scratch::new("bench")?;
        let mut processes = Vec::with_capacity(case.replicas);
        for replica in 0..case.replicas {
            let own = folder.path().join(replica.to_string());
            std::fs::create_dir(&own).map_err(|error| Failure::new(format!("making a folder: {error}")))?;
            processes.push(Host::launch(arguments(settings, ends, case, &own)?)?);
        }
        Ok(Self { case: *case, processes, letters, folder })
    }

    /// Waits until each process consumes.
    pub(crate) async fn consuming(&mut self, ends: &Ends) -> Result<()> {
        let (deadline, queue) = (Deadline::after(PATIENCE), ends.of(&self.case, 0).queue);
        while ends.look(&queue).await?.1 < self.processes.len() {
            self.is_running()?;
            self.in_time(deadline, "nobody consumes")?;
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// From the first look that sees messages at all ends, or as many as make it warm, to the one that sees all messages there.
    pub(crate) async fn measure(&mut self, ends: &mut Ends) -> Result<Figures> {
        let deadline = patience(&self.case);
        let begun = if self.case.warm { self.case.broadcast().div_ceil(5) } else { 1 };
        let first = self.until(ends, begun, deadline, LOOK).await?;
        if first.arrived >= self.case.broadcast() {
            return Err(Failure::new("all was there at the first look: take more messages"));
        }
        let last = self.until(ends, self.case.broadcast(), deadline, LOOK).await?;
        self.between(&[(first, last)])
    }

    /// The first look that sees so many messages at all ends.
    pub(crate) async fn until(&mut self, ends: &mut Ends, messages: usize, deadline: Deadline, look: Duration) -> Result<Look> {
        loop {
            let arrived = ends.broadcast(&self.case).await?.min(ends.numbered().await?);
            if arrived >= messages {
                return self.look(ends, arrived, deadline);
            }
            self.is_running()?;
            self.in_time(deadline, &format!("{arrived} of {messages} messages"))?;
            sleep(look).await;
        }
    }

    /// A look, without asking what has arrived.
    pub(crate) fn look(&self, ends: &Ends, arrived: usize, clock: Deadline) -> Result<Look> {
        let at = clock.elapsed();
        let mut pipeline = Duration::ZERO;
        for process in &self.processes {
            pipeline += meter::cpu(process.pid()?)?;
        }
        Ok(Look { arrived, at, pipeline, servers: servers(ends) })
    }

    /// What happened between the two looks of each pair, all together.
    pub(crate) fn between(&self, looks: &[(Look, Look)]) -> Result<Figures> {
        let mut peak = 0;
        for process in &self.processes {
            peak += meter::peak_memory(process.pid()?)?;
        }
        let arrived = |look: &Look| look.arrived.min(self.case.broadcast());
        let messages: usize = looks.iter().map(|(first, last)| arrived(last).saturating_sub(arrived(first))).sum();
        let took =
            |of: fn(&Look) -> Duration| looks.iter().map(|(first, last)| of(last).saturating_sub(of(first))).sum::<Duration>();
        if messages == 0 || took(|look| look.at).is_zero() {
            return Err(Failure::new("it was over before it could be measured: take more messages"));
        }
        let micros = |took: Duration| took.as_secs_f64() * 1e6 / messages as f64;
        let known = |of: fn(&Look) -> Option<Duration>| {
            let took: Option<Duration> = looks.iter().map(|(first, last)| Some(of(last)?.saturating_sub(of(first)?))).sum();
            took.map(micros)
        };
        Ok(Figures {
            messages_per_second: messages as f64 / took(|look| look.at).as_secs_f64(),
            cpu: Cpu {
                pipeline: micros(took(|look| look.pipeline)),
                rabbitmq: known(|look| look.servers[0]),
                redis: known(|look| look.servers[1]),
                postgres: known(|look| look.servers[2]),
            },
            peak_megabytes: peak as f64 / 1e6,
        })
    }

    /// Ends the processes and counts. A leg that is a message short, or one over, has no figures.
    pub(crate) async fn finish(self, ends: &mut Ends) -> Result<()> {
        self.finish_taken(ends, 0).await
    }

    /// The same where so many entries were taken off the lists already.
    pub(crate) async fn finish_taken(mut self, ends: &mut Ends, taken: usize) -> Result<()> {
        let (case, deadline) = (self.case, Deadline::after(PATIENCE));
        while ends.waiting(&case, ".dead").await? < self.letters + case.letters() {
            self.is_running()?;
            self.in_time(deadline, "dead letters are missing")?;
            sleep(Duration::from_millis(100)).await;
        }
        // What is at both ends is acknowledged a moment later.
        sleep(Duration::from_millis(500)).await;
        self.terminate()?;
        let letters = ends.waiting(&case, ".dead").await?.saturating_sub(self.letters);
        let broadcast = taken + ends.lengths(&case).await?.into_iter().sum::<usize>();
        let found = (broadcast, ends.rows().await?, letters, ends.waiting(&case, "").await?);
        let right = (case.broadcast() * case.lists, case.rows(), case.letters(), 0);
        if found == right {
            return Ok(());
        }
        let name = case.runner.name();
        Err(self.failure(&format!("{name}: broadcast, rows, dead letters and left are {found:?} and should be {right:?}")))
    }

    fn terminate(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(|process| process.terminate().map(drop))
    }

    /// The admin HTTP of the first process.
    pub(crate) fn admin(&self) -> Result<SocketAddr> {
        self.first().map(Host::admin)
    }

    /// The first process.
    pub(crate) fn first(&self) -> Result<&Host> {
        self.processes.first().ok_or_else(|| Failure::new("a leg has a process"))
    }

    /// The folder that the first process runs in.
    pub(crate) fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join(Path::new("0"))
    }

    fn is_running(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Host::is_running)
    }

    fn in_time(&self, deadline: Deadline, what: &str) -> Result<()> {
        if deadline.is_over() { Err(self.failure(&format!("{what} after {:?}", deadline.elapsed()))) } else { Ok(()) }
    }

    /// With what the processes have said.
    pub(crate) fn failure(&self, what: &str) -> Failure {
        let said = self.processes.iter().map(Host::log).collect::<Vec<_>>();
        Failure::new(format!("{what}\n{}", said.join("\n")))
    }
}
