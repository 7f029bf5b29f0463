//! What a failure of Redis means: told apart by the server's code, never by its text, which may quote a message.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError};

use super::{Mode, Settings};
use crate::source::StageError;

/// Code of the failure that [`wrong_type`] explains.
pub(super) const WRONG_TYPE: &str = "wrong_type";

/// One class of failures: the server's code, ours, whether a person must act, and what is the matter.
type Class = (&'static str, &'static str, bool, &'static str);

const CLASSES: [Class; 20] = [
    ("WRONGTYPE", WRONG_TYPE, true, "the key holds another type"),
    ("NOAUTH", "authentication_failed", true, "it asks for a password, and the address has none"),
    ("WRONGPASS", "authentication_failed", true, "it refuses the user name or password"),
    ("NOPERM", "no_permission", true, "the user may not run this command on this key or channel"),
    ("DENIED", "no_permission", true, "it runs in protected mode and takes no connection from elsewhere"),
    ("ERR", "refused", true, "it refuses the command (ERR): is its version too old, or the database number too high?"),
    ("MOVED", "cluster", true, "it is a node of a cluster and does not own the key; clusters are not supported"),
    ("ASK", "cluster", true, "it is a node of a cluster and does not own the key; clusters are not supported"),
    ("CROSSSLOT", "cluster", true, "it is a node of a cluster; clusters are not supported"),
    ("READONLY", "read_only", false, "it is a read-only replica now"),
    ("LOADING", "loading", false, "it is loading its data"),
    ("BUSY", "busy", false, "it is busy with a script"),
    ("UNKILLABLE", "busy", false, "it is busy with a script"),
    ("MASTERDOWN", "master_down", false, "its master is down"),
    ("CLUSTERDOWN", "cluster_down", false, "its cluster is down"),
    ("TRYAGAIN", "try_again", false, "its cluster is moving the key"),
    ("OOM", "out_of_memory", false, "it has no memory left (maxmemory)"),
    ("MISCONF", "cannot_persist", false, "it cannot write its data to disk and takes no writes"),
    ("NOREPLICAS", "no_replicas", false, "it has fewer good replicas than it must (min-replicas-to-write)"),
    ("EXECABORT", "refused", false, "it aborted the transaction"),
];

/// What a failure means. `at` names the server, without credentials.
pub(super) fn of(error: &RedisError, at: &str) -> StageError {
    if let Some(code) = server_code(error) {
        return of_server(&code, at);
    }
    let (code, needs_operator, what) = match error.kind() {
        ErrorKind::AuthenticationFailed => ("authentication_failed", true, "it refuses the user name or password".to_owned()),
        ErrorKind::Io => return of_io(error, at),
        ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported => {
            ("settings", true, "the address asks for what it cannot do".to_owned())
        }
        // The library hands on what its TLS makes of the certificates of this machine.
        ErrorKind::Client => ("tls", true, error.to_string()),
        _ => ("unexpected_reply", false, "it answered what is no answer to the command".to_owned()),
    };
    StageError { code: code.into(), message: format!("{at}: {what}"), needs_operator }
}

/// No answer in time.
pub(super) fn timed_out(at: &str, after: Duration) -> StageError {
    let message = format!("{at}: no answer within {}", humantime::format_duration(after));
    StageError { code: "timeout".into(), message, needs_operator: false }
}

/// The key is another program's, or the mode is wrong. The key is never deleted: what it holds may be somebody's.
pub(super) fn wrong_type(settings: &Settings, found: &str) -> StageError {
    let (mode, expected) = match settings.mode {
        Mode::List { .. } => ("list", "list"),
        Mode::Set { .. } => ("set", "string"),
        Mode::Stream { .. } => ("stream", "stream"),
        Mode::PubSub => ("pubsub", "channel"),
    };
    let message = format!(
        "the Redis key {:?} holds a {}, and mode \"{mode}\" needs a {expected}: rename or remove that key, or choose another",
        settings.key,
        found.escape_debug()
    );
    StageError { code: WRONG_TYPE.into(), message, needs_operator: true }
}

/// The settings cannot work, wherever the server is.
pub(super) fn settings(message: impl Into<String>) -> StageError {
    StageError { code: "settings".into(), message: message.into(), needs_operator: true }
}

/// The code of the first command that the server refused.
fn server_code(error: &RedisError) -> Option<String> {
    let refused = error.clone().into_server_errors();
    let first = refused.as_deref().and_then(|refused| refused.first()).map(|(_, error)| error.code().to_owned());
    first.or_else(|| error.code().map(str::to_owned))
}

fn of_server(code: &str, at: &str) -> StageError {
    let known = CLASSES.iter().find(|(theirs, ..)| *theirs == code);
    let (ours, needs_operator, what) =
        known.map_or(("refused", false, "it refuses the command"), |(_, ours, must, what)| (ours, *must, what));
    // A code is a word of capitals; whatever else stands in its place is not repeated.
    let shown = if code.bytes().all(|byte| byte.is_ascii_uppercase()) { code } else { "?" };
    StageError { code: ours.into(), message: format!("{at}: {what} ({shown})"), needs_operator }
}

fn of_io(error: &RedisError, at: &str) -> StageError {
    let refused = error.is_connection_refusal();
    let tls = io_of(error).and_then(io::Error::get_ref).is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
    let code = match (tls, refused, error.is_timeout()) {
        (true, ..) => "tls",
        (_, true, _) => "connection_refused",
        (_, _, true) => "timeout",
        _ => "connection_lost",
    };
    StageError { code: code.into(), message: format!("{at}: {error}"), needs_operator: tls }
}

fn io_of(error: &RedisError) -> Option<&io::Error> {
    let source = error.source()?;
    let shared = source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    shared.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(reply: &str) -> StageError {
        let value = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()).expect("a reply");
        of(&value.extract_error().expect_err("an error"), "redis at h:1")
    }

    #[test]
    fn each_code_of_the_server_has_its_class() {
        let for_the_operator = [
            ("WRONGTYPE", "wrong_type"),
            ("NOAUTH", "authentication_failed"),
            ("WRONGPASS", "authentication_failed"),
            ("NOPERM", "no_permission"),
            ("DENIED", "no_permission"),
            ("ERR", "refused"),
            ("MOVED", "cluster"),
            ("ASK", "cluster"),
            ("CROSSSLOT", "cluster"),
        ];
        let passing = [
            ("READONLY", "read_only"),
            ("LOADING", "loading"),
            ("BUSY", "busy"),
            ("UNKILLABLE", "busy"),
            ("MASTERDOWN", "master_down"),
            ("CLUSTERDOWN", "cluster_down"),
            ("TRYAGAIN", "try_again"),
            ("OOM", "out_of_memory"),
            ("MISCONF", "cannot_persist"),
            ("NOREPLICAS", "no_replicas"),
            ("EXECABORT", "refused"),
        ];
        for (codes, needs_operator) in [(&for_the_operator[..], true), (&passing[..], false)] {
            for (theirs, ours) in codes {
                let error = server(&format!("{theirs} some text"));
                assert_eq!((&*error.code, error.needs_operator), (*ours, needs_operator), "{theirs}");
            }
        }
        assert_eq!(for_the_operator.len() + passing.len(), CLASSES.len(), "a code is missing here");
    }

    #[test]
    fn an_unknown_code_is_tried_again() {
        let error = server("NEWCODE text");
        assert_eq!((&*error.code, error.needs_operator), ("refused", false));
    }

    #[test]
    fn the_text_of_a_reply_is_never_repeated() {
        let error = server("ERR unknown command 'RPUSH', with args beginning with: 'k' 'secret'");
        assert!(!error.message.contains("secret"), "{error}");
        assert!(!server("{\"secret\":1} x").message.contains("secret"));
    }

    #[test]
    fn what_is_no_certificate_of_the_trusted_is_the_operators() {
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = of(&io::Error::new(io::ErrorKind::InvalidData, refused).into(), "redis at h:1");
        assert_eq!((&*error.code, error.needs_operator), ("tls", true));
    }

    #[test]
    fn a_broken_connection_is_tried_again() {
        for (kind, code) in
            [(io::ErrorKind::ConnectionRefused, "connection_refused"), (io::ErrorKind::BrokenPipe, "connection_lost")]
        {
            let error = of(&io::Error::from(kind).into(), "redis at h:1");
            assert_eq!((&*error.code, error.needs_operator), (code, false));
        }
    }

    #[test]
    fn a_key_of_another_type_is_named_with_both_types() {
        let mode = Mode::List { max_length: None };
        let settings =
            Settings { uri: "redis://h".into(), ca_file: None, mode, key: "k".into(), timeout: Duration::from_secs(1) };
        let error = wrong_type(&settings, "hash");
        assert!(error.needs_operator);
        insta::assert_snapshot!(error, @r#"the Redis key "k" holds a hash, and mode "list" needs a list: rename or remove that key, or choose another"#);
    }
}
