//! Problems as a person reads them, and as a program does.

use std::fmt::{self, Display};
use std::io::IsTerminal as _;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteHandlerOpts, NamedSource, ReportHandler, SourceCode,
};
use serde::Serialize;
use serde_json::json;

use super::problem::{Problem, Severity};
use super::text::{Span, Text};

/// All that is to say about a file, in file order: errors and warnings.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.render(Look::default()))]
pub struct Problems {
    text: Arc<Text>,
    list: Vec<Problem>,
}

/// How a report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// For the terminal at hand: its width, and colours where it has them.
    Terminal,
    /// For a log or a file: this many columns, no colours.
    Plain {
        /// Columns.
        width: usize,
    },
}

impl Look {
    /// What fits standard error: the terminal, or plain text where it is none.
    #[must_use]
    pub fn for_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Terminal } else { Self::default() }
    }
}

impl Default for Look {
    fn default() -> Self {
        Self::Plain { width: 120 }
    }
}

impl Problems {
    /// Problems of a text, put in file order; those without a place come first.
    #[must_use]
    pub fn new(text: Arc<Text>, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| (problem.span.map(|span| span.offset), problem.severity == Severity::Warning));
        Self { text, list }
    }

    /// The problems, in file order.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// Whether any of them stops the pipeline.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// The errors, a line each, with their places: `pipeline.toml:12:5: …`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.list.iter().filter(|problem| problem.severity == Severity::Error).map(|problem| self.line(problem)).collect()
    }

    fn line(&self, problem: &Problem) -> String {
        let file = self.text.file().display();
        let place = problem.span.map(|span| self.text.position(span.offset)).map(|(line, column)| format!(":{line}:{column}"));
        let advice = problem.advice().map(|advice| format!(" ({advice})")).unwrap_or_default();
        format!("{file}{}: {}{advice}", place.unwrap_or_default(), problem.message)
    }

    fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|problem| problem.severity == severity).count()
    }

    /// The whole report, ending with how many errors and warnings there are; empty without problems.
    #[must_use]
    pub fn render(&self, look: Look) -> String {
        if self.list.is_empty() {
            return String::new();
        }
        let source = NamedSource::new(self.text.file().to_string_lossy(), self.text.shown().to_owned());
        let mut report = String::new();
        for problem in &self.list {
            report.push_str(&render_one(&Located { problem, text: &self.text, source: &source }, look));
            report.push('\n');
        }
        report.push_str(&self.tally());
        report
    }

    fn tally(&self) -> String {
        let counted =
            |count: usize, noun: &str| (count > 0).then(|| format!("{count} {noun}{}", if count == 1 { "" } else { "s" }));
        let parts = [counted(self.count(Severity::Error), "error"), counted(self.count(Severity::Warning), "warning")];
        format!("{}: {}\n", self.text.file().display(), parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }

    /// The problems for a program: an array with, for each, `severity`, `code`, `path`, `file`, `span` (`offset` and `length` in bytes,
    /// `line` and `column` from 1), `message`, `suggestion` and `help`; what is not known is null.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.list.iter().map(|problem| self.one_to_json(problem)).collect()
    }

    fn one_to_json(&self, problem: &Problem) -> serde_json::Value {
        let span = problem.span.map(|span| {
            let (line, column) = self.text.position(span.offset);
            json!({ "offset": span.offset, "length": span.length, "line": line, "column": column })
        });
        json!({
            "severity": problem.severity,
            "code": problem.code,
            "path": problem.path,
            "file": self.text.file().to_string_lossy(),
            "span": span,
            "message": problem.message,
            "suggestion": problem.suggestion,
            "help": problem.help,
        })
    }
}

impl Serialize for Problems {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// A problem in its text, as miette draws it.
#[derive(Debug)]
struct Located<'a> {
    problem: &'a Problem,
    text: &'a Text,
    source: &'a NamedSource<String>,
}

impl Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Located<'_> {}

impl Diagnostic for Located<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        Some(Box::new(self.problem.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.problem.advice().map(|advice| Box::new(advice) as Box<dyn Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.span.map(|_| self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = |span: Span| (self.text.clamp(span).offset, self.text.clamp(span).length);
        let main = LabeledSpan::new_primary_with_span(None, place(self.problem.span?));
        let earlier =
            self.problem.earlier.as_deref().map(|(span, why)| LabeledSpan::new_with_span(Some((*why).to_owned()), place(*span)));
        Some(Box::new(std::iter::once(main).chain(earlier)))
    }
}

struct Drawn<'a>(&'a Located<'a>, Look);

impl Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Look::Terminal => MietteHandlerOpts::new().context_lines(1).build().debug(self.0, f),
            Look::Plain { width } => GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
                .with_width(width)
                .with_context_lines(1)
                .with_links(false)
                .debug(self.0, f),
        }
    }
}

fn render_one(located: &Located<'_>, look: Look) -> String {
    let drawn = Drawn(located, look).to_string();
    // miette pads empty lines; nobody wants to see that in a diff.
    drawn.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
