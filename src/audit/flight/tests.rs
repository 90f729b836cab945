use std::fs::{self, File};

use proptest::prelude::*;
use tempfile::TempDir;

use super::file::Content;
use super::*;

const NOW: Timestamp = Timestamp(1_772_600_767_000_089);

fn recorder(slots: usize) -> (TempDir, Recorder) {
    let folder = TempDir::new().unwrap();
    let recorder = Recorder::make(&folder.path().join("flight"), slots, NOW).unwrap();
    (folder, recorder)
}

fn record(path: &str) -> Record {
    Record {
        request_id: Some(RequestId::new(NOW)),
        path: Some(path.to_owned()),
        ..Record::default()
    }
}

fn content(path: &Path) -> Content {
    Content::read(&File::open(path).unwrap()).unwrap().unwrap()
}

fn noted(path: &Path) -> Vec<String> {
    let content = content(path);
    assert_eq!(content.damaged, 0);
    let ids = content.notes.iter().map(|note| note.request_id().unwrap());
    ids.map(str::to_owned).collect()
}

#[test]
fn notes_are_in_the_file_until_they_are_taken_back() {
    let (_folder, recorder) = recorder(3);
    let path = recorder.path();
    assert_eq!(noted(&path), Vec::<String>::new());
    let records = ["/a", "/b", "/c"].map(record);
    let id = |at: usize| records[at].request_id.unwrap().to_string();
    let first = recorder.note(&records[0], NOW).unwrap();
    let second = recorder.note(&records[1], NOW).unwrap();
    assert_eq!(noted(&path), [id(0), id(1)]);
    recorder.land([first].into_iter());
    assert_eq!((noted(&path), recorder.used()), (vec![id(1)], (1, 3)));
    // The slot that was given back last is taken first.
    let third = recorder.note(&records[2], NOW).unwrap();
    assert_eq!(noted(&path), [id(2), id(1)]);
    recorder.end();
    assert!(path.exists(), "it still has requests");
    recorder.land([second, third].into_iter());
    recorder.end();
    assert!(!path.exists());
}

#[test]
fn a_full_recorder_refuses() {
    let (_folder, recorder) = recorder(1);
    let slot = recorder.note(&record("/a"), NOW).unwrap();
    let refused = recorder.note(&record("/b"), NOW).unwrap_err();
    assert_eq!(refused, Unavailable::QueueFull);
    recorder.land([slot].into_iter());
    let _slot = recorder.note(&record("/c"), NOW).unwrap();
}

#[test]
fn a_note_without_its_last_word_is_none_and_a_changed_one_is_damaged() {
    let (_folder, recorder) = recorder(1);
    let _slot = recorder.note(&record("/api/v3/users"), NOW).unwrap();
    let whole = fs::read(recorder.path()).unwrap();
    let copy = recorder.path().with_file_name("copy");
    let mut unfinished = whole.clone();
    unfinished[4096..4104].fill(0);
    fs::write(&copy, &unfinished).unwrap();
    assert_eq!(noted(&copy), Vec::<String>::new());
    let len = usize::try_from(u64::from_ne_bytes(whole[4104..4112].try_into().unwrap())).unwrap();
    for at in 4096..4120 + len {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&copy, &changed).unwrap();
        let read = content(&copy);
        assert_eq!((read.notes.len(), read.damaged), (0, 1), "byte {at}");
    }
}

#[test]
fn a_file_that_is_gone_is_replaced_with_all_that_is_in_flight() {
    let (_folder, recorder) = recorder(4);
    let records = ["/a", "/b"].map(record);
    let ids: Vec<_> = records
        .iter()
        .map(|record| record.request_id.unwrap().to_string())
        .collect();
    let first = recorder.note(&records[0], NOW).unwrap();
    assert_eq!(recorder.stand(NOW).unwrap(), None);
    let before = recorder.path();
    fs::remove_dir_all(before.parent().unwrap()).unwrap();
    let second = recorder.note(&records[1], NOW).unwrap();
    let told = recorder.stand(NOW).unwrap().unwrap();
    assert!(told.ends_with("was deleted or moved"), "{told}");
    assert_ne!(recorder.path(), before);
    assert_eq!(noted(&recorder.path()), ids);
    recorder.land([first].into_iter());
    assert_eq!(noted(&recorder.path()), ids[1..]);
    recorder.land([second].into_iter());
    recorder.end();
    assert!(!recorder.path().exists());
}

#[test]
fn a_file_that_is_cut_ends_nobody() {
    let (_folder, recorder) = recorder(4);
    let kept = recorder.note(&record("/a"), NOW).unwrap();
    File::options()
        .write(true)
        .open(recorder.path())
        .unwrap()
        .set_len(0)
        .unwrap();
    let refused = recorder.note(&record("/b"), NOW).unwrap_err();
    assert_eq!(refused, Unavailable::Disk);
    let told = recorder.stand(NOW).unwrap().unwrap();
    assert!(told.ends_with("as a whole any more"), "{told}");
    assert_eq!(recorder.used(), (1, 4));
    let after = record("/c");
    let _slot = recorder.note(&after, NOW).unwrap();
    assert_eq!(
        noted(&recorder.path()),
        [after.request_id.unwrap().to_string()]
    );
    recorder.land([kept].into_iter());
}

#[test]
fn its_room_is_taken_from_the_disk_at_once() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let (_folder, recorder) = recorder(1024);
    let file = fs::metadata(recorder.path()).unwrap();
    assert_eq!(file.len(), 4096 + 1024 * 1024);
    assert!(file.blocks() * 512 >= file.len());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let folder = fs::metadata(recorder.path().parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}

#[test]
fn many_threads_note_at_once() {
    let (_folder, recorder) = recorder(64);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let recorder = &recorder;
            scope.spawn(move || {
                for round in 0..500 {
                    let record = record(&format!("/{thread}/{round}"));
                    let slot = recorder.note(&record, NOW).unwrap();
                    recorder.land([slot].into_iter());
                }
            });
        }
        for round in 0..20 {
            fs::remove_file(recorder.path()).unwrap();
            assert!(recorder.stand(NOW).unwrap().is_some(), "round {round}");
        }
    });
    assert_eq!(recorder.used(), (0, 64));
    assert_eq!(noted(&recorder.path()), Vec::<String>::new());
}

proptest! {
    #[test]
    fn any_file_is_read_or_refused(
        damage in proptest::collection::vec((0_usize..6144, any::<u8>()), 0..20),
        len in 0_usize..=6144,
        cut in any::<bool>(),
    ) {
        let (_folder, recorder) = recorder(2);
        let _slot = recorder.note(&record("/a"), NOW).unwrap();
        let mut bytes = fs::read(recorder.path()).unwrap();
        for (at, value) in damage {
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(len);
        }
        let copy = recorder.path().with_file_name("copy");
        fs::write(&copy, &bytes).unwrap();
        if let Ok(content) = Content::read(&File::open(&copy).unwrap()).unwrap() {
            prop_assert!(content.notes.len() + content.damaged <= 2);
        }
    }
}
