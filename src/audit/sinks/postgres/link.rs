//! One connection to a database whose tables are up to date.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio::task::AbortHandle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Socket, Statement};

use super::fault::{Fault, Step, is_without_partition};
use super::row::{COLUMNS, Finished, YearMonth};
use super::schema::{self, Names};
use super::tls::MakeTls;
use super::{Host, Settings};
use crate::upstream::client_config;

/// The least `server_version_num`.
const OLDEST: i32 = 130_000;
/// How long a connection may take to come about, for each address.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// What is set for each connection. A record that counts as written must not be lost when the
/// server's machine fails, so commits wait for its disk whatever is set there; and a connection whose
/// other end is gone must not hold its rows for hours.
const SESSION: &str = "\
    SET client_min_messages = error;
    SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '60s';
    SET tcp_keepalives_idle = 30;
    SET tcp_keepalives_interval = 10;
    SET tcp_keepalives_count = 3;
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') = 'off'";

/// The table that records go through when some of them may be there already.
const INCOMING: &str = "pg_temp.vspc_gateway_incoming";

pub(super) struct Link {
    client: Client,
    #[expect(dead_code, reason = "held, so that the task ends with the link")]
    driver: Driver,
    names: Names,
    direct: Statement,
    /// Into [`INCOMING`], and from there on.
    by_way: Option<(Statement, Statement)>,
    /// The months that have partitions.
    months: HashSet<YearMonth>,
    /// Whether records may be there already. At first they may: how the last connection ended is not
    /// known.
    is_careful: bool,
}

