//! How each pipeline is started for a case.

use std::fs;
use std::path::Path;

use tidegate_harness::Result;
use tidegate_harness::failure::While;
use tidegate_harness::host::Arguments;
use tidegate_harness::pipeline::{self, Pipeline, broadcast, quoted, step};

use crate::case::{Case, Runner};
use crate::ends::Ends;
use crate::load::Trouble;
use crate::native;
use crate::settings::Settings;

/// The component that is swapped.
pub(crate) const SWAPPED: &str = "validate-message.wasm";
/// Bodies that the shipped limits are made for.
const USUAL_BYTES: usize = 64 << 10;

/// How the process that is one of the case's replicas is started.
pub(crate) fn arguments(settings: &Settings, ends: &Ends, case: &Case, folder: &Path) -> Result<Arguments> {
    match case.runner {
        Runner::Native | Runner::NativeAgain => by_hand("native", &ends.of(case, 0), folder),
        Runner::Original => by_hand("original", &ends.of(case, 0), folder),
        Runner::Host | Runner::HostWithoutSteps | Runner::Swapping => host(settings, ends, case, folder),
    }
}

fn by_hand(command: &str, to: &native::Settings, folder: &Path) -> Result<Arguments> {
    let program = std::env::current_exe().doing("finding this program")?;
    let prefetch = to.prefetch.to_string();
    let named = [
        ("--amqp-url", &to.amqp_url),
        ("--queue", &to.queue),
        ("--redis-url", &to.redis_url),
        ("--database-url", &to.database_url),
        ("--prefetch", &prefetch),
    ];
    let keys = to.keys.iter().map(|key| ("--key", key));
    let rest = named.into_iter().chain(keys).flat_map(|(name, value)| [name.to_owned(), value.clone()]);
    let arguments = std::iter::once(command.to_owned()).chain(rest).collect();
    Ok(Arguments { program, arguments, folder: folder.to_owned(), variables: Vec::new(), admin_port: 0 })
}

fn host(settings: &Settings, ends: &Ends, case: &Case, folder: &Path) -> Result<Arguments> {
    let (mut arguments, mut admin_port) = (vec!["run".to_owned()], None);
    for number in 0..case.pipelines {
        let pipeline = shaped(settings, &ends.of(case, number), case, number)?;
        let mut text = pipeline.text();
        if case.runner == Runner::Swapping {
            let component = settings.plugins.join(SWAPPED);
            fs::copy(&component, folder.join(SWAPPED)).doing("copying the component")?;
            text = text.replace(&component.display().to_string(), SWAPPED) + "\n[reload]\nsettle = \"10ms\"\n";
        }
        let file = folder.join(format!("pipeline{number}.toml"));
        fs::write(&file, text.replacen("name = \"broadcast\"", &format!("name = \"pipeline{number}\""), 1))
            .doing("writing a pipeline")?;
        arguments.push(file.display().to_string());
        // Of several files the first one's address is served.
        admin_port.get_or_insert(pipeline.admin_port);
    }
    let (program, folder) = (settings.host.clone(), folder.to_owned());
    Ok(Arguments { program, arguments, folder, variables: Vec::new(), admin_port: admin_port.unwrap_or_default() })
}

/// The shipped pipeline with what the case has different.
fn shaped(settings: &Settings, to: &native::Settings, case: &Case, number: usize) -> Result<Pipeline> {
    let key = to.keys.first().map_or("", String::as_str);
    let ends = pipeline::Ends {
        amqp_url: &to.amqp_url,
        queue: &to.queue,
        redis_url: &to.redis_url,
        key,
        database_url: &to.database_url,
    };
    let cache = settings.plugins.with_file_name("tidegate-bench-cache");
    let mut pipeline = Pipeline::shipped(ends, &settings.plugins, &cache)?;
    if case.lists == 0 {
        pipeline.sinks = pipeline::history(&to.database_url);
    }
    for (list, key) in to.keys.iter().enumerate().skip(1) {
        pipeline.sinks += &broadcast(&to.redis_url, key).replace("sinks.broadcast", &format!("sinks.list{list}"));
    }
    // Each pipeline of a process has a ring of its own, as it has a file of its own.
    pipeline.steps = pipeline.steps.replace("file = \"keys.toml\"", &format!("file = \"keys{number}.toml\""));
    more_steps(&mut pipeline, case, &settings.plugins);
    if case.runner == Runner::HostWithoutSteps {
        pipeline = without_steps(pipeline);
    }
    if case.body_bytes > USUAL_BYTES {
        for_large_bodies(&mut pipeline, case.body_bytes);
    }
    Ok(pipeline)
}

