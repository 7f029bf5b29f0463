//! What went wrong, in words for the operator and a code for the metrics.

use std::io;
use std::time::Duration;

use lapin::{Error, ErrorKind};

use crate::source::StageError;

/// AMQP replies that only a person can mend: access refused, a setting that the broker refuses, a virtual host that is not there.
const FOR_THE_OPERATOR: [u16; 4] = [403, 406, 530, 540];

/// The reply that says that something is not there.
const NOT_FOUND: u16 = 404;

pub(super) fn new(code: &str, message: impl Into<String>) -> StageError {
    StageError { code: code.to_owned(), message: message.into(), needs_operator: false }
}

pub(super) fn for_the_operator(code: &str, message: impl Into<String>) -> StageError {
    StageError { needs_operator: true, ..new(code, message) }
}

/// The broker did not answer in time.
pub(super) fn silent(doing: &str, limit: Duration) -> StageError {
    new("timeout", format!("{doing}: no answer within {limit:?}"))
}

/// A failure of the client library, while `doing` something.
pub(super) fn of(doing: &str, error: &Error) -> StageError {
    match error.kind() {
        ErrorKind::ProtocolError(reply) => {
            let id = reply.kind().get_id();
            let needs_operator = FOR_THE_OPERATOR.contains(&id);
            StageError { needs_operator, ..new(&format!("amqp_{id}"), format!("{doing}: {}", reply.get_message())) }
        }
        ErrorKind::IOError(error) => of_io(doing, error),
        ErrorKind::MissingHeartbeatError => new("heartbeat_missed", format!("{doing}: the broker has fallen silent")),
        ErrorKind::ParsingError(_) => for_the_operator(
            "unreadable",
            format!(
                "{doing}: the broker sent a frame that cannot be read; a message whose id, key or header name is no UTF-8 does that"
            ),
        ),
        ErrorKind::InvalidConnectionState(_) | ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidChannel(_) => {
            new("connection_lost", format!("{doing}: the connection is closed"))
        }
        _ => new("client", format!("{doing}: {error}")),
    }
}

/// A failure of the network or of TLS, while `doing` something.
pub(super) fn of_io(doing: &str, error: &io::Error) -> StageError {
    let message = format!("{doing}: {error}");
    match error.kind() {
        io::ErrorKind::ConnectionRefused => new("connection_refused", message),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe => new("connection_lost", message),
        // What TLS refuses comes as invalid data: a certificate that nobody vouches for does not mend itself.
        io::ErrorKind::InvalidData => for_the_operator("tls", message),
        _ => new("io", message),
    }
}

/// Whether the broker said that what was asked for is not there.
pub(super) fn is_not_found(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(reply) if reply.kind().get_id() == NOT_FOUND)
}
