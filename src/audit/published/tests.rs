use tlog_tiles::{TileHashReader, TileReader};

use super::*;
use crate::audit::verify::tests::world::{EVERY, RECORDS, World, cosign};

fn published(world: &World) -> Published {
    Published::new(world.path(), world.options().witnesses)
}

/// A monitor that has only what is published.
struct Monitor<'a>(&'a Published);

impl TileReader for Monitor<'_> {
    fn height(&self) -> u8 {
        HEIGHT
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &Tile| {
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            self.0
                .tile(&path)
                .unwrap()
                .ok_or(tlog_tiles::Error::InvalidTile)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[test]
fn a_monitor_that_reads_tiles_can_prove_every_record() {
    let world = World::new();
    let published = published(&world);
    let latest = published.latest().unwrap().unwrap().checkpoint;
    let monitor = Monitor(&published);
    let reader = TileHashReader::new(latest.size, latest.root, &monitor);
    for (seq, line) in (0..).zip(world.all_lines()) {
        let proof = tlog_tiles::prove_record(latest.size, seq, &reader).unwrap();
        let leaf = tlog_tiles::record_hash(line.as_bytes());
        tlog_tiles::check_record(&proof, latest.size, latest.root, seq, leaf).unwrap();
    }
}

#[test]
fn tiles_that_no_checkpoint_covers_are_not_given() {
    let world = World::new();
    let published = published(&world);
    assert!(published.tile("tile/0/000.p/103").unwrap().is_some());
    for none in [
        "tile/0/000",
        "tile/0/000.p/104",
        "tile/0/000.p/0",
        "tile/0/001.p/1",
        "tile/1/000.p/1",
        "tile/63/000.p/1",
        "tile/data/000.p/1",
        "tile/8/0/000.p/1",
        "tile/0/x999/x999/x999/x999/x999/x999/999.p/1",
        "tile/0/../000.p/1",
        "tile/",
        "",
    ] {
        assert_eq!(published.tile(none).unwrap(), None, "{none}");
    }
}

#[test]
fn signatures_of_witnesses_are_verified_and_kept_once() {
    let world = World::new();
    let published = published(&world);
    let path = world.path().join(COSIGNED);
    fs::remove_file(&path).unwrap();
    let note = cosign(
        &world.signer(),
        &world.checkpoint(EVERY),
        9,
        "witness",
        1_770_000_000,
    );
    for _ in 0..2 {
        let (checkpoint, seen) = published.cosign(&note).unwrap();
        assert_eq!(checkpoint.size, EVERY);
        assert_eq!(
            (seen[0].name.as_str(), seen[0].time),
            ("witness", Some(1_770_000_000))
        );
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{note}\n"));
    assert!(world.verify().is_sound());
}

#[test]
fn a_signature_whose_writing_was_broken_off_spoils_none_that_comes_after_it() {
    let world = World::new();
    let published = published(&world);
    let path = world.path().join(COSIGNED);
    let sign = |size: u64, time: u64| {
        let checkpoint = world.checkpoint(size);
        cosign(&world.signer(), &checkpoint, 9, "witness", time)
    };
    let (whole, note) = (format!("{}\n", sign(EVERY, 1)), sign(2 * EVERY, 2));
    for end in 1..whole.len() {
        fs::write(&path, &whole.as_bytes()[..end]).unwrap();
        published.cosign(&note).unwrap();
        let kept = Notes::in_file(&path).filter_map(Result::ok);
        let last = kept.last().map(|it| it.note.to_string());
        assert_eq!(last.as_ref(), Some(&note), "{end}");
        // It is there, so it is not added once more.
        let len = fs::metadata(&path).unwrap().len();
        published.cosign(&note).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), len, "{end}");
    }
}

#[test]
fn what_is_not_signed_by_us_and_a_witness_or_not_of_our_tree_is_not_taken() {
    let world = World::new();
    let published = published(&world);
    let before = fs::read(world.path().join(COSIGNED)).unwrap();
    let (signer, ours) = (world.signer(), world.checkpoint(EVERY));
    let stranger = crate::audit::note::Signer::generate(&ours.origin).unwrap();
    let forked = Checkpoint {
        root: world.root(1),
        ..ours.clone()
    };
    let larger = Checkpoint {
        size: RECORDS + 1,
        ..ours.clone()
    };
    let other = Checkpoint {
        origin: "other".to_owned(),
        ..ours
    };
    for (bad, told) in [
        ("rubbish".to_owned(), "no signed note"),
        (
            signer.sign(&ours.text()).unwrap().to_string(),
            "not signed by any",
        ),
        (signer.sign("text\n").unwrap().to_string(), "no checkpoint"),
        (
            cosign(&stranger, &ours, 9, "witness", 1),
            "not signed by any",
        ),
        (cosign(&signer, &ours, 8, "witness", 1), "not signed by any"),
        (
            cosign(&signer, &ours, 9, "witness", 1).replacen("\n13\n", "\n14\n", 1),
            "is wrong",
        ),
        (cosign(&signer, &other, 9, "witness", 1), "another log"),
        (
            cosign(&signer, &forked, 9, "witness", 1),
            "not one of this log's tree",
        ),
        (
            cosign(&signer, &larger, 9, "witness", 1),
            "not one of this log's tree",
        ),
    ] {
        let error = published.cosign(&bad).unwrap_err().to_string();
        assert!(error.contains(told), "{told}: {error}");
    }
    let none = Published::new(world.path(), Vec::new());
    assert!(matches!(none.cosign("x"), Err(NotTaken::NoWitnesses)));
    assert_eq!(fs::read(world.path().join(COSIGNED)).unwrap(), before);
}

#[test]
fn the_growth_is_proved_up_to_the_newest_checkpoint() {
    let world = World::new();
    let published = published(&world);
    let proof = published.growth(7, RECORDS).unwrap();
    tlog_tiles::check_tree(&proof, RECORDS, world.root(RECORDS), 7, world.root(7)).unwrap();
    for (from, to) in [(0, 5), (5, 4), (5, RECORDS + 1), (1, u64::MAX)] {
        assert!(published.growth(from, to).is_err(), "{from} {to}");
    }
}
