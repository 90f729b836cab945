use tempfile::TempDir;

use super::*;
use crate::audit::note::Signer;
use crate::audit::verify::tests::world::{EVERY, RECORDS, World};

fn keys(world: &World) -> Vec<VerifierKey> {
    vec![world.signer().verifier().clone()]
}

fn reread(text: &str) -> Result<Proof, ProofError> {
    Proof::parse(text)
}

#[test]
fn every_record_is_proved_by_a_text_that_needs_nothing_else() {
    let world = World::new();
    let (keys, witnesses) = (keys(&world), world.options().witnesses);
    for (seq, line) in (0..).zip(world.all_lines()) {
        let text = prove_seq(&world.path(), seq).unwrap().to_string();
        let proof = reread(&text).unwrap();
        let proved = proof.check(&keys, &witnesses).unwrap();
        assert_eq!(proved.checkpoint, world.checkpoint(RECORDS));
        assert_eq!(
            proved.witnesses,
            [("witness".to_owned(), 1_770_000_000 + RECORDS)]
        );
        let Proof::Record(record) = proof else {
            panic!("{text}")
        };
        assert_eq!((record.seq, record.line), (seq, line.into_bytes()));
    }
}

#[test]
fn a_proof_with_any_part_changed_proves_nothing() {
    let world = World::new();
    let keys = keys(&world);
    let text = prove_seq(&world.path(), 50).unwrap().to_string();
    let other = prove_seq(&world.path(), 51).unwrap().to_string();
    let extra = |text: &str| text.lines().nth(1).unwrap().to_owned();
    let hash = text.lines().nth(4).unwrap();
    for bad in [
        text.replace(&extra(&text), &extra(&other)),
        text.replace("index 50", "index 51"),
        text.replace("index 50", "index 050"),
        text.replace(&format!("{hash}\n"), ""),
        text.replace(hash, &world.root(3).to_string()),
        text.replace("\n103\n", "\n102\n"),
        text.replace("tlog-proof@v1", "tlog-proof@v2"),
        text.replace("\n\n", "\n"),
    ] {
        assert_ne!(bad, text);
        let checked = reread(&bad).and_then(|proof| proof.check(&keys, &[]));
        assert!(checked.is_err(), "{bad}");
    }
    let stranger = Signer::generate("stranger").unwrap().verifier().clone();
    let proof = reread(&text).unwrap();
    assert!(proof.check(std::slice::from_ref(&stranger), &[]).is_err());
    assert!(proof.check(&keys, &[stranger]).is_err());
    assert!(proof.check(&keys, &[]).is_ok());
}

#[test]
fn any_two_states_are_proved_to_be_of_one_log() {
    let world = World::new();
    let keys = keys(&world);
    for (from, to) in [(EVERY, RECORDS), (EVERY, EVERY), (3 * EVERY, 5 * EVERY)] {
        let directory = world.path();
        let [older, newer] = [from, to].map(|size| of_size(&directory, size).unwrap());
        let text = prove_growth(&directory, older, newer).unwrap().to_string();
        let proved = reread(&text).unwrap().check(&keys, &[]).unwrap();
        assert_eq!(proved.checkpoint.size, to);
        assert_eq!(proved.from.unwrap().size, from);
        for bad in [
            text.replacen(&format!("\n{from}\n"), "\n7\n", 1),
            text.clone() + "x\n\n",
        ] {
            let checked = reread(&bad).and_then(|proof| proof.check(&keys, &[]));
            assert!(checked.is_err(), "{bad}");
        }
    }
}

#[test]
fn a_state_of_another_history_is_not_proved() {
    let world = World::new();
    let folder = TempDir::new().unwrap();
    let kept = folder.path().join("kept");
    let other = Checkpoint {
        root: leaf(b"other"),
        ..world.checkpoint(EVERY)
    };
    fs::write(
        &kept,
        world.signer().sign(&other.text()).unwrap().to_string(),
    )
    .unwrap();
    let older = of_file(&kept).unwrap();
    let newer = of_size(&world.path(), RECORDS).unwrap();
    assert!(matches!(
        prove_growth(&world.path(), older, newer),
        Err(ProofError::Damaged)
    ));
}

#[test]
fn what_cannot_be_proved_is_told() {
    let world = World::new();
    let directory = world.path();
    assert!(matches!(
        prove_seq(&directory, RECORDS),
        Err(ProofError::NotCovered {
            seq: RECORDS,
            size: RECORDS
        })
    ));
    assert!(matches!(
        of_size(&directory, 5),
        Err(ProofError::NoSuchSize(5))
    ));
    fs::remove_file(&world.segments()[0]).unwrap();
    assert!(matches!(prove_seq(&directory, 3), Err(ProofError::Gone(3))));
    let empty = TempDir::new().unwrap();
    assert!(matches!(
        prove_seq(empty.path(), 0),
        Err(ProofError::NoCheckpoint)
    ));
}
