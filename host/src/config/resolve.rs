//! What one part of the file says of another: names that must exist, and values that must fit together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::columns::body_pointer;
use super::plan::{Expect, SealFormat, SealPlan, SinkKind, SinkPlan, SourcePlan};
use super::problem::{Code, Problem, enumerate, known, nearest};
use super::root::Draft;
use super::tree::{KeyPath, Node, Table};
use crate::keys::KeyRingPlan;
use crate::sink::columns::Column;

/// A draft and the file that it was read from.
pub(super) struct Resolver<'a> {
    pub(super) draft: &'a Draft,
    pub(super) root: &'a Node,
    /// Whether every value could be read: else nothing is said of what may only seem to be missing.
    pub(super) is_whole: bool,
    pub(super) problems: Vec<Problem>,
}

/// Checks the whole, and gives every problem.
pub(super) fn check(draft: &Draft, root: &Node, is_whole: bool) -> Vec<Problem> {
    let mut resolver = Resolver { draft, root, is_whole, problems: Vec::new() };
    resolver.lanes();
    resolver.seals();
    resolver.rings();
    resolver.sinks();
    resolver.source();
    resolver.listeners();
    resolver.tests();
    resolver.problems
}

impl<'a> Resolver<'a> {
    /// Notes an error at a key.
    fn note(&mut self, path: &KeyPath, code: Code, message: impl Into<String>, help: impl Into<String>) {
        let problem = self.problem(path, code, message).help(help);
        self.problems.push(problem);
    }

    fn problem(&self, path: &KeyPath, code: Code, message: impl Into<String>) -> Problem {
        Problem::new(code, message).at(self.root.locate(path)).path(path)
    }

