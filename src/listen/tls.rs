//! TLS with callers: certificates by the name that is asked for, certificates of callers, and files
//! that are read anew while connections are held.

mod callers;
mod handshake;
mod material;
mod names;
mod reading;
mod refusals;
mod wrong;

pub use wrong::{Fault, Wrong};

pub(super) use handshake::{Secured, shake};

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use rustls_pki_types::CertificateDer;

use crate::clock::{Clock, Timestamp};
use crate::secret::SecretSource;
use crate::telemetry::Telemetry;

use material::{Ends, Files, Material, Stamps};
use refusals::Refusals;

/// How a listener speaks TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Where they stand in the configuration: `server.tls`.
    pub place: String,
    /// The certificates, at least one. The first is for callers that ask for no name, or for one
    /// that none is good for.
    pub pairs: Vec<PairSource>,
    /// Whether and how callers show certificates.
    pub callers: Option<CallerRules>,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// Whether callers must ask for a name that one of the certificates is good for.
    pub strict_sni: bool,
}

/// A certificate and its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PairSource {
    /// What stands before `certificate` and `key` in their place: nothing, or `certificates[0].`
    pub place: String,
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key in PEM.
    pub key: SecretSource,
}

/// Whose certificates are accepted of callers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallerRules {
    /// The authorities, in PEM.
    pub authorities: PathBuf,
    /// What the authorities have revoked, in PEM.
    pub revoked: Option<PathBuf>,
    /// Whether a caller may do without a certificate.
    pub demand: Demand,
}

/// Whether callers must show a certificate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Demand {
    /// They may; what they show must be good.
    Optional,
    /// Without one there is no connection.
    #[default]
    Required,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MinVersion {
    /// TLS 1.2
    #[default]
    Tls12,
    /// TLS 1.3
    Tls13,
}

/// The TLS of a listener: what its files held when they were last in order.
pub struct Tls {
    /// The address of the listener, for metrics and the log.
    listener: String,
    present: ArcSwap<Present>,
    looked: Mutex<Looked>,
    /// Seals what sessions are resumed by. Of this listener alone: another may have other rules.
    ticketer: Arc<dyn ProducesTickets>,
    refusals: Refusals,
    /// Why the files cannot be used as they are now.
    fault: Mutex<Option<String>>,
}

struct Present {
    settings: Settings,
    material: Material,
}

/// What the files looked like when they were last looked at.
#[derive(Debug, Default)]
struct Looked {
    stamps: Stamps,
    /// Whether they looked the same before: nobody is in the middle of writing them.
    settled: bool,
}

/// What came of reading files anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reloaded {
    /// They hold something else; new connections see it.
    Anew,
    /// They hold what they held.
    Same,
}

impl Tls {
    /// Reads the files of a listener.
    ///
    /// # Errors
    /// Tells everything that is wrong with them. What has expired is no fault: see
    /// [`Tls::warnings`].
    pub fn open(settings: Settings, listener: String) -> Result<Self, Vec<Fault>> {
        let stamps = Stamps::take(&settings);
        let ticketer = Ticketer::new().map_err(|error| vec![Fault::of("", Wrong::Tls(error))])?;
        let material = Material::of(&settings, Files::read(&settings), &ticketer)?;
        Ok(Self {
            listener,
            present: ArcSwap::from_pointee(Present { settings, material }),
            looked: Mutex::new(Looked {
                stamps,
                settled: false,
            }),
            ticketer,
            refusals: Refusals::default(),
            fault: Mutex::new(None),
        })
    }

    /// Whether callers are asked for a certificate.
    pub fn asks_for_certificates(&self) -> bool {
        self.present.load().settings.callers.is_some()
    }

