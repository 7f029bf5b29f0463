//! Named tasks, and how each ends: by returning, after the stop was asked for.

use std::future::Future;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info_span};

/// Asks everything that holds a clone to end.
pub type Stop = CancellationToken;

/// The one spawner of the host: a set of named tasks.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<Arc<str>>,
}

impl Tasks {
    /// Starts a task. It ends by returning; what it holds then is settled or left with the broker.
    pub fn spawn(&mut self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        let name: Arc<str> = name.into();
        let span = info_span!("task", name = %name);
        self.set.spawn(
            async move {
                task.await;
                name
            }
            .instrument(span),
        );
    }

    /// Waits for the next task to end; `None` when there are none left. A panic is logged and counts as an end.
    pub async fn next(&mut self) -> Option<Arc<str>> {
        let ended = self.set.join_next().await?;
        Some(ended.unwrap_or_else(|failure: JoinError| {
            error!(%failure, "a task panicked; what it held stays with the broker");
            "panicked".into()
        }))
    }

    /// Waits for every task to end.
    pub async fn join(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Ends every task where it stands.
    pub fn abort(&mut self) {
        self.set.abort_all();
    }
}

/// Runs work that blocks (a sandboxed call, a file) off the async threads.
///
/// # Errors
/// Fails when the work panicked.
#[expect(clippy::disallowed_methods, reason = "this is the one place that the ban points to")]
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}
