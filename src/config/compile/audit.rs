//! `[audit]`.

use std::path::Path;
use std::time::Duration;

use super::server::is_directory;
use super::{files, reconcile, sinks};
use crate::audit::note::{KeyKind, VerifierKey};
use crate::audit::{self, Durability};
use crate::clock::Clock;
use crate::config::reader::{Item, Section};
use crate::config::value::{Time, path, secret_source};

pub(in crate::config) fn audit(root: &mut Section<'_>, folder: &Path) -> Option<audit::Settings> {
    let mut section = root.required("audit")?.section()?;
    let directory = section
        .required("directory")
        .and_then(|item| path(&item, folder).filter(|path| is_directory(&item, path)));
    let durability = section
        .optional("durability")
        .map_or(Some(Durability::Strict), |item| {
            item.read_with(|text: String| match text.as_str() {
                "strict" => Ok(Durability::Strict),
                "buffered" => Ok(Durability::Buffered),
                _ => Err(r#"must be "strict" or "buffered""#),
            })
        });
    let queue = section.or("queue", 32_768);
    let admission = section.or("queue_wait", Time(Duration::from_secs(1)));
    let sinks = sinks::sinks(&mut section, folder);
    if queue.is_some_and(|queue| !(16..=1_000_000).contains(&queue)) {
        section.fault("queue", "must be between 16 and 1000000 records");
    }
    let tree = audit_tree(&mut section, folder);
    let reconcile = reconcile::read(&mut section);
    let files = files::files(&mut section).map(|files| audit::FileSettings {
        sinks: sinks
            .iter()
            .flatten()
            .map(|sink| sink.name.to_string())
            .collect(),
        ..files
    });
    let witnesses = section.optional("witnesses");
    let witnesses = witnesses.map_or(Some(Vec::new()), |item| witnesses_of(&item));
    section.finish();
    Some(audit::Settings {
        directory: directory?,
        durability: durability?,
        queue: queue?,
        admission: admission?.0,
        witnesses: witnesses?,
        clock: Clock::System,
        tree: tree?,
        sinks: sinks?,
        reconcile: reconcile?,
        files: files?,
    })
}

/// The key of checkpoints is read when the log is opened: whoever reads the log need not have it.
fn audit_tree(section: &mut Section<'_>, folder: &Path) -> Option<audit::TreeSettings> {
    let origin = match section.optional("origin") {
        None => Some(None),
        Some(item) => item
            .read_with(|text: String| match audit::is_origin(&text) {
                true => Ok(text),
                false => Err("must be 1 to 128 visible characters, without spaces and `+`"),
            })
            .map(Some),
    };
    let signing_key = match section.optional("signing_key") {
        None => Some(None),
        Some(item) if item.raw().is_str() => {
            item.fault("must be { file = \"…\" } or { env = \"…\" }");
            None
        }
        Some(item) => secret_source(&item, folder).map(Some),
    };
    let checkpoints = match section.optional("checkpoints") {
        None => Some(None),
        Some(item) => item.section().and_then(|mut section| {
            let file = section
                .required("file")
                .and_then(|item| path(&item, folder));
            section.finish();
            file.map(Some)
        }),
    };
    Some(audit::TreeSettings {
        origin: origin?,
        signing_key: signing_key?,
        checkpoints: checkpoints?,
    })
}

/// The keys of witnesses, each in the form that C2SP signed-note has.
fn witnesses_of(item: &Item<'_>) -> Option<Vec<VerifierKey>> {
    let key = |item: &Item<'_>| {
        item.read_with(|text: String| match text.parse::<VerifierKey>() {
            Ok(key) if key.kind() == KeyKind::Cosignature => Ok(key),
            Ok(_) => {
                Err("must be the key of a witness (cosignature/v1), not one for notes".to_owned())
            }
            Err(error) => Err(format!("cannot be used: {error}")),
        })
    };
    // All are read, so that all faults are told.
    let keys: Vec<_> = item.elements()?.iter().map(key).collect();
    keys.into_iter().collect()
}
