//! Records in a PostgreSQL database.
//!
//! A batch is one COPY, which the server takes as a whole or not at all. Records are known by their
//! origin and number, so one that comes again changes nothing. Where a row is refused, halves of
//! the batch are tried until the record is found; that one is then written in a lesser form
//! (`row`), with its line whole, before it is given up.

mod fault;
mod link;
mod row;
mod schema;
mod tls;

pub use fault::Fault;
pub use row::Source;
pub use schema::{Names, VERSION, WrongName, script};

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Item, SendError, Sink};
use crate::secret::SecretSource;
use crate::upstream::Tls;
use fault::Step;
use link::Link;
use row::{Finished, Form, Rows};

/// Where the database is, and who writes into it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Its servers. With several, the first that takes writes is used.
    pub hosts: Vec<Host>,
    /// The database's name.
    pub database: String,
    /// The role.
    pub user: String,
    /// The role's password, read anew at each connection.
    pub password: Option<SecretSource>,
    /// How TLS is set up; `None`: without it.
    pub tls: Option<Tls>,
    /// What the tables are called.
    pub names: Names,
    /// What the connection is called in the server's views.
    pub application_name: String,
}

/// A server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Host {
    /// The folder of its Unix socket, and its port, which is part of the socket's name.
    Socket(PathBuf, u16),
    /// Name or address, and port.
    Tcp(String, u16),
}

impl Host {
    /// Whether what is sent there stays on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Socket(..) => true,
            Self::Tcp(name, _) => {
                let address = name.parse::<IpAddr>();
                name == "localhost" || address.is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(folder, port) => write!(f, "{}/.s.PGSQL.{port}", folder.display()),
            Self::Tcp(name, port) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// Writes records into a database.
pub struct Postgres {
    settings: Settings,
    link: Option<Link>,
}

impl Postgres {
    /// Connects at the first batch.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            link: None,
        }
    }

    /// Where the database is, for messages.
    pub fn place(&self) -> String {
        let hosts: Vec<_> = self.settings.hosts.iter().map(Host::to_string).collect();
        format!("{}/{}", hosts.join(","), self.settings.database)
    }

    /// Writes records. Returns when the server has all of them on its disk.
    ///
    /// May be dropped before it ends: what is written then, comes again and changes nothing.
    ///
    /// # Errors
    /// Fails when the database cannot be used; [`Fault::Refused`] names a record that it will never
    /// take, all before it are written.
    pub async fn write(&mut self, batch: &[Source<'_>]) -> Result<(), Fault> {
        let mut link = self.link().await?;
        let written = write_all(&mut link, batch).await;
        if matches!(written, Ok(()) | Err(Fault::Refused { .. })) {
            self.link = Some(link);
        }
        written
    }

    /// Keeps a signed checkpoint: how many records of a log it covers, their root, the note itself.
    ///
    /// # Errors
    /// Fails when the database cannot be used.
    pub async fn keep_checkpoint(
        &mut self,
        origin: &str,
        size: u64,
        root: &[u8],
        note: &str,
    ) -> Result<(), Fault> {
        let link = self.link().await?;
        link.keep_checkpoint(origin, size, root, note).await?;
        self.link = Some(link);
        Ok(())
    }

    /// Takes the connection out, so that a future that is dropped leaves none behind of which nobody
    /// knows how far it came.
    async fn link(&mut self) -> Result<Link, Fault> {
        match self.link.take() {
            Some(link) if !link.is_closed() => Ok(link),
            _ => Link::open(&self.settings).await,
        }
    }
}

#[async_trait]
impl Sink for Postgres {
    async fn send(&mut self, batch: &[Item]) -> Result<(), SendError> {
        let sent = match batch {
            [item] if item.is_checkpoint => self.send_checkpoint(item).await,
            items => {
                let sources: Vec<_> = items.iter().map(Source::of).collect();
                self.write(&sources).await
            }
        };
        sent.map_err(|fault| match fault {
            Fault::Refused { seq, reason } => SendError::RecordRefused { seq, why: reason },
            fault => SendError::Unreachable(format!("PostgreSQL at {}: {fault}", self.place())),
        })
    }
}

impl Postgres {
    async fn send_checkpoint(&mut self, item: &Item) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Checkpoint {
            note: String,
        }
        let refused = |reason: &str| Fault::Refused {
            seq: item.seq,
            reason: reason.to_owned(),
        };
        let checkpoint: Checkpoint =
            serde_json::from_slice(&item.line).map_err(|_| refused("it holds no note"))?;
        // Its lines are origin, size, root.
        let mut lines = checkpoint.note.lines();
        let (origin, root) = (lines.next(), lines.nth(1));
        let root = root.and_then(|root| STANDARD.decode(root).ok());
        let (Some(origin), Some(root)) = (origin, root) else {
            return Err(refused("its note is no checkpoint"));
        };
        self.keep_checkpoint(origin, item.seq, &root, &checkpoint.note)
            .await
    }
}

impl<'a> Source<'a> {
    fn of(item: &'a Item) -> Self {
        let origin = item.id.rsplit_once('#').map(|(origin, _)| origin);
        Self {
            seq: item.seq,
            origin: origin.unwrap_or(&item.id),
            line: &item.line,
        }
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

async fn write_all(link: &mut Link, batch: &[Source<'_>]) -> Result<(), Fault> {
    // What is still to be written, the first part last.
    let mut rest: Vec<(Range<usize>, Form)> = vec![(0..batch.len(), Form::Full)];
    while let Some((range, form)) = rest.pop() {
        let part = batch.get(range.clone()).unwrap_or_default();
        let (Some(first), len) = (part.first(), part.len()) else {
            continue;
        };
        let rows = match rows(part, form) {
            Ok(rows) => rows,
            Err(refused) if len == 1 => return Err(refused),
            Err(_) => {
                halve(&mut rest, range, form);
                continue;
            }
        };
        match link.write(&rows).await {
            Ok(()) => {}
            Err(error) if !fault::is_of_data(&error) => {
                return Err(Fault::of(Step::Write, &error));
            }
            Err(_) if len > 1 => halve(&mut rest, range, form),
            Err(error) => {
                let reason = fault::reason(&error);
                let Some(lesser) = form.lesser() else {
                    return Err(Fault::Refused {
                        seq: first.seq,
                        reason,
                    });
                };
                tracing::warn!(
                    seq = first.seq,
                    error = reason,
                    "PostgreSQL gets less of a record"
                );
                rest.push((range, lesser));
            }
        }
    }
    Ok(())
}

fn halve(rest: &mut Vec<(Range<usize>, Form)>, range: Range<usize>, form: Form) {
    let middle = range.start.midpoint(range.end);
    rest.push((middle..range.end, form));
    rest.push((range.start..middle, form));
}

fn rows(part: &[Source<'_>], form: Form) -> Result<Finished, Fault> {
    let mut rows = Rows::new();
    for source in part {
        rows.push(*source, form)?;
    }
    Ok(rows.finish())
}
