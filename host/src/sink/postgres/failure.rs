//! What a failure of PostgreSQL means: told apart by SQLSTATE, never by text, which may quote a message.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::time::Duration;

use sqlx::postgres::PgDatabaseError;

use crate::source::StageError;

/// What to do about a failed statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A row among those sent can never be stored: find it.
    Row,
    /// The statement no longer fits the database, or a pooler gave it to another connection: reconnect and retry once.
    Stale,
    /// It may work later. The connection is given up, since the server behind it may be the wrong one.
    Transient,
    /// A person must mend something.
    Operator,
    /// A code that is in no class here, e.g. a trigger's own. A row's fault when other rows pass, else the operator's.
    Unexpected,
}

/// Codes that differ from their class.
const CODES: [(&str, Class); 12] = [
    ("0A000", Class::Stale),
    ("26000", Class::Stale),
    ("42P05", Class::Stale),
    // The column's type has changed since the statement was made.
    ("42804", Class::Stale),
    ("25006", Class::Transient),
    ("25P02", Class::Transient),
    ("25P03", Class::Transient),
    ("40001", Class::Transient),
    ("40P01", Class::Transient),
    ("40003", Class::Transient),
    ("55006", Class::Transient),
    ("55P03", Class::Transient),
];

/// Classes by the first two characters of the code.
const CLASSES: [(&str, Class); 20] = [
    ("08", Class::Transient),
    ("09", Class::Row),
    ("0L", Class::Operator),
    ("0P", Class::Operator),
    ("22", Class::Row),
    ("23", Class::Row),
    ("27", Class::Row),
    ("28", Class::Operator),
    ("3D", Class::Operator),
    ("3F", Class::Operator),
    ("42", Class::Operator),
    ("44", Class::Row),
    ("53", Class::Transient),
    ("54", Class::Row),
    ("55", Class::Operator),
    ("57", Class::Transient),
    ("58", Class::Transient),
    ("F0", Class::Operator),
    ("P0", Class::Row),
    ("XX", Class::Transient),
];

/// Names of the codes that a row is refused with most, as PostgreSQL's manual has them.
const CONDITIONS: [(&str, &str); 22] = [
    ("22001", "string_data_right_truncation"),
    ("22003", "numeric_value_out_of_range"),
    ("22007", "invalid_datetime_format"),
    ("22008", "datetime_field_overflow"),
    ("22009", "invalid_time_zone_displacement_value"),
    ("22021", "character_not_in_repertoire"),
    ("22023", "invalid_parameter_value"),
    ("22026", "string_data_length_mismatch"),
    ("22030", "duplicate_json_object_key_value"),
    ("22032", "invalid_json_text"),
    ("22P02", "invalid_text_representation"),
    ("22P03", "invalid_binary_representation"),
    ("22P05", "untranslatable_character"),
    ("23502", "not_null_violation"),
    ("23503", "foreign_key_violation"),
    ("23505", "unique_violation"),
    ("23514", "check_violation"),
    ("23P01", "exclusion_violation"),
    ("44000", "with_check_option_violation"),
    ("54000", "program_limit_exceeded"),
    ("54001", "statement_too_complex"),
    ("P0001", "raise_exception"),
];

/// The class of a SQLSTATE.
pub(super) fn class_of(code: &str) -> Class {
    let exact = CODES.iter().find(|(known, _)| *known == code);
    let class = exact.or_else(|| CLASSES.iter().find(|(known, _)| code.starts_with(known)));
    class.map_or(Class::Unexpected, |(_, class)| *class)
}

/// What the database says of a row that it refuses, without the values that it quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) sqlstate: String,
    pub(super) column: Option<String>,
    pub(super) constraint: Option<String>,
}

impl Refusal {
    pub(super) fn code(&self) -> Cow<'static, str> {
        Cow::Owned(format!("sqlstate_{}", self.sqlstate))
    }

    /// The condition's name and code.
    pub(super) fn condition(&self) -> String {
        let name = CONDITIONS.iter().find(|(code, _)| *code == self.sqlstate).map(|(_, name)| *name);
        name.map_or_else(|| format!("SQLSTATE {}", self.sqlstate), |name| format!("{name}, SQLSTATE {}", self.sqlstate))
    }
}

/// A failure, by what to do about it.
#[derive(Debug)]
pub(super) enum Failure {
    /// [`Class::Row`] and [`Class::Unexpected`].
    Refused(Class, Refusal),
    /// [`Class::Stale`].
    Stale(StageError),
    /// [`Class::Transient`] and [`Class::Operator`].
    Stage(StageError),
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        Self::Stage(error)
    }
}

