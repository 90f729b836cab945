//! A log that is being written is sound at any moment.

use std::fs::{self, File};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::world::World;
use crate::audit::checkpoint::{Checkpoint, notes_path};
use crate::audit::note::Signer;
use crate::audit::segment;
use crate::audit::tree::{Frontier, HASHES, HashFile, leaf};

/// Writes as a writer does, as unhurriedly as can be: half a line, the rest, hashes, checkpoints.
fn write_on(world: &World, signer: &Signer, stop: &AtomicBool) {
    let directory = world.path();
    let open = |path| {
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
    };
    let mut seq = world.all_lines().len() as u64;
    let hashes = HashFile::open(&directory).unwrap();
    let mut frontier = Frontier::at(seq, &hashes).unwrap();
    let mut tree = open(directory.join(HASHES));
    let mut second = open(world.second());
    let mut first = seq;
    while !stop.load(Ordering::Relaxed) {
        if seq.is_multiple_of(50) {
            first = seq;
        }
        let mut segment = open(segment::path(&directory, first));
        let mut notes = open(notes_path(&directory, first));
        let mut added = Vec::new();
        for _ in 0..1 + seq % 7 {
            let line = format!("{{\"seq\":{seq},\"time\":\"2026-03-04T05:06:07.000000Z\"}}");
            let (half, rest) = line.split_at(line.len() / 2);
            segment.write_all(half.as_bytes()).unwrap();
            std::thread::yield_now();
            segment.write_all(format!("{rest}\n").as_bytes()).unwrap();
            frontier.push(leaf(line.as_bytes()), &mut added);
            seq += 1;
        }
        let bytes: Vec<u8> = added.iter().flat_map(|hash| hash.0).collect();
        tree.write_all(&bytes).unwrap();
        let checkpoint = Checkpoint {
            origin: signer.verifier().name().to_owned(),
            size: seq,
            root: frontier.root(),
        };
        let note = format!("{}\n", signer.sign(&checkpoint.text()).unwrap());
        let (half, rest) = note.as_bytes().split_at(note.len() / 2);
        notes.write_all(half).unwrap();
        std::thread::yield_now();
        notes.write_all(rest).unwrap();
        second.write_all(note.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(seq % 5));
    }
}

#[test]
fn a_log_that_is_being_written_is_never_called_damaged() {
    let world = World::new();
    let signer = world.signer();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| write_on(&world, &signer, &stop));
        let mut last = 0;
        for turn in 0..15 {
            let report = world.verify();
            if !report.is_sound() {
                stop.store(true, Ordering::Relaxed);
            }
            assert!(report.is_sound(), "{turn}: {report:?}");
            assert!(report.covered >= last);
            last = report.covered;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(last > super::world::RECORDS, "nothing was written");
    });
    assert!(fs::metadata(world.second()).unwrap().len() > 0);
    assert!(world.verify().is_sound());
}