impl Link {
    /// Connects, and brings the tables up to date.
    pub(super) async fn open(settings: &Settings) -> Result<Self, Fault> {
        let config = config(settings)?;
        let (mut client, driver) = match &settings.tls {
            Some(tls) => {
                let make = MakeTls {
                    config: Arc::new(client_config(tls)?),
                    server_name: tls.server_name.clone(),
                };
                connect(&config, make).await?
            }
            None => connect(&config, NoTls).await?,
        };
        look_at_server(&client).await?;
        schema::migrate(&mut client, &settings.names).await?;
        let fault = |error| Fault::of(Step::Write, &error);
        client.batch_execute(SESSION).await.map_err(fault)?;
        let copy = copy_into(&settings.names.of("record"));
        let direct = client.prepare(&copy).await.map_err(fault)?;
        Ok(Self {
            client,
            driver,
            names: settings.names.clone(),
            direct,
            by_way: None,
            months: HashSet::new(),
            is_careful: true,
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Writes rows, all or none. Those that are there already stay as they are.
    pub(super) async fn write(&mut self, rows: &Finished) -> Result<(), tokio_postgres::Error> {
        match self.try_write(rows).await {
            // Somebody has taken a partition away.
            Err(error) if is_without_partition(&error) => {
                self.months.clear();
                self.try_write(rows).await
            }
            done => done,
        }
    }

    async fn try_write(&mut self, rows: &Finished) -> Result<(), tokio_postgres::Error> {
        self.make_months(&rows.months).await?;
        if !self.is_careful {
            match self.copy(&self.direct, &rows.chunks).await {
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                    self.is_careful = true;
                }
                done => return done.map(|_| ()),
            }
        }
        let new = self.write_by_way(&rows.chunks).await?;
        self.is_careful = new < rows.count;
        Ok(())
    }

    /// Writes rows some of which may be there; says how many were not.
    async fn write_by_way(&mut self, chunks: &[Bytes]) -> Result<u64, tokio_postgres::Error> {
        if self.by_way.is_none() {
            let columns = COLUMNS.map(|(name, kind)| format!("{name} {kind}"));
            let columns = columns.join(", ");
            self.client
                .batch_execute(&format!(
                    "CREATE TEMPORARY TABLE IF NOT EXISTS {} ({columns}) ON COMMIT DELETE ROWS",
                    INCOMING.trim_start_matches("pg_temp.")
                ))
                .await?;
            let copy = self.client.prepare(&copy_into(INCOMING)).await?;
            let names = column_names();
            let move_on = format!(
                "INSERT INTO {} ({names}) SELECT {names} FROM {INCOMING} ON CONFLICT DO NOTHING",
                self.names.of("record")
            );
            let move_on = self.client.prepare(&move_on).await?;
            self.by_way = Some((copy, move_on));
        }
        let Some((copy, move_on)) = self.by_way.clone() else {
            return Ok(0);
        };
        self.client.batch_execute("BEGIN").await?;
        let moved = async {
            self.copy(&copy, chunks).await?;
            self.client.execute(&move_on, &[]).await
        };
        let moved = moved.await;
        let end = match &moved {
            Ok(_) => "COMMIT",
            Err(_) => "ROLLBACK",
        };
        let ended = self.client.batch_execute(end).await;
        let moved = moved?;
        ended?;
        Ok(moved)
    }

    async fn copy(&self, into: &Statement, chunks: &[Bytes]) -> Result<u64, tokio_postgres::Error> {
        let mut copy = pin!(self.client.copy_in::<_, Bytes>(into).await?);
        for chunk in chunks {
            copy.feed(chunk.clone()).await?;
        }
        copy.finish().await
    }

    /// Makes the partitions of months, and of the month after the last, so that it is there when it
    /// comes.
    async fn make_months(&mut self, months: &[YearMonth]) -> Result<(), tokio_postgres::Error> {
        let ahead = months.iter().max().map(|last| last.next());
        for month in months.iter().copied().chain(ahead) {
            if self.months.contains(&month) {
                continue;
            }
            let make = format!("SELECT {}('{}')", self.names.of("month"), month.first_day());
            self.client.batch_execute(&make).await?;
            self.months.insert(month);
        }
        Ok(())
    }

    /// Keeps a signed checkpoint. One that is there already stays as it is.
    pub(super) async fn keep_checkpoint(
        &self,
        origin: &str,
        size: u64,
        root: &[u8],
        note: &str,
    ) -> Result<(), Fault> {
        let insert = format!(
            "INSERT INTO {} (origin, size, root, note) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            self.names.of("checkpoint")
        );
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.client
            .execute(&insert, &[&origin, &size, &root, &note])
            .await
            .map(|_| ())
            .map_err(|error| Fault::of(Step::Write, &error))
    }
}

/// The task that moves the bytes of a connection. Ends it when dropped: a server that hangs would keep
/// it for ever.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn config(settings: &Settings) -> Result<Config, Fault> {
    let mut config = Config::new();
    for host in &settings.hosts {
        match host {
            Host::Socket(folder, port) => config.host_path(folder).port(*port),
            Host::Tcp(name, port) => config.host(name).port(*port),
        };
    }
    if settings.hosts.len() > 1 {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    config
        .dbname(&settings.database)
        .user(&settings.user)
        .application_name(&settings.application_name)
        .connect_timeout(CONNECT_TIME)
        .ssl_mode(match settings.tls {
            Some(_) => SslMode::Require,
            None => SslMode::Disable,
        });
    if let Some(password) = &settings.password {
        config.password(password.read()?.expose());
    }
    Ok(config)
}

async fn connect<T>(config: &Config, tls: T) -> Result<(Client, Driver), Fault>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let connected = config.connect(tls).await;
    let (client, connection) = connected.map_err(|error| Fault::of(Step::Connect, &error))?;
    let driver = tokio::spawn(async move {
        // Whoever uses the client sees the error as well.
        connection.await.unwrap_or_default();
    });
    Ok((client, Driver(driver.abort_handle())))
}

async fn look_at_server(client: &Client) -> Result<(), Fault> {
    let query = "SELECT current_setting('server_version_num')::integer, \
                 current_setting('server_encoding')";
    let fault = |error| Fault::of(Step::Connect, &error);
    let row = client.query_one(query, &[]).await.map_err(fault)?;
    let version: i32 = row.try_get(0).map_err(fault)?;
    let encoding: String = row.try_get(1).map_err(fault)?;
    if version < OLDEST {
        return Err(Fault::OldServer(version / 10_000));
    }
    match encoding.as_str() {
        "UTF8" => Ok(()),
        _ => Err(Fault::Encoding(encoding)),
    }
}

fn column_names() -> String {
    COLUMNS.map(|(name, _)| name).join(", ")
}

fn copy_into(table: &str) -> String {
    format!(
        "COPY {table} ({}) FROM STDIN (FORMAT binary)",
        column_names()
    )
}
