//! Samples from a file, one a line.

use std::fs;
use std::path::Path;

use bytes::Bytes;

use crate::cli::Failure;

/// One sample.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sample {
    /// The line that it stands on, counted from 1.
    pub(super) line: usize,
    /// The line as it stands, without its end.
    pub(super) body: Bytes,
}

/// Reads every sample of a file; there must be one.
pub(super) fn read(file: &Path) -> Result<Vec<Sample>, Failure> {
    let name = file.display();
    let text = fs::read(file).map_err(|error| Failure::Usage(format!("--input: cannot read {name}: {error}")))?;
    match samples(text.into()) {
        samples if samples.is_empty() => Err(Failure::Usage(format!("--input: {name} holds no sample: one a line is expected"))),
        samples => Ok(samples),
    }
}

fn samples(text: Bytes) -> Vec<Sample> {
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let samples = lines.zip(1..).filter(|(line, _)| !line.trim_ascii().is_empty());
    samples.map(|(body, line)| Sample { line, body: text.slice_ref(body) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_sample_as_it_stands_and_a_blank_one_is_none() {
        let samples = samples(Bytes::from_static(b"{\"a\": 1}\n\n  \t\r\n {} \r\n\xff"));
        let samples: Vec<_> = samples.iter().map(|sample| (sample.line, &*sample.body)).collect();
        assert_eq!(samples, [(1, b"{\"a\": 1}".as_slice()), (4, b" {} "), (5, b"\xff")]);
    }

    #[test]
    fn a_file_without_samples_and_one_that_is_missing_are_wrong_usage() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("samples.jsonl");
        assert!(matches!(read(&file), Err(Failure::Usage(problem)) if problem.contains("samples.jsonl")));
        fs::write(&file, "\n \n").unwrap();
        assert!(matches!(read(&file), Err(Failure::Usage(problem)) if problem.contains("no sample")));
    }
}
