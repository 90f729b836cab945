//! What can be wrong with a database, and what to do about it.

use std::error::Error as _;
use std::io;

use rustls::CertificateError;
use tokio_postgres::error::SqlState;

use super::schema::VERSION;
use crate::secret::SecretError;
use crate::upstream::{TlsFailure, TlsFault};

/// What was being done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Connect,
    Migrate,
    Month,
    Version,
    Write,
}

impl Step {
    fn what(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Migrate => "make its tables",
            Self::Month => "make the partition of a month",
            Self::Version => "read the version of its tables",
            Self::Write => "write records",
        }
    }
}

/// Why records did not get into a database.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The database cannot be used now.
    #[error("cannot {what}: {reason}{remedy}")]
    Database {
        /// What was being done.
        what: &'static str,
        /// What the other side, or the operating system, said.
        reason: String,
        /// What to do, if that is known.
        remedy: &'static str,
    },
    /// The texts of the database are not UTF-8.
    #[error(
        "the database is encoded in {0}: records need UTF8 (CREATE DATABASE … ENCODING 'UTF8' \
         TEMPLATE template0)"
    )]
    Encoding(String),
    /// A newer program has made the tables.
    #[error(
        "the audit tables are of version {found}, this program knows version {VERSION}: run the newer \
         one, or give another `schema` or `prefix`"
    )]
    NewerSchema {
        /// Their version.
        found: usize,
    },
    /// The server is too old.
    #[error("PostgreSQL {0} is too old: 13 or later is needed")]
    OldServer(i32),
    /// The password cannot be read.
    #[error("the password: {0}")]
    Password(#[from] SecretError),
    /// A record that no form of a row can hold.
    #[error("record {seq}: {reason}")]
    Refused {
        /// Its number.
        seq: u64,
        /// Why.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsFault),
}

impl Fault {
    pub(super) fn of(step: Step, error: &tokio_postgres::Error) -> Self {
        Self::Database {
            what: step.what(),
            reason: reason(error),
            remedy: error
                .code()
                .and_then(|code| remedy(step, code))
                .unwrap_or_default(),
        }
    }
}

/// What an error says with all its causes. What a server tells of single values is left out.
pub(super) fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let message: String = said.message().chars().take(MESSAGE_LIMIT).collect();
        return format!("{message} (SQLSTATE {})", said.code().code());
    }
    if let Some(failure) = tls_failure(error) {
        return format!("TLS: {failure}");
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = error.source();
    }
    text
}

/// What was wrong with the server's certificate.
fn tls_failure(error: &tokio_postgres::Error) -> Option<&TlsFailure> {
    let error = error.source()?.downcast_ref::<io::Error>()?.get_ref()?;
    match error.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref::<TlsFailure>()
        }
        _ => None,
    }
}

fn remedy(step: Step, code: &SqlState) -> Option<&'static str> {
    let rights = "; let an owner of the database apply the output of `vspc-gateway audit schema`";
    Some(match *code {
        SqlState::INSUFFICIENT_PRIVILEGE => match step {
            Step::Connect => "; grant the role CONNECT on the database",
            Step::Write => {
                "; let an owner apply the grants of `vspc-gateway audit schema --role …`, and grant the \
                 role TEMPORARY on the database"
            }
            Step::Migrate | Step::Month | Step::Version => rights,
        },
        SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_FUNCTION => {
            "; the tables are not those that `vspc-gateway audit schema` makes"
        }
        SqlState::DUPLICATE_TABLE if step == Step::Month => {
            "; a table of that name is there and no partition: attach it, or rename it"
        }
        SqlState::CHECK_VIOLATION => "; no partition takes the record's time: attach one that does",
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "; check `user`, `password` and the server's pg_hba.conf"
        }
        SqlState::INVALID_CATALOG_NAME => "; make the database, or correct `database`",
        SqlState::DISK_FULL => "; make room on the server's disk",
        SqlState::TOO_MANY_CONNECTIONS => "; raise the server's max_connections",
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            "; the server is a standby: give the primary's `host`"
        }
        _ => return None,
    })
}

/// Whether one of the records is at fault and not the database: its values cannot be taken.
pub(super) fn is_of_data(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        // Data exceptions, violated constraints, and limits of the program such as an index's.
        let class = code.code().get(..2);
        matches!(class, Some("22" | "23" | "54")) && !is_without_partition(error)
    })
}

/// Whether a record had no partition.
pub(super) fn is_without_partition(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|said| {
        *said.code() == SqlState::CHECK_VIOLATION && said.constraint().is_none()
    })
}

const MESSAGE_LIMIT: usize = 300;