    /// What an operator should know: certificates that have ended, or will soon.
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let present = self.present.load();
        let place = &present.settings.place;
        let ends = present.material.ends.iter();
        ends.filter_map(|ends| ends.warning(now))
            .map(|(key, warning)| format!("{place}.{key}: {warning}"))
            .collect()
    }

    /// Reads the files anew, whether they seem to have changed or not. Connections that are there go
    /// on; new ones see what the files hold now.
    ///
    /// # Errors
    /// Tells everything that is wrong. Then nothing changes.
    pub fn reload(&self) -> Result<Reloaded, Vec<Fault>> {
        let before = self.present.load_full();
        let files = Files::read(&before.settings);
        if files.digest() == before.material.digest {
            *self.fault.lock() = None;
            return Ok(Reloaded::Same);
        }
        let settings = before.settings.clone();
        let material = Material::of(&settings, files, &self.ticketer)?;
        let present = Arc::new(Present { settings, material });
        // What another configuration has brought meanwhile stays.
        drop(self.present.compare_and_swap(&before, present));
        *self.fault.lock() = None;
        Ok(Reloaded::Anew)
    }

    /// Tells what the files held when they were last in order apart from what they held before.
    pub fn edition(&self) -> [u8; 32] {
        self.present.load().material.digest
    }

    /// Whose certificates are used, and when they end.
    pub fn served(&self) -> String {
        let present = self.present.load();
        let ends = present.material.ends.iter();
        let told = ends.map(|ends| format!("{} until {}", ends.name, ends.expires.in_seconds()));
        told.collect::<Vec<_>>().join(", ")
    }

    /// Why the files cannot be used as they are now, so that those from before are.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// Takes over the settings and certificates of another, for a configuration that was read anew.
    pub fn adopt(&self, other: &Self) {
        self.present.store(other.present.load_full());
    }

    /// Looks at the files every few seconds, for ever. What has changed and is in order is taken;
    /// of what is not, the log tells, and a counter.
    pub(super) async fn watch(self: &Arc<Self>, telemetry: &Telemetry) {
        let mut told = self.present.load_full();
        self.tell_ends(telemetry, None, &told);
        for warning in self.warnings(Clock::System.now()) {
            tracing::warn!("{warning}");
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.refusals.tell(&self.listener);
            let this = Arc::clone(self);
            let looked = tokio::task::spawn_blocking(move || this.look()).await;
            if let Ok(Err(faults)) = looked {
                telemetry.tls_reload_failed();
                self.complain(&faults);
            }
            let present = self.present.load_full();
            if !Arc::ptr_eq(&present, &told) {
                // A configuration that was loaded anew brings those that were there, most often.
                if present.material.digest != told.material.digest {
                    tracing::info!(listener = %self.listener, "new certificates are served");
                }
                self.tell_ends(telemetry, Some(&told), &present);
                told = present;
                for warning in self.warnings(Clock::System.now()) {
                    tracing::warn!("{warning}");
                }
            }
        }
    }

    /// Reads the files if they have changed. Faults are told once, and not before the files have
    /// come to rest: a certificate is written before its key, or its key before it.
    fn look(&self) -> Result<(), Vec<Fault>> {
        let stamps = Stamps::take(&self.present.load().settings);
        let settled = {
            let mut looked = self.looked.lock();
            if looked.stamps == stamps && looked.settled {
                return Ok(());
            }
            // Files that change twice within a tick of the system's clock look the same after it:
            // so they are read once more when they have come to rest.
            looked.settled = looked.stamps == stamps;
            looked.stamps = stamps;
            looked.settled
        };
        match self.reload() {
            Err(faults) if settled => Err(faults),
            _ => Ok(()),
        }
    }

    fn complain(&self, faults: &[Fault]) {
        let present = self.present.load();
        let told: Vec<_> = faults
            .iter()
            .map(|it| format!("{}: {}", it.place, it.wrong))
            .collect();
        *self.fault.lock() = Some(told.join("; "));
        for fault in faults {
            let place = format!("{}.{}", present.settings.place, fault.place);
            let listener = &self.listener;
            tracing::error!(%listener, place, error = %fault.wrong,
                "the files of TLS have changed and are not in order: those from before are served");
        }
    }

    fn tell_ends(&self, telemetry: &Telemetry, old: Option<&Present>, new: &Present) {
        let old = old.map_or(&[][..], |old| &old.material.ends);
        for ends in old {
            telemetry.certificate_gone(&self.listener, ends.kind.label(), &ends.file, &ends.name);
        }
        for Ends {
            kind,
            file,
            name,
            expires,
            ..
        } in &new.material.ends
        {
            let seconds = expires.0 / 1_000_000;
            telemetry.certificate_ends(&self.listener, kind.label(), file, name, seconds);
        }
    }

    /// The server's own certificates, the default first.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        self.present.load().material.names.own()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("listener", &self.listener)
            .field("settings", &self.present.load().settings)
            .finish_non_exhaustive()
    }
}

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);
