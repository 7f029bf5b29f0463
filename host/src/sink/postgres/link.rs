//! One connection to the database, with what was learned of the table when it was made.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use super::Settings;
use super::failure::{self, Failure};
use super::statement::Insert;
use super::table::{self, Table, Unfit};
use crate::postgres_options;
use crate::sink::columns::{Columns, Rows};
use crate::source::StageError;

/// A connection that is ready to store rows.
pub(super) struct Link {
    connection: PgConnection,
    /// For nearly all batches.
    usual: Insert,
    /// For any batch.
    each: Insert,
    table: Table,
    way: Way,
}

/// How statements reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// One session: the statement is prepared once, and the server itself gives up what takes too long.
    Direct,
    /// Through a pooler that gives each transaction another session: the statement is prepared for each transaction, in which the
    /// time limit is set too.
    Pooled {
        /// The server's limit of one statement.
        limit: Duration,
    },
}

/// The server gives up a little before this end does: nothing is stored behind the back of whoever tries again.
pub(super) fn statement_limit(timeout: Duration) -> Duration {
    (timeout * 9 / 10).max(Duration::from_millis(1))
}

/// Where the settings lead.
pub(super) struct Address {
    options: PgConnectOptions,
    /// For people, without the password.
    pub(super) label: String,
}

impl Address {
    pub(super) fn of(settings: &Settings, way: Way) -> Result<Self, StageError> {
        let options = postgres_options::parse(&settings.uri).map_err(|error| StageError {
            code: "settings".into(),
            message: error.to_string(),
            needs_operator: true,
        })?;
        let label = format!("postgres at {}", postgres_options::describe(&options));
        let named = options.get_application_name().is_some();
        // A pooler refuses start-up parameters that it does not know, and nothing here reads floats.
        let mut options = options.extra_float_digits(None).disable_statement_logging();
        if !named {
            options = options.application_name("tidegate");
        }
        options = match way {
            Way::Pooled { .. } => options.statement_cache_capacity(0),
            Way::Direct if options.get_options().is_some_and(|own| own.contains("statement_timeout")) => options,
            Way::Direct => options.options([("statement_timeout", statement_limit(settings.timeout).as_millis())]),
        };
        Ok(Self { options, label })
    }
}

impl Link {
    /// Connects, and reads the table.
    pub(super) async fn open(settings: &Settings, address: &Address, way: Way, columns: &Columns) -> Result<Self, Failure> {
        let mut connection = PgConnection::connect_with(&address.options).await.map_err(|error| refused(&error, address, way))?;
        let names: Vec<&str> = columns.names().collect();
        let table = table::read(&mut connection, settings, &names).await.map_err(|unfit| match unfit {
            Unfit::Lost(error) => failure::of(&error, &address.label),
            Unfit::Wrong(error) => Failure::Stage(error),
        })?;
        let insert = |is_once| Insert::new(&table, settings.idempotent_by.as_deref(), is_once);
        let (usual, each) = (insert(columns.are_common().collect()), insert(vec![false; names.len()]));
        Ok(Self { connection, usual, each, table, way })
    }

    /// Stores rows in one statement that is a transaction of its own, and says how many of them are new.
    pub(super) async fn insert(&mut self, rows: &Rows<'_>, range: Range<usize>) -> Result<u64, sqlx::Error> {
        let insert = if self.usual.fits(rows, &range) { &self.usual } else { &self.each };
        let Way::Pooled { limit } = self.way else {
            return execute(&mut self.connection, insert, true, rows, range).await;
        };
        let begin = format!("BEGIN; SET LOCAL statement_timeout = {}", limit.as_millis());
        let mut transaction = self.connection.begin_with(AssertSqlSafe(begin)).await?;
        match execute(&mut transaction, insert, false, rows, range).await {
            Ok(stored) => transaction.commit().await.map(|()| stored),
            Err(error) => {
                transaction.rollback().await?;
                Err(error)
            }
        }
    }

    /// Name and length of the first column that takes fewer characters than the row has for it.
    pub(super) fn too_long(&self, rows: &Rows<'_>, row: usize) -> Option<(&str, usize)> {
        let mut columns = self.table.columns.iter().zip(rows.row(row));
        columns.find_map(|(column, value)| {
            let longest = column.longest?;
            (value?.chars().count() > longest).then_some((column.name.as_str(), longest))
        })
    }

    /// Name of the first column whose type does not take the row's value. Asks the server, which itself does not tell.
    pub(super) async fn misfit(&mut self, rows: &Rows<'_>, row: usize) -> Option<&str> {
        for (column, value) in self.table.columns.iter().zip(rows.row(row)) {
            // Without a session of its own a statement and its execution may part: the answer is not worth a transaction each.
            if value.is_none() || self.way != Way::Direct {
                continue;
            }
            let sql = format!("SELECT {} IS NULL", column.cast("$1::text"));
            let asked = sqlx::query(AssertSqlSafe(sql)).bind(value).persistent(false).execute(&mut self.connection).await;
            if asked.is_err_and(|error| error.as_database_error().is_some()) {
                return Some(&column.name);
            }
        }
        None
    }
}