/// The validator again and again, each with instances of its own. A row that the database is to refuse would not pass even one.
fn more_steps(pipeline: &mut Pipeline, case: &Case, plugins: &Path) {
    let steps = if matches!(case.trouble, Trouble::Row { .. }) { 0 } else { case.steps };
    let name = |number: usize| if number == 0 { "validate".to_owned() } else { format!("validate{number}") };
    let through: Vec<String> = (0..steps).map(|number| quoted(&name(number))).collect();
    pipeline.head = pipeline.head.replace("through = [\"validate\"]", &format!("through = [{}]", through.join(", ")));
    for number in 1..steps {
        pipeline.steps += &step(&name(number), plugins, "validate-message");
    }
}

/// The same ends, and the same columns: what is not sealed is stored as it is.
fn without_steps(pipeline: Pipeline) -> Pipeline {
    let none = "through = []";
    let sinks = pipeline.sinks.replace("through = [\"reshape\", \"seal\"]", none);
    Pipeline {
        head: pipeline.head.replace("through = [\"validate\"]", none),
        steps: String::new(),
        sinks: sinks.replace("require_sealed = [\"message_content\"]\n", ""),
        ..pipeline
    }
}

/// Limits that a body of a megabyte would meet: the validator's, and the time that a batch of them has.
fn for_large_bodies(pipeline: &mut Pipeline, bytes: usize) {
    let component = "validate-message.wasm\"\n";
    pipeline.steps = pipeline.steps.replace(component, &format!("{component}settings.content_max_bytes = {bytes}\n"));
    pipeline.sinks = pipeline.sinks.replace("mode = \"list\"", "timeout = \"60s\"\nmode = \"list\"");
    pipeline.sinks = pipeline.sinks.replace("table = \"messages\"", "timeout = \"60s\"\ntable = \"messages\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Pipeline {
        let ends =
            pipeline::Ends { amqp_url: "amqp://a", queue: "q", redis_url: "redis://r", key: "k", database_url: "postgres://p" };
        Pipeline::shipped(ends, Path::new("/plugins"), Path::new("/cache")).unwrap()
    }

    #[test]
    fn without_steps_nothing_is_left_of_them() {
        let text = without_steps(shipped()).text();
        for gone in ["[steps.", "[key_rings.", "require_sealed", "\"validate\"", "\"seal\""] {
            assert!(!text.contains(gone), "{gone}\n{text}");
        }
    }

    #[test]
    fn large_bodies_have_their_limits_raised() {
        let mut pipeline = shipped();
        for_large_bodies(&mut pipeline, 1 << 20);
        let text = pipeline.text();
        assert!(text.contains("settings.content_max_bytes = 1048576"), "{text}");
        assert_eq!(text.matches("timeout = \"60s\"").count(), 2, "{text}");
    }

    #[test]
    fn eight_steps_are_eight_and_a_refused_row_meets_none() {
        let case = Case { steps: 8, ..Case::new(Runner::Host, crate::load::QueueType::Classic, 1) };
        let mut pipeline = shipped();
        more_steps(&mut pipeline, &case, Path::new("/plugins"));
        assert_eq!(pipeline.text().matches("[steps.validate").count(), 8);
        let mut pipeline = shipped();
        more_steps(&mut pipeline, &Case { trouble: Trouble::Row { every: 2 }, ..case }, Path::new("/plugins"));
        assert!(pipeline.head.contains("through = []"));
    }
}
