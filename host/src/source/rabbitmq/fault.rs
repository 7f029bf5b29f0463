//! What went wrong, in words for the operator and a code for the metrics.

use std::io;
use std::time::Duration;

use lapin::{Error, ErrorKind};

use crate::source::StageError;

/// AMQP replies that only a person can mend: access refused, a setting that the broker refuses, a virtual host that is not there, something that it
/// cannot do.
const FOR_THE_OPERATOR: [u16; 4] = [403, PRECONDITION_FAILED, 530, 540];

/// The reply that says that something is other than it was said to be.
const PRECONDITION_FAILED: u16 = 406;

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

/// What ends a consumer that was in order. There the broker refuses no setting: it has lost its patience over a late acknowledgement
/// (`consumer_timeout`), which a new channel mends.
pub(super) fn of_consumer(error: &Error) -> StageError {
    let failure = of("consuming", error);
    let is_late = reply_of(error) == Some(PRECONDITION_FAILED);
    StageError { needs_operator: failure.needs_operator && !is_late, ..failure }
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
    reply_of(error) == Some(NOT_FOUND)
}

fn reply_of(error: &Error) -> Option<u16> {
    let ErrorKind::ProtocolError(reply) = error.kind() else { return None };
    Some(reply.kind().get_id())
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    fn replied(id: u16) -> Error {
        ErrorKind::ProtocolError(AMQPError::from_id(id, "said".into()).expect("a reply of the protocol")).into()
    }

    /// The replies of AMQP 0-9-1 (amqp0-9-1.xml, `constant`, soft and hard errors), and which of them a person must see to.
    #[test]
    fn each_reply_of_the_broker_has_its_class() {
        let waits = [311, 312, 313, 320, 402, 404, 405, 501, 502, 503, 504, 505, 506, 541];
        for (ids, needs_operator) in [(&waits[..], false), (&[403, 406, 530, 540], true)] {
            for id in ids {
                let failure = of("declaring", &replied(*id));
                let found = (failure.code.as_str(), failure.needs_operator, failure.message.as_str());
                assert_eq!(found, (format!("amqp_{id}").as_str(), needs_operator, "declaring: said"), "{id}");
            }
        }
    }

    #[test]
    fn a_late_acknowledgement_is_mended_by_a_new_channel_and_a_withdrawn_permission_by_a_person() {
        assert!(!of_consumer(&replied(406)).needs_operator);
        assert!(of_consumer(&replied(403)).needs_operator);
        assert!(!of_consumer(&replied(320)).needs_operator);
    }

    #[test]
    fn only_what_is_not_there_is_not_found() {
        assert!(is_not_found(&replied(404)));
        assert!(!is_not_found(&replied(405)));
    }

    #[test]
    fn a_network_that_fails_is_waited_for_and_a_certificate_is_not() {
        let refused = |kind: io::ErrorKind| {
            let failure = of_io("connecting", &kind.into());
            (failure.code, failure.needs_operator)
        };
        for (kind, code, needs_operator) in [
            (io::ErrorKind::ConnectionRefused, "connection_refused", false),
            (io::ErrorKind::ConnectionReset, "connection_lost", false),
            (io::ErrorKind::UnexpectedEof, "connection_lost", false),
            (io::ErrorKind::TimedOut, "io", false),
            (io::ErrorKind::InvalidData, "tls", true),
        ] {
            assert_eq!(refused(kind), (code.to_owned(), needs_operator), "{kind:?}");
        }
    }
}
