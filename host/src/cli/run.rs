//! `tidegate run`: pipelines, until SIGTERM or Ctrl-C.

use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info};

use super::Failure;
use super::load::{self, Files};
use crate::admin::{self, Shown};
use crate::config::Admin;
use crate::lifecycle::{Stop, Tasks, blocking};
use crate::pipeline::reload::Trigger;
use crate::pipeline::{Ended, Pipeline};
use crate::telemetry::Telemetry;

/// Arguments of `tidegate run`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Takes no plugin, now or later, that differs from `pipeline.lock`.
    #[arg(long)]
    locked: bool,
}

/// Runs until every pipeline has ended.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let telemetry = Telemetry::default();
    let shared = telemetry.clone();
    // Compiling and warming take their time: off the async threads.
    let files = Files { locked: arguments.locked, ..arguments.files };
    let ready = blocking(move || load::ready_all(&files, &shared));
    let pipelines = ready.await.map_err(|failure| Failure::Running(format!("the start panicked: {failure}")))??;
    let admin = pipelines.first().map(|pipeline| pipeline.running().plan().admin.clone());
    let stop = Stop::new();
    let mut tasks = Tasks::default();
    watch_signals(&stop, &mut tasks)?;
    watch_hangups(&pipelines, &stop, &mut tasks)?;
    let admin_stop = Stop::new();
    if let Some(admin) = admin {
        serve_admin(admin, &pipelines, telemetry, &admin_stop, &mut tasks).await?;
    }
    let outcome = run_all(&pipelines, &stop).await;
    admin_stop.cancel();
    outcome
}

async fn serve_admin(
    Admin { listen, token }: Admin,
    pipelines: &[Pipeline],
    telemetry: Telemetry,
    stop: &Stop,
    tasks: &mut Tasks,
) -> Result<(), Failure> {
    let taken = |error| Failure::Running(format!("the admin address {listen} cannot be taken: {error}; set `[admin] listen`"));
    let listener = admin::bind(listen).await.map_err(taken)?;
    info!(address = %listener.local_addr().unwrap_or(listen), "admin is listening");
    let shown = Shown { pipelines: Arc::new(pipelines.to_vec()), telemetry, token };
    let stop = stop.clone();
    tasks.spawn("admin", async move {
        if let Err(failure) = admin::serve(listener, shown, stop).await {
            error!(%failure, "the admin HTTP ended");
        }
    });
    Ok(())
}

/// Runs the pipelines side by side. One that fails stops all: half a process is no state to leave an operator with.
async fn run_all(pipelines: &[Pipeline], stop: &Stop) -> Result<(), Failure> {
    let (tell, mut ended) = mpsc::channel(pipelines.len().max(1));
    let mut tasks = Tasks::default();
    for pipeline in pipelines.iter().cloned() {
        let running = pipeline.running();
        let generation = &running.generation;
        info!(pipeline = %pipeline.name, generation = generation.number, steps = generation.plugins.len(), "running");
        let (tell, stop) = (tell.clone(), stop.clone());
        let name = Arc::clone(&pipeline.name);
        tasks.spawn(&name, async move {
            let outcome = conclude(&pipeline.name, pipeline.run(stop.clone()).await);
            if matches!(outcome, Conclusion::Failed(_)) {
                stop.cancel();
            }
            if matches!(outcome, Conclusion::Halted(_)) {
                // A halted pipeline stays visible as not ready until a person stops the process.
                stop.cancelled().await;
            }
            drop(tell.send(outcome).await);
        });
    }
    drop(tell);
    let mut failures = Vec::new();
    while let Some(conclusion) = ended.recv().await {
        match conclusion {
            Conclusion::Clean => {}
            Conclusion::Halted(failure) | Conclusion::Failed(failure) => failures.push(failure),
        }
    }
    tasks.join().await;
    if failures.is_empty() { Ok(()) } else { Err(Failure::Running(failures.join("\n"))) }
}

/// How a pipeline's end counts for the process.
enum Conclusion {
    Clean,
    Halted(String),
    Failed(String),
}

fn conclude(name: &str, ended: Result<Ended, crate::source::StageError>) -> Conclusion {
    match ended {
        Ok(Ended::Stopped { left }) => {
            info!(pipeline = name, left, "stopped; what is left stays with the broker");
            Conclusion::Clean
        }
        Ok(Ended::Halted(reason)) => Conclusion::Halted(format!("pipeline {name}: {reason}")),
        Ok(Ended::Failed) => Conclusion::Failed(format!("pipeline {name}: a part of it failed; see the log")),
        Err(failure) => Conclusion::Failed(format!("pipeline {name}: {failure}")),
    }
}

/// The first SIGTERM or SIGINT asks for a clean stop, the second ends the process at once: the broker has what is not acknowledged.
fn watch_signals(stop: &Stop, tasks: &mut Tasks) -> Result<(), Failure> {
    let failed = |error| Failure::Running(format!("signals cannot be watched: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = stop.clone();
    tasks.spawn("signals", async move {
        for attempt in 1_u8.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if attempt > 1 {
                error!("asked twice: ending at once; what is not acknowledged stays with the broker");
                std::process::exit(1);
            }
            info!("stopping: what is in flight is settled first");
            stop.cancel();
        }
    });
    Ok(())
}

/// SIGHUP asks every pipeline to look at its files.
fn watch_hangups(pipelines: &[Pipeline], stop: &Stop, tasks: &mut Tasks) -> Result<(), Failure> {
    let failed = |error| Failure::Running(format!("signals cannot be watched: {error}"));
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let (pipelines, stop) = (pipelines.to_vec(), stop.clone());
    tasks.spawn("reload signal", async move {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = hangup.recv() => {}
            }
            for pipeline in &pipelines {
                // What came of it is logged, and in `/status`.
                drop(pipeline.reloader.ask(Trigger::Signal, false).await);
            }
        }
    });
    Ok(())
}
