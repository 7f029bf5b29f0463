//! What is allowed, and deserves a second look.

use std::sync::Arc;

use super::plan::{OnError, OnFailure, SealFormat, SinkKind, SourcePlan};
use super::problem::{Code, Problem};
use super::resolve::{Rows, listeners};
use super::root::Draft;
use super::tree::{KeyPath, Node};
use super::uri::Authority;

/// Every warning. Of a file with errors nothing is said to be unused or missing: that may well follow from the error.
pub(super) fn check(draft: &Draft, root: &Node, is_well: bool) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let mut warn = |path: KeyPath, code: Code, message: String, help: &str| {
        warnings.push(Problem::warning(code, message).at(root.locate(&path)).path(path).help(help));
    };
    steps(draft, root, &mut warn);
    rings(draft, &mut warn);
    exposure(draft, root, &mut warn);
    sinks(draft, &mut warn);
    warnings.retain(|warning| is_well || !matches!(warning.code, Code::UnusedStep | Code::UnusedKeyRing | Code::AtLeastOnce));
    warnings
}

/// Takes one warning: where, what, in words, and what to do.
type Warn<'a> = &'a mut dyn FnMut(KeyPath, Code, String, &str);

fn steps(draft: &Draft, root: &Node, warn: Warn<'_>) {
    let used = |name: &Arc<str>| {
        draft.head.through.iter().chain(draft.sinks.iter().flat_map(|sink| &sink.through)).any(|step| step == name)
    };
    for (name, step) in &draft.steps {
        let path = KeyPath::of(["steps", name]);
        // A cipher may stand there only to open what it sealed before.
        if !used(name) && step.seal.is_none() {
            let help = "name it in `pipeline.through` or in a sink's `through`, or remove it";
            warn(path.clone(), Code::UnusedStep, format!("no message goes through the step `{name}`"), help);
        }
        let Some(seal) = &step.seal else { continue };
        if step.on_error == OnError::Pass {
            let message = format!("when `{name}` fails, `{}` goes on in clear", root.shown(&path.key("field"), &seal.field));
            warn(path.key("on_error"), Code::StoresInClear, message, "`on_error = \"reject\"` dead-letters the message instead");
        }
        if seal.format == SealFormat::Original {
            let message = format!("what `{name}` seals is not authenticated: whoever can write rows can change them unnoticed");
            warn(
                path.key("format"),
                Code::NotAuthenticated,
                message,
                "`format = \"tg1\"` is authenticated, and old rows still open",
            );
        }
    }
}

fn rings(draft: &Draft, warn: Warn<'_>) {
    for name in draft.key_rings.keys() {
        if !draft.steps.values().any(|step| step.seal.as_ref().is_some_and(|seal| seal.key_ring == *name)) {
            let message = format!("no step uses the key ring `{name}`");
            warn(KeyPath::of(["key_rings", name]), Code::UnusedKeyRing, message, "name it as a step's `key_ring`, or remove it");
        }
    }
}

fn exposure(draft: &Draft, root: &Node, warn: Warn<'_>) {
    for (path, address) in listeners(draft) {
        if !address.ip().is_loopback() {
            let message = format!("whoever reaches {} may use it: there is no access control", root.shown(&path, address));
            warn(path, Code::ExposedListener, message, "listen on 127.0.0.1, or let a firewall or a proxy decide who may");
        }
    }
    if !draft.admin.listen.ip().is_loopback() && draft.admin.token.is_none() {
        let message = "`tidegate reload`, `rollback` and `plan` are refused: the address is not loopback, and there is no token";
        let help = "set `admin.token = \"${TIDEGATE_ADMIN_TOKEN}\"`";
        warn(KeyPath::of(["admin", "token"]), Code::ExposedListener, message.to_owned(), help);
    }
    if let Some(SourcePlan::RabbitMq(settings)) = &draft.source {
        let authority = Authority::of(&settings.uri);
        let default = authority.user.is_empty() || (authority.user, authority.password) == ("guest", "guest");
        if default && !authority.is_local() {
            let message = "the broker is on another machine and is used with its default credentials".to_owned();
            warn(
                KeyPath::of(["source", "rabbitmq", "uri"]),
                Code::DefaultCredentials,
                message,
                "give Tidegate a user of its own",
            );
        }
    }
}

fn sinks(draft: &Draft, warn: Warn<'_>) {
    let mut idempotent = false;
    for sink in &draft.sinks {
        let path = KeyPath::of(["sinks", &sink.name]);
        if sink.on_failure == OnFailure::Block && draft.sinks.len() > 1 && !matches!(sink.kind, SinkKind::Live(_)) {
            let message = format!("while `{}` is down the window fills, and then every sink stops", sink.name);
            let help = "`on_failure = \"park\"` keeps its messages on a queue of their own, and the other sinks go on";
            warn(path.key("on_failure"), Code::BlocksOthers, message, help);
        }
        let Some(rows) = Rows::of(sink) else { continue };
        idempotent |= rows.idempotent_by.is_some();
        if rows.idempotent_by.is_none() {
            let message = format!("`{}` stores a redelivered message a second time", sink.name);
            let help = "`idempotent_by` names the column with the message id";
            warn(path.key(rows.kind).key("idempotent_by"), Code::AtLeastOnce, message, help);
        }
    }
    if idempotent && draft.head.message_id.is_none() {
        let message = "a message to which its source gave no id is stored again when it is redelivered".to_owned();
        let help = "`pipeline.message_id` points at an id in the body, for messages that have none of their own";
        warn(KeyPath::of(["pipeline", "message_id"]), Code::AtLeastOnce, message, help);
    }
}
