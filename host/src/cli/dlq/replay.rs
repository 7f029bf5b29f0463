//! `tidegate dlq replay`: letters into the pipeline again.

use std::path::PathBuf;

use clap::Args;

use super::here::{Here, refuse_live};
use super::mover::Mover;
use super::route::{Choice, Router};
use super::selection::Selection;
use super::start::Start;
use super::steps::Steps;
use super::survey::Survey;
use super::{Place, ask, trial};
use crate::cli::{Failure, say};
use crate::config::Plan;

/// Arguments of `tidegate dlq replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --lane and --all-lanes each letter goes where it came from: what was refused before the fan-out goes through \
    everything; what was refused in a sink's lane goes to that sink alone, so that no other sink gets it twice.\n\n\
    Without --with and --from letters are moved to queues of the running host, which carries them. With one of them this command carries \
    them itself: through the steps, and to sinks that it opens. A letter leaves the queue once every sink that it goes to has confirmed \
    it, or a step has dropped it; what is refused again stays where it lies. Of a letter that a step or a sink refuses, no later sink gets \
    anything; rows are stored before anything is broadcast. Who kills the command leaves one batch at most that sinks have and that lies \
    on the queue too: a row with a message id is not stored twice, a broadcast is repeated.\n\n\
    Exits 0 when all letters that match were replayed, 1 when some stay or something failed, 2 for wrong usage, 78 when the file or a \
    component is wrong."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    selection: Selection,
    /// Begins at this step, and SKIPS those before it, here in this process: e.g. past a validator that was wrong. What a skipped step would have
    /// changed is not changed. A step in a sink's lane leads to that sink alone; where it stands in several lanes, --lane says which.
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
    /// To this sink alone.
    #[arg(long, value_name = "SINK", conflicts_with = "all_lanes")]
    lane: Option<String>,
    /// To every sink, those that have had the message too.
    #[arg(long)]
    all_lanes: bool,
    /// Sends nothing: runs the letters through the steps and shows what would become of them.
    #[arg(long)]
    dry_run: bool,
    /// With another component for a step, here in this process. The running host keeps its own. The step's settings are those of the file.
    #[arg(long, value_name = "STEP=FILE", value_parser = with)]
    with: Vec<(String, PathBuf)>,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
}

fn with(text: &str) -> Result<(String, PathBuf), String> {
    let parts = text.split_once('=').filter(|(step, file)| !step.is_empty() && !file.is_empty());
    let (step, file) = parts.ok_or("expected STEP=FILE, e.g. validate=new.wasm")?;
    Ok((step.trim_start_matches("steps.").to_owned(), file.into()))
}

impl Arguments {
    fn start(&self, plan: &Plan) -> Result<Option<Start>, Failure> {
        let find = |step: &String| Start::find(plan, step, self.lane.as_deref());
        self.from.as_ref().map(find).transpose().map_err(|why| why.in_file(plan))
    }

    fn choice(&self, start: Option<&Start>) -> Result<Choice, Failure> {
        let lane = start.and_then(|start| start.lane.as_ref());
        match (lane, &self.lane, self.all_lanes) {
            (Some(sink), _, true) => Err(Failure::Usage(format!(
                "--from names a step in the lane of `{sink}`, which leads to that sink alone: leave out --all-lanes"
            ))),
            (Some(sink), ..) => Ok(Choice::Lane(sink.to_string())),
            (_, Some(sink), _) => Ok(Choice::Lane(sink.clone())),
            (.., true) => Ok(Choice::AllLanes),
            _ => Ok(Choice::ByLetter),
        }
    }
}

/// Replays what matches, or tries what would become of it.
pub(super) async fn replay(arguments: Arguments) -> Result<(), Failure> {
    let loaded = arguments.place.load()?;
    let plan = loaded.plan.clone();
    let start = arguments.start(&plan)?;
    let router = Router::new(&plan, &arguments.choice(start.as_ref())?)?;
    let mailbox = super::mailbox(&plan).await?;
    if arguments.dry_run {
        say(&start.as_ref().map(Start::describe).unwrap_or_default());
        let steps = Steps::ready(loaded, &arguments.with, start.as_ref()).await?;
        return trial::try_all(&steps, &router, &*mailbox, &arguments.selection).await;
    }
    let survey = Survey::of(&*mailbox, &arguments.selection, &router).await?;
    survey.check()?;
    if survey.total() == 0 {
        say("no letter matches\n");
        return Ok(());
    }
    let mut here = None;
    if start.is_some() || !arguments.with.is_empty() {
        refuse_live(&plan, &survey)?;
        let steps = Steps::ready(loaded, &arguments.with, start.as_ref()).await?;
        here = Some(Here::ready(&plan, &router, steps, &survey).await?);
        say(&start.as_ref().map(Start::describe).unwrap_or_default());
        say(&survey.describe_here(&plan.sinks));
    } else {
        say(&survey.describe(super::queue(&plan)));
    }
    if !ask::may(&format!("Replay {} letter(s)?", survey.total()), arguments.yes)? {
        say("nothing was replayed\n");
        return Ok(());
    }
    // The same letters again, and none that came meanwhile.
    let selection = Selection { limit: Some(survey.total()), ..arguments.selection };
    match here {
        Some(here) => here.run(&*mailbox, &selection).await,
        None => Mover::new(&plan, &router).run(&*mailbox, &selection).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_given_as_step_and_file() {
        assert_eq!(with("validate=new.wasm"), Ok(("validate".to_owned(), "new.wasm".into())));
        assert_eq!(with("steps.validate=a=b.wasm"), Ok(("validate".to_owned(), "a=b.wasm".into())));
        assert!(with("new.wasm").is_err() && with("=new.wasm").is_err() && with("validate=").is_err());
    }
}
