//! Keys that followed one another.

use super::*;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::VerifierKey;

/// A log whose first checkpoints were signed by one key and the others by another one.
struct Handed {
    world: World,
    old: Signer,
    new: Signer,
}

/// The last checkpoint of the old key is of so many records, the first of the new one of more.
const OLD: u64 = 3 * world::EVERY;

impl Handed {
    fn new() -> Self {
        let world = World::new();
        let (old, new) = (world.signer(), Signer::generate_unnamed().unwrap());
        let handed = Self { world, old, new };
        handed.sign(&[
            (&handed.old, OLD),
            (&handed.new, OLD + 1),
            (&handed.new, world::RECORDS),
        ]);
        fs::remove_file(handed.world.path().join(checkpoint::COSIGNED)).unwrap();
        handed
    }

    fn sign(&self, all: &[(&Signer, u64)]) {
        let note = |(signer, size): &(&Signer, u64)| {
            let checkpoint = Checkpoint {
                origin: signer.verifier().name().to_owned(),
                ..self.world.checkpoint(*size)
            };
            format!("{}\n", signer.sign(&checkpoint.text()).unwrap())
        };
        let notes: String = all.iter().map(note).collect();
        fs::write(self.world.notes(), &notes).unwrap();
        fs::write(self.world.second(), notes).unwrap();
    }

    fn verify(&self, keys: &[&Signer]) -> Report {
        let keys: Vec<VerifierKey> = keys.iter().map(|it| it.verifier().clone()).collect();
        let options = Options {
            keys,
            ..self.world.options()
        };
        verify(&options, |_| {}).unwrap()
    }

    fn harms(&self, keys: &[&Signer]) -> Vec<Harm> {
        let report = self.verify(keys);
        let mut harms: Vec<_> = report.damage.iter().map(|it| it.harm).collect();
        harms.sort_unstable();
        harms.dedup();
        harms
    }
}

#[test]
fn a_key_is_good_for_no_more_than_the_one_after_it_signed_first() {
    let log = Handed::new();
    let (old, new) = (&log.old, &log.new);
    assert_eq!(log.harms(&[old, new]), []);
    // What it signs is even true of this log.
    let last = (new, world::RECORDS);
    log.sign(&[(old, OLD), (new, OLD + 1), (old, OLD + 2), last]);
    let report = log.verify(&[old, new]);
    assert_eq!(harms(&report)[0], (Harm::BadCheckpoint, None));
    assert!(report.damage[0].what.contains("ended"), "{report:?}");
    assert_eq!(log.harms(&[old, new]), [Harm::BadCheckpoint]);
    // As large as the first of its successor it may be: both may sign for one size.
    log.sign(&[(old, OLD + 1), (new, OLD + 1), last]);
    assert_eq!(log.harms(&[old, new]), []);
}

#[test]
fn a_log_that_only_a_key_of_before_signed_is_not_sound() {
    let log = Handed::new();
    let (old, new) = (&log.old, &log.new);
    log.sign(&[(old, OLD), (old, world::RECORDS)]);
    assert_eq!(log.harms(&[old]), []);
    assert_eq!(log.harms(&[old, new]), [Harm::NoCheckpoints]);
}

#[test]
fn a_key_that_was_taken_up_again_ends_nothing() {
    let log = Handed::new();
    let (old, new) = (&log.old, &log.new);
    log.sign(&[(old, OLD), (new, OLD + 1), (old, world::RECORDS)]);
    assert_eq!(log.harms(&[old, new, old]), []);
    assert_eq!(log.harms(&[old, new]), [Harm::BadCheckpoint]);
}