/// What an error means. `at` names the server, without the password.
pub(super) fn of(error: &sqlx::Error, at: &str) -> Failure {
    let database = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    match database {
        Some(error) => of_database(error, at),
        None => Failure::Stage(of_driver(error, at)),
    }
}

/// No answer in time.
pub(super) fn timed_out(at: &str, after: Duration) -> StageError {
    let message = format!("{at}: no answer within {}", humantime::format_duration(after));
    StageError { code: "timeout".into(), message, needs_operator: false }
}

fn of_database(error: &PgDatabaseError, at: &str) -> Failure {
    let class = class_of(error.code());
    let refusal = || Refusal {
        sqlstate: error.code().to_owned(),
        column: error.column().map(str::to_owned),
        constraint: error.constraint().map(str::to_owned),
    };
    // Of these classes alone the server's sentence is repeated: it speaks of the statement and of names, not of values.
    let stage = |needs_operator| StageError {
        code: format!("sqlstate_{}", error.code()),
        message: format!("{at}: {} (SQLSTATE {}){}", error.message().escape_debug(), error.code(), advice(error.code())),
        needs_operator,
    };
    match class {
        Class::Row | Class::Unexpected => Failure::Refused(class, refusal()),
        Class::Stale => Failure::Stale(stage(true)),
        Class::Transient => Failure::Stage(stage(false)),
        Class::Operator => Failure::Stage(stage(true)),
    }
}

/// What a person can do about a code.
fn advice(code: &str) -> &'static str {
    match code {
        "42501" => ": the role needs INSERT on the table, SELECT too where `idempotent_by` is set, and USAGE on its schema",
        "42P01" | "42703" => ": has the table changed? `tidegate migrate` makes the default one",
        "42P10" => ": `idempotent_by` needs a unique index on that column alone",
        "42804" => ": the column's type takes no text",
        "28000" | "28P01" => ": check user, password and the server's pg_hba.conf",
        "25006" => ": the server takes no writes now, as after a failover",
        "53100" => ": its disk is full",
        _ => "",
    }
}

fn of_driver(error: &sqlx::Error, at: &str) -> StageError {
    let (code, needs_operator) = match error {
        sqlx::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => ("connection_refused", false),
        sqlx::Error::Io(_) => ("connection_lost", false),
        sqlx::Error::Tls(_) => ("tls", true),
        sqlx::Error::Configuration(_) => ("settings", true),
        sqlx::Error::Protocol(_) => ("protocol", false),
        _ => ("driver", false),
    };
    StageError { code: code.into(), message: format!("{at}: {error}"), needs_operator }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_class() {
        let classes = [
            (
                Class::Transient,
                "08000 08001 08003 08006 08P01 53000 53100 53200 53300 57014 57P01 57P02 57P03 25006 40001 40P01 58030 XX000 55P03",
            ),
            (Class::Stale, "0A000 26000 42P05 42804"),
            (Class::Row, "22001 22003 22007 22021 22P02 22P05 23502 23503 23505 23514 23P01 44000 54000 54001 P0001"),
            (Class::Operator, "42P01 42703 42501 42P10 42601 28000 28P01 3D000 3F000 55000"),
            (Class::Unexpected, "TG001 21000 38000"),
        ];
        for (class, codes) in classes {
            codes.split(' ').for_each(|code| assert_eq!(class_of(code), class, "{code}"));
        }
    }

    #[test]
    fn a_refusal_names_its_condition() {
        let refusal = |code: &str| Refusal { sqlstate: code.into(), column: None, constraint: None };
        assert_eq!(refusal("22001").condition(), "string_data_right_truncation, SQLSTATE 22001");
        assert_eq!(refusal("TG001").condition(), "SQLSTATE TG001");
        assert_eq!(refusal("22001").code(), "sqlstate_22001");
    }

    #[test]
    fn what_the_driver_fails_with_is_told_apart() {
        let code = |error: sqlx::Error| of_driver(&error, "postgres at h").code;
        assert_eq!(code(std::io::Error::from(ErrorKind::ConnectionRefused).into()), "connection_refused");
        assert_eq!(code(std::io::Error::from(ErrorKind::UnexpectedEof).into()), "connection_lost");
        assert!(of_driver(&sqlx::Error::Tls("no".into()), "postgres at h").needs_operator);
    }
}
