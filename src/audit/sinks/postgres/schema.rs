//! The tables: numbered migrations that stand in the program, and how a database comes up to date.

use std::fmt::Write as _;

use tokio_postgres::Client;

use super::fault::{Fault, Step};

/// The migrations in their order: the first makes version 1. One that was released is never
/// changed.
const MIGRATIONS: [&str; 2] = [
    include_str!("schema/0001_records.sql"),
    include_str!("schema/0002_checkpoints.sql"),
];

/// The version that this program writes.
pub const VERSION: usize = MIGRATIONS.len();

/// The longest name of a schema or prefix. With what is added a name stays below PostgreSQL's 63.
const NAME_LIMIT: usize = 40;

/// What the tables are called: a schema, and what their names begin with. Both are plain
/// identifiers, so that they may stand in SQL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names {
    schema: String,
    prefix: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            schema: "vspc_gateway".to_owned(),
            prefix: "audit_".to_owned(),
        }
    }
}

impl Names {
    /// Takes a schema and a prefix.
    ///
    /// # Errors
    /// Refuses what is no plain identifier: a small letter or `_`, then small letters, digits and
    /// `_`, at most 40 in all. A prefix may be empty.
    pub fn new(schema: &str, prefix: &str) -> Result<Self, WrongName> {
        let is_plain = |name: &str| {
            let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
            let mut rest = name.bytes();
            starts
                && name.len() <= NAME_LIMIT
                && rest.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if !is_plain(schema) || schema.starts_with("pg_") {
            return Err(WrongName(schema.to_owned()));
        }
        if !prefix.is_empty() && !is_plain(prefix) {
            return Err(WrongName(prefix.to_owned()));
        }
        Ok(Self {
            schema: schema.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// The schema.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// What the names of the tables begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A table's or function's name as it stands in SQL.
    pub(super) fn of(&self, name: &str) -> String {
        format!("\"{}\".\"{}{name}\"", self.schema, self.prefix)
    }

    fn fill(&self, sql: &str) -> String {
        sql.replace("@schema@", &self.schema)
            .replace("@prefix@", &self.prefix)
    }

    /// What one migrates under, so that no two do at once.
    fn lock(&self) -> String {
        let name = self.of("schema");
        format!("SELECT pg_advisory_xact_lock(hashtextextended('{name}', 0))")
    }

    fn note_version(&self, version: usize) -> String {
        let table = self.of("schema");
        format!("INSERT INTO {table} (version) VALUES ({version})")
    }
}

/// Says that a text cannot be the name of a schema or begin the names of tables.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is no plain name: a small letter or `_`, then small letters, digits and `_`, at most 40, \
     and no schema that begins with `pg_`"
)]
pub struct WrongName(String);

/// The SQL that brings a database from a version to [`VERSION`], for an owner who lets no program
/// change tables; with a role, also the rights that writing needs and no others.
pub fn script(names: &Names, from: usize, role: Option<&str>) -> String {
    let mut sql = String::from("BEGIN;\n\n");
    let table = names.of("schema");
    let mut line = |text: &str| {
        sql.push_str(text);
        sql.push('\n');
    };
    line(&format!("{};\n", names.lock()));
    if from > 0 {
        line(&format!(
            "DO $body$\nBEGIN\n    IF (SELECT max(version) FROM {table}) IS DISTINCT FROM {from} THEN\n        \
             RAISE EXCEPTION 'the schema is not at version {from}';\n    END IF;\nEND\n$body$;\n"
        ));
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(from) {
        line(names.fill(migration).trim_end());
        line(&format!("\n{};\n", names.note_version(index + 1)));
    }
    if let Some(role) = role {
        line(&grants(names, role));
    }
    line("COMMIT;");
    sql
}

fn grants(names: &Names, role: &str) -> String {
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    let (schema, version) = (&names.schema, names.of("schema"));
    let mut sql = String::new();
    for right in [
        format!("USAGE ON SCHEMA \"{schema}\""),
        format!("SELECT ON {version}"),
        format!("INSERT ON {}", names.of("record")),
        format!("INSERT ON {}", names.of("checkpoint")),
        format!("EXECUTE ON FUNCTION {}(date)", names.of("month")),
    ] {
        // Writing to a text cannot fail.
        writeln!(sql, "GRANT {right} TO {role};").unwrap_or_default();
    }
    sql
}

/// Brings the tables up to date.
///
/// # Errors
/// Fails when the tables are of a newer program, or the role may not change them.
pub(super) async fn migrate(client: &mut Client, names: &Names) -> Result<(), Fault> {
    if version(client, names).await? == VERSION {
        return Ok(());
    }
    let fault = |error| Fault::of(Step::Migrate, &error);
    let transaction = client.transaction().await.map_err(fault)?;
    transaction
        .batch_execute(&names.lock())
        .await
        .map_err(fault)?;
    // Somebody else may have done it while the lock was waited for.
    let from = version(transaction.client(), names).await?;
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(from) {
        let version = index + 1;
        let sql = format!(
            "{};\n{}",
            names.fill(migration),
            names.note_version(version)
        );
        transaction.batch_execute(&sql).await.map_err(fault)?;
    }
    transaction.commit().await.map_err(fault)?;
    if from < VERSION {
        tracing::info!(
            from,
            to = VERSION,
            "the audit tables in PostgreSQL are up to date"
        );
    }
    Ok(())
}

/// Which version the tables are of; 0 when there are none.
async fn version(client: &Client, names: &Names) -> Result<usize, Fault> {
    let fault = |error| Fault::of(Step::Version, &error);
    // Not by to_regclass: its cache may not yet know what was made while the lock was waited for.
    let exists = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname = $1 AND c.relname = $2)";
    let relation = format!("{}schema", names.prefix);
    let exists = client
        .query_one(exists, &[&names.schema, &relation])
        .await
        .and_then(|row| row.try_get::<_, bool>(0))
        .map_err(fault)?;
    if !exists {
        return Ok(0);
    }
    let query = format!(
        "SELECT coalesce(max(version), 0) FROM {}",
        names.of("schema")
    );
    let found: i32 = client
        .query_one(&query, &[])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(fault)?;
    let found = usize::try_from(found).unwrap_or(0);
    match found > VERSION {
        true => Err(Fault::NewerSchema { found }),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};

    use super::*;

    #[test]
    fn released_migrations_are_never_changed() {
        let digests = MIGRATIONS.map(|sql| hex::encode(digest(&SHA256, sql.as_bytes())));
        assert_eq!(
            digests,
            [
                "9f5c48dd6a283f64c84da2452d000310ea696fb3c671b8f9f810cc5038f0953c",
                "7d4640f6bedba2d5821bb74fa805477f38fd8609ce1f5523e03be319c38b6913"
            ]
        );
    }

    #[test]
    fn names_are_plain_identifiers() {
        for (schema, prefix) in [("a", ""), ("_a1", "x_"), ("public", "audit_")] {
            assert!(Names::new(schema, prefix).is_ok(), "{schema} {prefix}");
        }
        let long = "a".repeat(41);
        for wrong in ["A", "1a", "a-b", "a\"b", "a b", "é", "a;", &long] {
            assert!(Names::new(wrong, "").is_err(), "{wrong}");
            assert!(Names::new("a", wrong).is_err(), "{wrong}");
        }
        assert!(Names::new("", "").is_err());
        assert!(Names::new("pg_toast", "").is_err());
    }

    #[test]
    fn a_script_from_a_version_begins_after_it() {
        let names = Names::default();
        let whole = script(&names, 0, Some("gate\"way"));
        assert!(
            whole.contains("\"vspc_gateway\".\"audit_record\" "),
            "{whole}"
        );
        assert!(whole.contains("TO \"gate\"\"way\";"), "{whole}");
        assert!(!whole.contains('@'), "{whole}");
        let rest = script(&names, 1, None);
        assert!(!rest.contains("audit_record"), "{rest}");
        assert!(rest.contains("IS DISTINCT FROM 1"), "{rest}");
        assert!(rest.contains("VALUES (2)"), "{rest}");
    }
}
