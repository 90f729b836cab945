use std::fs;

use tempfile::TempDir;

use super::*;

fn write(folder: &TempDir, first: u64, content: &str) {
    fs::write(segment::path(folder.path(), first), content).unwrap();
}

fn append(folder: &TempDir, first: u64, content: &str) {
    let path = segment::path(folder.path(), first);
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
}

fn line(seq: u64, text: &str) -> String {
    format!("{{\"seq\":{seq},\"text\":\"{text}\"}}\n")
}

fn lines(range: std::ops::Range<u64>) -> String {
    range.map(|seq| line(seq, "x")).collect()
}

fn seqs(lines: &[Line]) -> Vec<u64> {
    lines.iter().map(|line| line.seq).collect()
}

#[test]
fn the_tail_goes_over_segments() {
    let folder = TempDir::new().unwrap();
    write(&folder, 0, &lines(0..5));
    write(&folder, 5, "");
    write(&folder, 5, &lines(5..7));
    write(&folder, 7, "");
    fs::write(
        folder.path().join("00000000000000000009.jsonl.new"),
        lines(9..10),
    )
    .unwrap();
    fs::write(folder.path().join("lock"), "..").unwrap();
    for count in 0..10 {
        let expected: Vec<u64> = (7 - count.min(7)..7).collect();
        let tail = tail(folder.path(), usize::try_from(count).unwrap()).unwrap();
        assert_eq!(seqs(&tail.lines), expected, "{count}");
    }
}

#[test]
fn what_stands_in_two_segments_counts_in_the_later() {
    let folder = TempDir::new().unwrap();
    write(
        &folder,
        0,
        &format!("{}{}{}", line(0, "old"), line(1, "old"), line(2, "old")),
    );
    write(&folder, 1, &line(1, "new"));
    let tail = tail(folder.path(), 9).unwrap();
    let texts: Vec<String> = tail
        .lines
        .into_iter()
        .map(|line| String::from_utf8(line.json).unwrap() + "\n")
        .collect();
    assert_eq!(texts, [line(0, "old"), line(1, "new")]);
}

#[test]
fn the_tail_reads_lines_longer_than_a_block_and_leaves_what_is_unfinished() {
    let folder = TempDir::new().unwrap();
    let long = "y".repeat(200_000);
    let whole = format!("{}{}{}", line(0, "a"), line(1, &long), line(2, "b"));
    write(&folder, 0, &format!("{whole}{{\"seq\":3,\"{long}"));
    let found = tail(folder.path(), 2).unwrap();
    assert_eq!(seqs(&found.lines), [1, 2]);
    assert_eq!(found.lines[0].json.len() + 1, line(1, &long).len());
    assert_eq!(seqs(&tail(folder.path(), 9).unwrap().lines), [0, 1, 2]);
}

#[test]
fn the_tail_of_nothing_is_empty_and_of_no_directory_an_error() {
    let folder = TempDir::new().unwrap();
    assert_eq!(tail(folder.path(), 5).unwrap().lines, []);
    assert!(tail(&folder.path().join("none"), 5).is_err());
}

#[test]
fn following_sees_each_record_once_over_segments_and_half_lines() {
    let folder = TempDir::new().unwrap();
    write(&folder, 0, &lines(0..3));
    let mut follow = tail(folder.path(), 1).unwrap().follow;
    assert_eq!(follow.poll().unwrap(), []);
    let line = line(3, "x");
    let (half, rest) = line.split_at(7);
    append(&folder, 0, half);
    assert_eq!(follow.poll().unwrap(), []);
    append(&folder, 0, rest);
    assert_eq!(seqs(&follow.poll().unwrap()), [3]);
    append(&folder, 0, &lines(4..5));
    // Carries 3 and 4 over, of which 4 was not seen yet.
    write(&folder, 3, &lines(3..6));
    assert_eq!(seqs(&follow.poll().unwrap()), [4, 5]);
    append(&folder, 3, &lines(6..7));
    assert_eq!(seqs(&follow.poll().unwrap()), [6]);
    assert_eq!(follow.poll().unwrap(), []);
}

#[test]
fn following_an_empty_directory_sees_the_first_record() {
    let folder = TempDir::new().unwrap();
    let mut follow = tail(folder.path(), 1).unwrap().follow;
    assert_eq!(follow.poll().unwrap(), []);
    write(&folder, 0, &lines(0..1));
    assert_eq!(seqs(&follow.poll().unwrap()), [0]);
    // A writer replaced the file, with what it had.
    let path = segment::path(folder.path(), 0);
    fs::write(path.with_extension("new"), lines(0..2)).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    assert_eq!(seqs(&follow.poll().unwrap()), [1]);
}

#[test]
fn a_row_is_one_line_without_hidden_characters() {
    let json = br#"{"seq":7,"time":"2026-03-04T05:06:07.000089Z","kind":"request","client":"za\u001b[2Jbbix",
        "tenant":"acme","target":{"uid":"u1","name":"ann"},"method":"GET","path":"/a\u202e\n","query":"limit=5",
        "code":"ok","status":200,"duration_us":12345}"#;
    let mut out = Vec::new();
    Table.row(7, json, &mut out).unwrap();
    let row = String::from_utf8(out).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(
        words,
        [
            "2026-03-04T05:06:07.000089Z",
            "request",
            "200",
            "ok",
            "12.3",
            "za\\u{1b}[2Jbbix→acme/ann",
            "GET",
            "/a\\u{202e}\\u{a}?limit=5",
        ]
    );
    assert!(row.ends_with('\n') && row.matches('\n').count() == 1);
}

#[test]
fn events_and_damaged_records_have_rows_too() {
    let mut out = Vec::new();
    let event = br#"{"seq":0,"time":"t","kind":"admin","operation":"audit.repaired","detail":"d"}"#;
    Table.header(&mut out).unwrap();
    Table.row(0, event, &mut out).unwrap();
    Table.row(1, b"{\"seq\":1,", &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let rows: Vec<&str> = text.lines().collect();
    assert!(rows[1].ends_with("audit.repaired  d"), "{text}");
    assert_eq!(rows[2], "record 1 cannot be read");
}

#[test]
fn a_row_says_who_logged_in_and_how() {
    let row = |json: &[u8]| {
        let mut out = Vec::new();
        Table.row(7, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let json = br#"{"seq":7,"time":"t","kind":"request","user":"ACME\\ann","console":"main",
        "grant":"password","method":"POST","path":"/api/v3/token","code":"ok","status":400}"#;
    let text = row(json);
    assert!(text.contains("ACME\\ann→main"), "{text}");
    assert!(
        text.trim_end().ends_with("POST /api/v3/token  password"),
        "{text}"
    );
    let json = br#"{"seq":8,"time":"t","kind":"request","user":"zabbix","code":"bad_credentials"}"#;
    assert!(row(json).contains("zabbix→-"));
}