    /// The names that the file declares in a table, whether or not what is behind them is well.
    fn declared(&self, table: &str) -> Vec<&'a str> {
        self.root.table().and_then(|root| root.table(table)).into_iter().flat_map(Table::names).collect()
    }

    /// Notes a name that the file does not declare. Says whether it does.
    fn exists(&mut self, path: &KeyPath, name: &str, (table, noun, code): (&str, &str, Code)) -> bool {
        let declared = self.declared(table);
        if declared.contains(&name) {
            return true;
        }
        let problem = self.problem(path, code, format!("there is no {noun} `{}`", self.root.shown(path, name)));
        let near = nearest(name, declared.iter().copied());
        self.problems.push(problem.suggest(near).help(known(noun, declared)));
        false
    }

    fn lanes(&mut self) {
        let shared = KeyPath::of(["pipeline", "through"]);
        let before = &self.draft.head.through;
        self.through(&shared, before, &[]);
        for sink in &self.draft.sinks {
            let path = KeyPath::of(["sinks", &sink.name, "through"]);
            self.through(&path, &sink.through, before);
        }
    }

    fn through(&mut self, path: &KeyPath, steps: &[Arc<str>], before: &[Arc<str>]) {
        for (index, step) in steps.iter().enumerate() {
            let place = path.index(index);
            if !self.exists(&place, step, STEP) {
                continue;
            }
            let earlier = steps.iter().take(index).position(|other| other == step);
            let earlier = earlier.map(|index| path.index(index));
            let shared = before.iter().position(|other| other == step);
            let earlier = earlier.or_else(|| shared.map(|index| KeyPath::of(["pipeline", "through"]).index(index)));
            if let Some(earlier) = earlier {
                let message = format!("a message would go through `{step}` twice");
                let problem =
                    self.problem(&place, Code::DuplicateStep, message).earlier(Some(self.root.locate(&earlier)), "here first");
                self.problems.push(problem.help("a step stands once on a message's way; drop one, or declare a second step"));
            }
        }
    }

    fn seals(&mut self) {
        let draft = self.draft;
        for (name, seal) in draft.steps.iter().filter_map(|(name, step)| Some((name, step.seal.as_ref()?))) {
            let path = KeyPath::of(["steps", name, "key_ring"]);
            if self.exists(&path, &seal.key_ring, RING) && seal.format == SealFormat::Original {
                self.original(name, seal);
            }
        }
    }

    fn original(&mut self, step: &str, seal: &SealPlan) {
        let Some(KeyRingPlan::Inline { active, keys }) = self.draft.key_rings.get(&seal.key_ring) else { return };
        if keys.iter().any(|key| key.id == *active && key.iv.is_none()) {
            let path = KeyPath::of(["key_rings", &seal.key_ring, "keys", active]);
            let message = format!("the step `{step}` writes the original's form, which needs `iv` beside the key `{active}`");
            self.note(&path, Code::MissingKey, message, "16 bytes as base64, e.g. `iv = \"${MESSAGES_IV}\"`");
        }
    }

    fn rings(&mut self) {
        let draft = self.draft;
        for (name, ring) in &draft.key_rings {
            let KeyRingPlan::Inline { active, keys } = ring else { continue };
            let declared = self.root.table().and_then(|root| root.table("key_rings")?.table(name)?.table("keys"));
            let ids: Vec<&str> = declared.into_iter().flat_map(Table::names).collect();
            if keys.is_empty() || ids.contains(&active.as_str()) {
                continue;
            }
            let path = KeyPath::of(["key_rings", name, "active"]);
            let problem = self.problem(&path, Code::UnknownKeyId, format!("the key ring `{name}` has no such active key"));
            let help = format!("keys of this ring: {}", enumerate(ids.iter().copied()));
            self.problems.push(problem.suggest(nearest(active, ids)).help(help));
        }
    }

    fn sinks(&mut self) {
        let draft = self.draft;
        for sink in &draft.sinks {
            let Some(rows) = Rows::of(sink) else { continue };
            let path = KeyPath::of(["sinks", &sink.name, rows.kind]);
            if let Some(column) = rows.idempotent_by {
                self.mapped(&path.key("idempotent_by"), column, rows.columns);
            }
            for (index, column) in rows.require_sealed.iter().enumerate() {
                self.sealed(&path.key("require_sealed").index(index), column, rows.columns, sink);
            }
        }
    }

    fn mapped<'b>(&mut self, path: &KeyPath, name: &str, columns: &'b [Column]) -> Option<&'b Column> {
        let found = columns.iter().find(|column| column.name == name);
        if found.is_none() && !columns.is_empty() && self.is_whole {
            let names = || columns.iter().map(|column| column.name.as_str());
            let message = format!("`{}` is not among the columns", self.root.shown(path, name));
            let problem = self.problem(path, Code::UnmappedColumn, message);
            let problem = problem.suggest(nearest(name, names())).help(format!("columns of this sink: {}", enumerate(names())));
            self.problems.push(problem);
        }
        found
    }

    fn sealed(&mut self, path: &KeyPath, name: &str, columns: &[Column], sink: &SinkPlan) {
        let Some(column) = self.mapped(path, name, columns) else { return };
        let Some(pointer) = body_pointer(column) else {
            let message = format!("`{}` takes no field of the body, and so cannot be sealed", column.name);
            return self.note(path, Code::UnmappedColumn, message, "name a column that takes a JSON pointer");
        };
        let mut lane = self.draft.head.through.iter().chain(&sink.through);
        let unknown = !self.is_whole || lane.clone().any(|step| !self.draft.steps.contains_key(step));
        let seals = |step: &Arc<str>| {
            self.draft.steps.get(step).and_then(|step| step.seal.as_ref()).is_some_and(|seal| seal.field == *pointer)
        };
        if !unknown && !lane.any(seals) {
            let place = column_path(sink, &column.name);
            let field = self.root.shown(&place.key("pointer"), self.root.shown(&place, pointer));
            let message = format!("no step on the way to `{}` seals `{field}`: every row would be refused", sink.name);
            let help = format!("add a cipher step with `field = \"{field}\"` to `sinks.{}.through`", sink.name);
            self.note(path, Code::NeverSealed, message, help);
        }
    }

    fn source(&mut self) {
        let (kind, prefetch) = match &self.draft.source {
            Some(SourcePlan::RabbitMq(settings)) => ("rabbitmq", settings.prefetch),
            Some(SourcePlan::Http(settings)) => ("http", settings.prefetch),
            None => return,
        };
        let most = self.draft.head.batch.max_messages;
        if usize::from(prefetch) >= most {
            return;
        }
        let stated = self.root.table().and_then(|root| root.table("source")?.table(kind)?.get("prefetch")).is_some();
        let path =
            if stated { KeyPath::of(["source", kind, "prefetch"]) } else { KeyPath::of(["pipeline", "batch", "max_messages"]) };
        let message = format!("the source may hold {prefetch} messages, and a batch takes {most}");
        let help = "with such a prefetch a batch never fills: raise `prefetch`, or lower `pipeline.batch.max_messages`";
        self.note(&path, Code::PrefetchBelowBatch, message, help);
    }

    fn listeners(&mut self) {
        let mut taken: BTreeMap<SocketAddr, KeyPath> = BTreeMap::new();
        for (path, address) in listeners(self.draft) {
            let Some(earlier) = taken.get(&address).filter(|_| address.port() != 0) else {
                taken.insert(address, path);
                continue;
            };
            let message = format!("`{path}` and `{earlier}` are both {}", self.root.shown(&path, address));
            let problem = self.problem(&path, Code::DuplicateAddress, message);
            self.problems.push(problem.help("give each listener a port of its own"));
        }
    }

    fn tests(&mut self) {
        let draft = self.draft;
        for (index, case) in draft.tests.iter().enumerate() {
            let path = KeyPath::of(["test"]).index(index).key("expect");
            match &case.expect {
                Expect::Deliver(sinks) => {
                    for (position, sink) in sinks.keys().enumerate() {
                        let path = self.place_of_sink(&path.key("deliver"), sink, position);
                        self.exists(&path, sink, SINK);
                    }
                }
                Expect::DeadLetter { step, .. } => {
                    self.exists(&path.key("dead_letter").key("step"), step, STEP);
                }
                Expect::Drop => (),
            }
        }
    }

    /// `deliver` is a table by sink, or a list of sinks.
    fn place_of_sink(&self, deliver: &KeyPath, sink: &str, position: usize) -> KeyPath {
        let whole = self.root.locate(deliver);
        let (by_name, by_index) = (deliver.key(sink), deliver.index(position));
        if self.root.locate(&by_name) == whole { by_index } else { by_name }
    }
}

