//! Random damage to a log is always found.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;

use super::world::{RECORDS, World, lines, put};
use crate::audit::checkpoint::COSIGNED;
use crate::audit::tree::HASHES;

/// What is done to a log.
#[derive(Clone, Debug)]
enum Done {
    Flipped(Index, Index, u8),
    Deleted(Index, Index, usize),
    Swapped(Index, Index, Index),
    Repeated(Index, Index, Index),
    Inserted(Index, Index, String),
    CutLines(Index),
    CutBytes(Index, Index),
    LostFile(Index),
    OlderCopy(Index),
    OlderFile(Index, Index),
}

fn done() -> impl Strategy<Value = Done> {
    let at = any::<Index>;
    let text = "[a-z]{0,9}|\\{\"seq\":[0-9]{1,3},\"x\":1\\}";
    prop_oneof![
        4 => (at(), at(), 1_u8..=255).prop_map(|(file, byte, with)| Done::Flipped(file, byte, with)),
        1 => (at(), at(), 1_usize..5).prop_map(|(file, line, many)| Done::Deleted(file, line, many)),
        1 => (at(), at(), at()).prop_map(|(file, one, two)| Done::Swapped(file, one, two)),
        1 => (at(), at(), at()).prop_map(|(file, from, to)| Done::Repeated(file, from, to)),
        1 => (at(), at(), text).prop_map(|(file, line, text)| Done::Inserted(file, line, text)),
        1 => at().prop_map(Done::CutLines),
        1 => (at(), at()).prop_map(|(file, byte)| Done::CutBytes(file, byte)),
        1 => at().prop_map(Done::LostFile),
        1 => at().prop_map(Done::OlderCopy),
        1 => (at(), at()).prop_map(|(file, line)| Done::OlderFile(file, line)),
    ]
}

impl Done {
    /// Does it. Says whether anything that counts is different.
    fn to(&self, world: &World) -> bool {
        let segments = world.segments();
        let mut files = segments.clone();
        files.extend([world.notes(), world.second()]);
        files.extend([COSIGNED, HASHES].map(|name| world.path().join(name)));
        match self {
            Self::Flipped(file, byte, with) => {
                let path = file.get(&files);
                let mut bytes = fs::read(path).unwrap();
                let at = byte.index(bytes.len());
                bytes[at] ^= with;
                fs::write(path, bytes).unwrap();
                true
            }
            Self::Deleted(file, line, many) => edit(file.get::<PathBuf>(&segments), |all| {
                let at = line.index(all.len());
                let end = (at + many).min(all.len());
                drop(all.drain(at..end));
            }),
            Self::Swapped(file, one, two) => edit(file.get::<PathBuf>(&segments), |all| {
                let (one, two) = (one.index(all.len()), two.index(all.len()));
                all.swap(one, two);
            }),
            // Not behind the last line: what stands there belongs to the file after it.
            Self::Repeated(file, from, to) => edit(file.get::<PathBuf>(&segments), |all| {
                let (from, to) = (from.index(all.len()), to.index(all.len()));
                all.insert(to, all[from].clone());
            }),
            Self::Inserted(file, line, text) => edit(file.get::<PathBuf>(&segments), |all| {
                all.insert(line.index(all.len()), text.clone());
            }),
            Self::CutLines(line) => edit(segments.last().unwrap(), |all| {
                all.truncate(line.index(all.len()));
            }),
            Self::CutBytes(file, byte) => {
                // Checkpoints that are whole may be cut off elsewhere: others say the same.
                let path = file.get(&segments);
                let mut bytes = fs::read(path).unwrap();
                bytes.truncate(byte.index(bytes.len()));
                fs::write(path, bytes).unwrap();
                true
            }
            Self::LostFile(file) => {
                fs::remove_file(file.get(&files)).unwrap();
                // The notes of witnesses may come later, or never.
                file.get(&files) != &world.path().join(COSIGNED)
            }
            Self::OlderCopy(at) => {
                let records = at.index(usize::try_from(RECORDS).unwrap() - 1) as u64 + 1;
                world.shorten(records);
                true
            }
            Self::OlderFile(file, line) => edit(file.get::<PathBuf>(&segments), |all| {
                all.truncate(line.index(all.len()));
            }),
        }
    }
}

/// Changes the lines of a file. Says whether it is different then.
fn edit(path: &std::path::Path, change: impl FnOnce(&mut Vec<String>)) -> bool {
    let before = lines(path);
    let mut after = before.clone();
    change(&mut after);
    put(path, &after);
    before != after
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_done_to_a_log_is_found(done in done()) {
        let world = World::new();
        prop_assert!(world.verify().is_sound());
        if done.to(&world) {
            let report = world.verify();
            prop_assert!(!report.is_sound(), "{:?}", report);
        }
    }
}
