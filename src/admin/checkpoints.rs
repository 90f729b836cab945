//! The log's checkpoints, proofs and tiles for those who watch it, and the signatures of witnesses.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::Admin;
use super::operator::Operator;
use super::reply::{Refusal, as_json};
use crate::audit::proof::ProofError;
use crate::audit::{Kind, NotTaken, Published};

/// What the paths begin with.
pub(super) const AUDIT: &str = "/audit/";
/// Where witnesses' signatures are sent.
pub(super) const COSIGNATURES: &str = "/audit/cosignatures";

/// Where the log is compared with the consoles' own.
pub(super) const RECONCILE: &str = "/audit/reconcile";

impl Admin {
    /// `GET /audit/…`
    pub(super) async fn tell_audit(
        &self,
        who: &Operator,
        path: &str,
        query: &str,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let asked = Asked::of(path.strip_prefix(AUDIT).unwrap_or_default(), query)?;
        if let Asked::Proof { seq } = &asked {
            // The proof has the record itself.
            let mut record = who.record("audit.proved");
            record.detail = Some(format!("record {seq}").into());
            self.record_use(record, None).await;
        }
        let published = self.gateway().auditor.published();
        on_disk(move || asked.answer(&published)).await?
    }

    /// `POST /audit/cosignatures`: a note that we signed, with lines of witnesses.
    pub(super) async fn cosign(
        &self,
        who: &Operator,
        body: &[u8],
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let note = String::from_utf8(body.to_vec());
        let note = note.map_err(|_| Refusal::bad_request("a signed note is text"))?;
        let published: Arc<Published> = self.gateway().auditor.published();
        let taken = on_disk(move || published.cosign(&note)).await?;
        let (checkpoint, seen) = taken.map_err(|error| not_taken(&error))?;
        let names: Vec<&str> = seen.iter().map(|seen| seen.name.as_str()).collect();
        let mut record = who.record("audit.cosigned");
        record.detail =
            Some(format!("{} records, by {}", checkpoint.size, names.join(", ")).into());
        let auditor = &self.gateway().auditor;
        if let Err(error) = auditor.note(Kind::Admin, &record).await {
            auditor.report_unrecorded(Kind::Admin, &record, error);
        }
        let body = json!({"size": checkpoint.size, "witnesses": names});
        Ok(as_json(StatusCode::OK, &body))
    }
}

/// What is asked for.
enum Asked {
    Checkpoint,
    Growth { from: u64, to: u64 },
    Proof { seq: u64 },
    Tile(String),
}

impl Asked {
    fn of(what: &str, query: &str) -> Result<Self, Refusal> {
        match what {
            "checkpoint" => Ok(Self::Checkpoint),
            "consistency" => Ok(Self::Growth {
                from: number(query, "from")?,
                to: number(query, "to")?,
            }),
            "proof" => Ok(Self::Proof {
                seq: number(query, "seq")?,
            }),
            tile if tile.starts_with("tile/") => Ok(Self::Tile(tile.to_owned())),
            _ => Err(Refusal::not_found(
                "try /audit/checkpoint, /audit/consistency?from=N&to=M, /audit/proof?seq=N, \
                 /audit/tile/<L>/<N>[.p/W] or, with POST, /audit/cosignatures",
            )),
        }
    }

    fn answer(&self, published: &Published) -> Result<Response<Full<Bytes>>, Refusal> {
        let unproved = |error| unproved(&error);
        match self {
            Self::Checkpoint => {
                let latest = published.latest().map_err(|fault| unproved(fault.into()))?;
                let latest = latest.ok_or(ProofError::NoCheckpoint).map_err(unproved)?;
                Ok(answer(
                    "text/plain; charset=utf-8",
                    latest.note.to_string().into(),
                ))
            }
            Self::Growth { from, to } => {
                let hashes = published.growth(*from, *to).map_err(unproved)?;
                let text: String = hashes.iter().map(|hash| format!("{hash}\n")).collect();
                Ok(answer("text/plain; charset=utf-8", text.into()))
            }
            Self::Proof { seq } => {
                let proof = published.prove(*seq).map_err(unproved)?;
                Ok(answer(
                    "text/plain; charset=utf-8",
                    proof.to_string().into(),
                ))
            }
            Self::Tile(path) => {
                let tile = published.tile(path).map_err(unproved)?;
                let none =
                    || Refusal::not_found("the log has no such tile, or does not have it yet");
                Ok(answer(
                    "application/octet-stream",
                    tile.ok_or_else(none)?.into(),
                ))
            }
        }
    }
}

/// A number of a query.
fn number(query: &str, name: &str) -> Result<u64, Refusal> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name);
    let value = values.next().and_then(|(_, value)| value.parse().ok());
    value
        .filter(|_| values.next().is_none())
        .ok_or_else(|| Refusal::bad_request(format!("give `{name}`, a number, once")))
}

/// Does what blocks on the disk where nobody waits for it.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    // Never closed. More at once would only take threads from others.
    static TURNS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(4);
    let _turn = TURNS.acquire().await.ok();
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "what was asked of the audit log could not be found out");
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "it could not be found out: see the process's own log",
        )
    })
}

fn unproved(error: &ProofError) -> Refusal {
    match error {
        ProofError::Form(_) => Refusal::bad_request(error.to_string()),
        ProofError::NoCheckpoint
        | ProofError::NoSuchSize(_)
        | ProofError::NotCovered { .. }
        | ProofError::Gone(_) => Refusal::not_found(error.to_string()),
        ProofError::File(_)
        | ProofError::Damaged
        | ProofError::Wrong
        | ProofError::Signature(_) => {
            tracing::error!(%error, "the audit log could not be proved");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Refusal::new(status, "internal", error.to_string())
        }
    }
}

fn not_taken(error: &NotTaken) -> Refusal {
    match error {
        NotTaken::Unusable(_) | NotTaken::Full(_) => {
            tracing::error!(%error, "a witness's signature could not be kept");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Refusal::new(status, "internal", error.to_string())
        }
        NotTaken::NotOurs(_) => Refusal::new(StatusCode::CONFLICT, "conflict", error.to_string()),
        NotTaken::NoWitnesses | NotTaken::Note(_) | NotTaken::Stranger(_) => {
            Refusal::bad_request(error.to_string())
        }
    }
}

fn answer(kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parking_lot::{Condvar, Mutex};

    use super::*;

    #[tokio::test]
    async fn four_at_once_are_answered_from_the_disk() {
        /// How many are at work, and the most there ever were.
        static WORK: Mutex<(u32, u32)> = Mutex::new((0, 0));
        static MORE: Condvar = Condvar::new();
        let work = || {
            let mut now = WORK.lock();
            now.0 += 1;
            now.1 = now.1.max(now.0);
            MORE.notify_all();
            // Long enough for a fifth, if there may be one.
            let few = |now: &mut (u32, u32)| now.1 < 5;
            MORE.wait_while_for(&mut now, few, Duration::from_millis(300));
            now.0 -= 1;
        };
        let mut asked: tokio::task::JoinSet<_> = (0..10).map(|_| on_disk(work)).collect();
        while let Some(done) = asked.join_next().await {
            assert!(done.unwrap().is_ok());
        }
        assert_eq!(*WORK.lock(), (0, 4));
    }

    #[test]
    fn numbers_of_a_query_stand_once() {
        assert_eq!(number("from=1&to=22", "to").unwrap(), 22);
        for bad in ["", "to", "to=", "to=x", "to=-1", "to=1&to=1", "too=1"] {
            assert!(number(bad, "to").is_err(), "{bad}");
        }
    }
}