const STEP: (&str, &str, Code) = ("steps", "step", Code::UnknownStep);
const SINK: (&str, &str, Code) = ("sinks", "sink", Code::UnknownSink);
const RING: (&str, &str, Code) = ("key_rings", "key ring", Code::UnknownKeyRing);

fn column_path(sink: &SinkPlan, column: &str) -> KeyPath {
    let kind = Rows::of(sink).map_or("", |rows| rows.kind);
    KeyPath::of(["sinks", &sink.name, kind, "columns", column])
}

/// What sinks of rows have in common.
pub(super) struct Rows<'a> {
    pub(super) kind: &'static str,
    pub(super) columns: &'a [Column],
    pub(super) idempotent_by: Option<&'a str>,
    pub(super) require_sealed: &'a [String],
}

impl<'a> Rows<'a> {
    pub(super) fn of(sink: &'a SinkPlan) -> Option<Self> {
        match &sink.kind {
            SinkKind::Postgres(settings) => Some(Self {
                kind: "postgres",
                columns: &settings.columns,
                idempotent_by: settings.idempotent_by.as_deref(),
                require_sealed: &settings.require_sealed,
            }),
            SinkKind::Sqlite(settings) => Some(Self {
                kind: "sqlite",
                columns: &settings.columns,
                idempotent_by: settings.idempotent_by.as_deref(),
                require_sealed: &settings.require_sealed,
            }),
            SinkKind::Redis(_) | SinkKind::Live(_) => None,
        }
    }
}

/// Everything that listens, and where it is said.
pub(super) fn listeners(draft: &Draft) -> Vec<(KeyPath, SocketAddr)> {
    let mut listeners = vec![(KeyPath::of(["admin", "listen"]), draft.admin.listen)];
    if let Some(SourcePlan::Http(settings)) = &draft.source {
        listeners.push((KeyPath::of(["source", "http", "listen"]), settings.listen));
    }
    for sink in &draft.sinks {
        if let SinkKind::Live(settings) = &sink.kind {
            listeners.push((KeyPath::of(["sinks", &sink.name, "live", "listen"]), settings.listen));
        }
    }
    listeners
}
