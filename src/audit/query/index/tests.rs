use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use tempfile::TempDir;

use super::*;

fn line(seq: u64, client: &str) -> String {
    format!(
        "{{\"seq\":{seq},\"time\":\"1970-01-01T00:00:{:02}.000000Z\",\"kind\":\"request\",\"client\":\"{client}\"}}\n",
        seq % 60
    )
}

fn log(content: &str) -> (TempDir, File) {
    let folder = TempDir::new().unwrap();
    fs::write(segment::path(folder.path(), 5), content).unwrap();
    fs::write(segment::path(folder.path(), 8), "").unwrap();
    let file = File::open(segment::path(folder.path(), 5)).unwrap();
    (folder, file)
}

fn make(folder: &TempDir) {
    let built = build(folder.path(), 5, 8, &mut |_| false).unwrap();
    assert_eq!(built, Built::Made);
}

fn blocks(folder: &TempDir, file: &File) -> Option<Index> {
    match Index::of(folder.path(), 5, 8, file) {
        Known::Blocks(index) => Some(index),
        Known::Nothing | Known::Unclean => None,
    }
}

fn good() -> String {
    (5..8).map(|seq| line(seq, "Zabbix")).collect()
}

#[test]
fn an_index_says_what_its_segment_holds() {
    let (folder, file) = log(&good());
    assert_eq!(
        unindexed(folder.path()).unwrap(),
        [(5, 8, good().len() as u64)]
    );
    make(&folder);
    assert_eq!(unindexed(folder.path()).unwrap(), []);
    let index = blocks(&folder, &file).unwrap();
    let [block] = index.blocks() else { panic!() };
    assert_eq!(
        (block.place.clone(), block.seqs.clone()),
        (0..good().len() as u64, 5..8)
    );
    assert_eq!(block.times, (5_000_000, 7_000_000));
    let names = index.names(Field::Client).unwrap();
    assert_eq!((names.len(), &*names[0].1), (1, "Zabbix"));
    assert!(index.has_name(block, &[names[0].0]));
    assert!(!index.has_name(block, &[99]));
    assert!(index.may_have(block, Many::Client.hash("zaBBix")));
    assert!(!index.may_have(block, Many::Tenant.hash("zabbix")));
    let mode = fs::metadata(path(folder.path(), 5)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_index_of_another_state_is_not_believed() {
    let (folder, file) = log(&good());
    make(&folder);
    let index = path(folder.path(), 5);
    let bytes = fs::read(&index).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(&index, damaged).unwrap();
        assert!(blocks(&folder, &file).is_none(), "byte {at}");
        fs::write(&index, &bytes[..at]).unwrap();
        assert!(blocks(&folder, &file).is_none(), "{at} bytes");
    }
    fs::write(&index, &bytes).unwrap();
    assert!(blocks(&folder, &file).is_some());
    // Another end, and the index of another segment.
    assert!(matches!(
        Index::of(folder.path(), 5, 9, &file),
        Known::Nothing
    ));
    fs::write(path(folder.path(), 4), &bytes).unwrap();
    assert!(matches!(
        Index::of(folder.path(), 4, 8, &file),
        Known::Nothing
    ));
    // The segment is changed in its length, or only in its bytes.
    let mut segment = OpenOptions::new()
        .append(true)
        .open(segment::path(folder.path(), 5))
        .unwrap();
    segment.write_all(b" ").unwrap();
    assert!(blocks(&folder, &file).is_none());
    assert_eq!(unindexed(folder.path()).unwrap().len(), 1);
    fs::write(segment::path(folder.path(), 5), good()).unwrap();
    make(&folder);
    let file = File::open(segment::path(folder.path(), 5)).unwrap();
    assert!(blocks(&folder, &file).is_some());
    std::thread::sleep(std::time::Duration::from_millis(20));
    let segment = OpenOptions::new()
        .write(true)
        .open(segment::path(folder.path(), 5))
        .unwrap();
    segment.write_all_at(b"[", 0).unwrap();
    assert!(blocks(&folder, &file).is_none());
    assert_eq!(unindexed(folder.path()).unwrap().len(), 1);
}

#[test]
fn a_segment_with_any_other_line_is_known_as_such() {
    for content in [
        good() + &line(8, "of the next"),
        line(5, "a") + &line(7, "a"),
        good() + "{\"seq\":8,",
        line(5, "a") + "rubbish\n" + &line(6, "a") + &line(7, "a"),
        line(5, "a") + "{\"seq\":6,\"a\":}\n" + &line(7, "a"),
        String::new(),
    ] {
        let (folder, file) = log(&content);
        make(&folder);
        assert!(
            matches!(Index::of(folder.path(), 5, 8, &file), Known::Unclean),
            "{content}"
        );
        assert_eq!(unindexed(folder.path()).unwrap(), []);
    }
}

#[test]
fn a_member_with_too_many_values_is_left_to_the_filter() {
    let content: String = (0..5000).map(|seq| line(seq, &format!("c{seq}"))).collect();
    let folder = TempDir::new().unwrap();
    fs::write(segment::path(folder.path(), 0), &content).unwrap();
    build(folder.path(), 0, 5000, &mut |_| false).unwrap();
    let file = File::open(segment::path(folder.path(), 0)).unwrap();
    let Known::Blocks(index) = Index::of(folder.path(), 0, 5000, &file) else {
        panic!();
    };
    assert!(index.names(Field::Client).is_none());
    assert_eq!(index.names(Field::Kind).unwrap().len(), 1);
    assert!(index.blocks().len() > 500);
    let having = |client: &str| {
        let hash = Many::Client.hash(client);
        index
            .blocks()
            .iter()
            .filter(|block| index.may_have(block, hash))
            .count()
    };
    // Of some hundred blocks.
    assert!((1..20).contains(&having("c4711")));
    assert!(having("nobody") < 20);
}

#[test]
fn work_that_is_stopped_leaves_nothing() {
    let content: String = (5..5000).map(|seq| line(seq, "c")).collect();
    let (folder, _) = log(&content);
    let built = build(folder.path(), 5, 8, &mut |_| true).unwrap();
    assert_eq!(built, Built::Stopped);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
