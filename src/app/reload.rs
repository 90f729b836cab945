//! A reload: all of the file, or nothing of it.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::services::Shared;
use super::succession::Next;
use crate::admin::{Admin, Asked, Loaded, NotLoaded, Outcome};
use crate::audit::{Code, Kind, Record};
use crate::clock::Clock;
use crate::config::{AdminAddress, ConfigError, Differences, Settings, Source};
use crate::gateway::Live;
use crate::secret::Secret;

/// Says from now on how detailed the log is.
pub type SetLevel = Box<dyn Fn(tracing::Level) + Send + Sync>;

/// Loads the configuration anew as often as it is asked to, once at a time.
pub(super) struct Reloader {
    pub(super) live: Arc<Live>,
    pub(super) shared: Arc<Shared>,
    pub(super) admin: Option<(Arc<Admin>, AdminAddress)>,
    /// What the process was started with.
    pub(super) file: PathBuf,
    pub(super) set_level: SetLevel,
    /// What was in the file at the start: some of it holds to the end.
    pub(super) started: Source,
    /// What was in it at the last reload.
    pub(super) present: Source,
    pub(super) asked: mpsc::Receiver<Asked>,
}

impl Reloader {
    /// Never ends but with those who ask.
    pub(super) async fn run(mut self) {
        while let Some(Asked { by, answer }) = self.asked.recv().await {
            let outcome = self.reload(by).await;
            // Whoever does not wait for it any more finds it in the log.
            drop(answer.send(outcome));
        }
    }

    async fn reload(&mut self, by: Record) -> Outcome {
        if self.shared.is_leaving() {
            tracing::warn!("the configuration is not loaded anew: the process is ending");
            return Err(NotLoaded::NotNow("the process is ending"));
        }
        let (file, before) = (self.file.clone(), self.live.now());
        let prepare = move || {
            let settings = Settings::load(&file).map_err(|error| faults_of(&error))?;
            let (source, rest) = (settings.source.clone(), Rest::of(&settings));
            let next = Next::prepare(&before, settings).map_err(|error| vec![error.to_string()])?;
            Ok((source, rest, next))
        };
        let prepared = tokio::task::spawn_blocking(prepare).await;
        let (source, rest, next) = match prepared {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(faults)) => return Err(self.refuse(by, faults).await),
            Err(error) => return Err(self.refuse(by, vec![error.to_string()]).await),
        };
        let loaded = self.compare(&source, &rest);
        self.record(by, &loaded).await?;
        next.take_effect(&self.live).await;
        self.apply(rest);
        self.present = source;
        self.live.was_reloaded(true);
        tracing::info!(version = %loaded.version, before = %loaded.before, "the configuration was loaded anew");
        for change in &loaded.changes {
            tracing::info!(change, "the configuration is different");
        }
        for key in &loaded.restarts {
            tracing::warn!(key, "this takes a restart: what it was holds until then");
        }
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded)
    }

    fn compare(&self, source: &Source, rest: &Rest) -> Loaded {
        let changes = Differences::between(&self.present, source).changes;
        let restarts = Differences::between(&self.started, source).restarts;
        Loaded {
            version: Arc::clone(&source.version),
            before: Arc::clone(&self.present.version),
            changes,
            restarts,
            warnings: rest.warnings.clone(),
        }
    }

    /// What cannot be recorded is not done.
    async fn record(&self, by: Record, loaded: &Loaded) -> Result<(), NotLoaded> {
        let mut detail = format!("{} in place of {}", loaded.version, loaded.before);
        for (what, lines) in [
            ("different", &loaded.changes),
            ("restart needed for", &loaded.restarts),
        ] {
            if !lines.is_empty() {
                detail += &format!("; {what}: {}", lines.join(", "));
            }
        }
        let record = Record {
            operation: Some(Cow::Borrowed("config.reloaded")),
            code: Some(Code::Ok),
            config: Some(Arc::clone(&loaded.version)),
            detail: Some(Cow::Owned(detail)),
            ..by
        };
        let gateway = self.live.now();
        let noted = gateway.auditor.note_durable(Kind::Config, &record);
        let why = match timeout(AUDIT_TIME, noted).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the disk does not answer".to_owned(),
        };
        self.live.was_reloaded(false);
        tracing::error!(
            error = why,
            "the configuration is not loaded anew: it cannot be recorded"
        );
        Err(NotLoaded::Unrecorded(why))
    }

    /// The present configuration stays, and all faults of the other are told.
    async fn refuse(&self, by: Record, faults: Vec<String>) -> NotLoaded {
        self.live.was_reloaded(false);
        tracing::error!(
            faults = faults.len(),
            "the configuration is not loaded anew, for its faults: what it was goes on"
        );
        for fault in &faults {
            tracing::error!(fault, "a fault of the configuration");
        }
        let file = self.file.clone();
        let version = tokio::task::spawn_blocking(move || Source::version_of(&file)).await;
        let version = version.ok().flatten();
        let version = version.as_deref().unwrap_or("the file");
        let record = Record {
            operation: Some(Cow::Borrowed("config.refused")),
            code: Some(Code::Refused("bad_config")),
            detail: Some(Cow::Owned(format!("{version}: {}", faults.join("; ")))),
            ..by
        };
        let auditor = self.live.now().auditor.clone();
        if let Err(error) = auditor.note(Kind::Config, &record).await {
            auditor.report_unrecorded(Kind::Config, &record, error);
        }
        NotLoaded::Faulty { faults }
    }

    /// What of a configuration is not the gateway's. The certificates of listeners belong here too:
    /// what could be wrong with them is found where the file is read.
    fn apply(&self, rest: Rest) {
        self.shared.set_drain_time(rest.drain);
        (self.set_level)(rest.level);
        if let (Some((admin, place)), Some((wanted, token))) = (&self.admin, rest.admin)
            // A token, or none, is for where the file says that operators are served.
            && *place == wanted
        {
            admin.trust(token);
        }
    }
}

/// What a configuration says to others than the gateway.
struct Rest {
    drain: Duration,
    level: tracing::Level,
    admin: Option<(AdminAddress, Option<Secret>)>,
    warnings: Vec<String>,
}

impl Rest {
    fn of(settings: &Settings) -> Self {
        let admin = settings.admin.as_ref();
        Self {
            drain: settings.server.drain,
            level: settings.log.level,
            admin: admin.map(|admin| {
                let token = admin.token.as_ref().map(Secret::duplicate);
                (admin.listen.clone(), token)
            }),
            warnings: settings.warnings(Clock::System.now()),
        }
    }
}

fn faults_of(error: &ConfigError) -> Vec<String> {
    match error {
        ConfigError::Faulty { faults, .. } => faults.0.iter().map(ToString::to_string).collect(),
        ConfigError::Unreadable { .. } => vec![error.to_string()],
    }
}

/// How long the record is waited for.
const AUDIT_TIME: Duration = Duration::from_secs(5);