async fn execute(
    connection: &mut PgConnection,
    insert: &Insert,
    persistent: bool,
    rows: &Rows<'_>,
    range: Range<usize>,
) -> Result<u64, sqlx::Error> {
    // The text is built of quoted names and of types as the catalog writes them.
    let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&insert.sql)), insert.arguments(rows, &range)?).persistent(persistent);
    Ok(query.execute(connection).await?.rows_affected())
}

/// A pooler that does not know our start-up parameter answers with a protocol violation.
fn refused(error: &sqlx::Error, address: &Address, way: Way) -> Failure {
    let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    match (failure::of(error, &address.label), way, code.as_deref()) {
        (Failure::Stage(error), Way::Direct, Some("08P01")) => Failure::Stale(error),
        // No row is sent yet: whatever is refused here is the connection.
        (Failure::Refused(_, refusal), ..) => Failure::Stage(StageError {
            code: refusal.code().into_owned(),
            message: format!("{}: the connection is refused ({})", address.label, refusal.condition()),
            needs_operator: true,
        }),
        (failure, ..) => failure,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn settings(uri: &str) -> Settings {
        Settings {
            uri: uri.into(),
            table: "t".into(),
            columns: Vec::new(),
            idempotent_by: None,
            require_sealed: Vec::new(),
            timeout: Duration::from_secs(10),
        }
    }

    fn startup_options(uri: &str, way: Way) -> Option<String> {
        Address::of(&settings(uri), way).expect("an address").options.get_options().map(str::to_owned)
    }

    #[test]
    fn the_server_gives_up_before_this_end_does() {
        assert_eq!(startup_options("postgres://h/d", Way::Direct).as_deref(), Some("-c statement_timeout=9000"));
        assert_eq!(statement_limit(Duration::from_nanos(1)), Duration::from_millis(1));
    }

    #[test]
    fn a_limit_of_the_operators_own_stands() {
        let own = startup_options("host=h dbname=d options='-c statement_timeout=5s'", Way::Direct);
        assert_eq!(own.as_deref(), Some("-c statement_timeout=5s"));
    }

    #[test]
    fn a_pooler_is_asked_for_nothing_at_the_start() {
        assert_eq!(startup_options("postgres://h/d", Way::Pooled { limit: Duration::from_secs(9) }), None);
    }

    #[test]
    fn the_label_holds_no_password_and_a_wrong_address_is_the_operators() {
        let label = |uri: &str| Address::of(&settings(uri), Way::Direct).map(|address| address.label);
        assert_eq!(label("postgres://u:secret@h:7/d").expect("an address"), "postgres at u@h:7/d");
        let error = label("postgres://u:secret@h:x/d").expect_err("a wrong port");
        assert!(error.needs_operator && !error.message.contains("secret"), "{error}");
    }

    /// What a client sends first, whole.
    async fn startup(stream: &mut TcpStream) -> Vec<u8> {
        let length = stream.read_u32().await.expect("a length");
        let mut packet = vec![0; length as usize - 4];
        stream.read_exact(&mut packet).await.expect("a packet");
        packet
    }

    /// An error as the protocol has it.
    async fn refuse(stream: &mut TcpStream, code: &str) {
        let fields = format!("SFATAL\0VFATAL\0C{code}\0Munsupported startup parameter\0\0");
        let length = u32::try_from(fields.len() + 4).expect("a short text");
        stream.write_u8(b'E').await.expect("written");
        stream.write_u32(length).await.expect("written");
        stream.write_all(fields.as_bytes()).await.expect("written");
    }

    #[tokio::test]
    async fn a_pooler_that_refuses_the_time_limit_is_connected_to_without_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let uri = format!("postgres://u@{}/d?sslmode=disable", listener.local_addr().expect("an address"));
        let server = async {
            let (mut first, _) = listener.accept().await.expect("a connection");
            let asked = startup(&mut first).await;
            refuse(&mut first, "08P01").await;
            let (mut second, _) = listener.accept().await.expect("a connection");
            let asked_again = startup(&mut second).await;
            refuse(&mut second, "57P03").await;
            [asked, asked_again].map(|packet| packet.windows(17).any(|window| window == b"statement_timeout"))
        };
        let mut settings = settings(&uri);
        settings.columns = vec![crate::sink::columns::Column {
            name: "c".into(),
            value: crate::sink::columns::Value::Constant { text: "x".into() },
        }];
        let mut sink =
            crate::sink::postgres::PostgresSink::new(settings, "sinks.history", crate::telemetry::Telemetry::default());
        let message = crate::message::Message::new(None, bytes::Bytes::new(), Arc::new(crate::message::NoProperties));
        let batch = [message];
        let (asked, written) = tokio::join!(server, crate::sink::Sink::write(&mut sink, &batch));
        assert_eq!(asked, [true, false]);
        assert_eq!(written.expect_err("refused").code, "sqlstate_57P03");
    }
}
