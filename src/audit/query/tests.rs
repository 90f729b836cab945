use std::fs;
use std::io::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::clock::Timestamp;

fn write(folder: &TempDir, first: u64, content: &str) {
    fs::write(segment::path(folder.path(), first), content).unwrap();
}

fn line(seq: u64, client: &str) -> String {
    let stamp = stamp(i64::try_from(seq).unwrap());
    format!("{{\"seq\":{seq},\"time\":\"{stamp}\",\"kind\":\"request\",\"client\":\"{client}\"}}\n")
}

fn lines(range: Range<u64>) -> String {
    range.map(|seq| line(seq, "c")).collect()
}

/// The stamp of a second in the first hours of 1970.
fn stamp(second: i64) -> String {
    String::from_utf8(Timestamp(second * 1_000_000).text().to_vec()).unwrap()
}

/// All that a scan finds, and what it says is wrong.
fn scan(folder: &TempDir, query: Query) -> (Vec<String>, Vec<String>) {
    let mut scan = Scan::new(folder.path(), query).unwrap();
    let mut found = Vec::new();
    loop {
        match scan.step().unwrap() {
            Step::End => break,
            Step::Found(record) => {
                let json = String::from_utf8(record.json.to_vec()).unwrap();
                assert!(json.starts_with(&format!("{{\"seq\":{},", record.seq)));
                found.push(json + "\n");
            }
            Step::Working => {}
        }
    }
    assert_eq!(scan.found(), found.len() as u64);
    (found, scan.damage())
}

fn both_orders(folder: &TempDir, query: &Query) -> (Vec<String>, Vec<String>) {
    let ordered = |order| {
        scan(
            folder,
            Query {
                order,
                ..query.clone()
            },
        )
    };
    let (forward, damage) = ordered(Order::OldestFirst);
    let (mut backward, same_damage) = ordered(Order::NewestFirst);
    backward.reverse();
    assert_eq!(forward, backward);
    assert_eq!(damage, same_damage);
    (forward, damage)
}

#[test]
fn lines_come_as_they_stand_in_the_log_with_members_that_nobody_knows() {
    let folder = TempDir::new().unwrap();
    let odd = "{\"seq\":1,\"time\":\"t\", \"client\" : \"c\\u00e9\",\"new\":{\"a\":[1.50,null]}}\n";
    write(&folder, 0, &(lines(0..1) + odd + &lines(2..3)));
    let all = [line(0, "c"), odd.to_owned(), line(2, "c")];
    assert_eq!(
        both_orders(&folder, &Query::default()),
        (all.to_vec(), vec![])
    );
    let filter = Filter {
        client: vec!["cé".parse().unwrap()],
        ..Filter::default()
    };
    let query = Query {
        filter,
        ..Query::default()
    };
    assert_eq!(both_orders(&folder, &query).0, [odd]);
}

#[test]
fn all_files_are_read_whole_whatever_their_indexes_say() {
    let folder = TempDir::new().unwrap();
    write(&folder, 0, &lines(0..4));
    write(&folder, 4, &lines(4..6));
    index::build(folder.path(), 0, 4, &mut |_| false).unwrap();
    // Somebody changes a record, and sets the time of change back: the index holds as before.
    let path = segment::path(folder.path(), 0);
    let changed = fs::metadata(&path).unwrap().modified().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"c\"", "\"x\"", 1)).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(changed).unwrap();
    let found = |reach| {
        let filter = Filter {
            client: vec!["x".parse().unwrap()],
            ..Filter::default()
        };
        let query = Query {
            filter,
            reach,
            ..Query::default()
        };
        both_orders(&folder, &query).0
    };
    assert_eq!(found(Reach::Usual), [""; 0]);
    assert_eq!(found(Reach::AllFiles), [line(0, "x")]);
}

#[test]
fn the_limit_counts_from_the_side_where_reading_begins() {
    let folder = TempDir::new().unwrap();
    write(&folder, 0, &lines(0..4));
    write(&folder, 4, &lines(4..6));
    for (order, limit, expected) in [
        (Order::OldestFirst, 0, &[][..]),
        (Order::OldestFirst, 5, &[0, 1, 2, 3, 4]),
        (Order::NewestFirst, 3, &[5, 4, 3]),
        (Order::NewestFirst, 9, &[5, 4, 3, 2, 1, 0]),
    ] {
        let expected: Vec<String> = expected.iter().map(|seq| line(*seq, "c")).collect();
        let limit = Some(limit);
        let found = scan(
            &folder,
            Query {
                order,
                limit,
                ..Query::default()
            },
        );
        assert_eq!(found, (expected, vec![]));
    }
}

#[test]
fn damage_is_told_with_its_place_and_the_rest_is_found() {
    let folder = TempDir::new().unwrap();
    let torn = "{\"seq\":6,\"time";
    write(
        &folder,
        0,
        &format!(
            "{}nonsense\n\n{}{}",
            lines(0..2),
            lines(3..4),
            "{\"seq\":4,\"a\":}\n"
        ),
    );
    write(
        &folder,
        6,
        &format!("{}{}{torn}", lines(6..7), line(3, "before the file")),
    );
    let (found, damage) = both_orders(&folder, &Query::default());
    assert_eq!(found.concat(), lines(0..2) + &lines(3..4) + &lines(6..7));
    let path = |first| segment::path(folder.path(), first).display().to_string();
    let offset = lines(0..2).len();
    assert_eq!(
        damage,
        [
            format!(
                "3 lines of {} cannot be read, the first at byte {offset}",
                path(0)
            ),
            format!(
                "1 line of {} cannot be read, at byte {}",
                path(6),
                lines(6..7).len()
            ),
            "record 2 is missing".to_owned(),
            "record 5 is missing".to_owned(),
        ]
    );
}

#[test]
fn unfinished_lines_and_what_a_later_file_has_are_no_damage() {
    let folder = TempDir::new().unwrap();
    assert_eq!(both_orders(&folder, &Query::default()), (vec![], vec![]));
    let given_up = line(2, "given up") + "{\"seq\":3,\"ti";
    write(&folder, 0, &(lines(0..2) + &given_up));
    write(&folder, 2, &(lines(2..4) + "{\"seq\":4,"));
    let (found, damage) = both_orders(&folder, &Query::default());
    assert_eq!((found.concat(), damage), (lines(0..4), vec![]));
}

#[test]
fn a_file_that_is_gone_is_a_gap_and_a_directory_that_is_gone_an_error() {
    let folder = TempDir::new().unwrap();
    for first in [0, 2, 4] {
        write(&folder, first, &lines(first..first + 2));
    }
    let mut scan = Scan::new(folder.path(), Query::default()).unwrap();
    fs::remove_file(segment::path(folder.path(), 2)).unwrap();
    while !matches!(scan.step().unwrap(), Step::End) {}
    assert_eq!(
        (scan.found(), scan.damage()),
        (4, vec!["records 2-3 are missing".to_owned()])
    );
    let error = Scan::new(&folder.path().join("none"), Query::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("/none: "), "{error}");
    fs::create_dir(segment::path(folder.path(), 6)).unwrap();
    let mut scan = Scan::new(folder.path(), Query::default()).unwrap();
    let error = loop {
        match scan.step() {
            Ok(step) => assert!(!matches!(step, Step::End)),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("00006.jsonl: "), "{error}");
}

#[test]
fn following_goes_on_where_the_scan_ended() {
    let folder = TempDir::new().unwrap();
    let append = |first, content: &str| {
        let path = segment::path(folder.path(), first);
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.write_all(content.as_bytes()).unwrap();
    };
    append(0, &(lines(0..3) + "{\"seq\":3,"));
    let filter = Filter {
        client: vec!["d*".parse().unwrap()],
        ..Filter::default()
    };
    let mut scan = Scan::new(
        folder.path(),
        Query {
            filter,
            ..Query::default()
        },
    )
    .unwrap();
    // Written while the scan runs: it ends where it saw the end.
    assert!(matches!(scan.step().unwrap(), Step::Working));
    append(0, &line(3, "d").replace("{\"seq\":3,", ""));
    while !matches!(scan.step().unwrap(), Step::End) {}
    assert_eq!(scan.found(), 0);
    let (mut follow, filter) = scan.follow();
    let mut poll = || {
        let lines = follow.poll().unwrap();
        lines
            .iter()
            .filter(|line| filter.takes(line))
            .map(|line| line.seq)
            .collect::<Vec<_>>()
    };
    assert_eq!(poll(), [3]);
    append(0, &(line(4, "d") + &line(5, "c")));
    append(6, &line(6, "d"));
    assert_eq!(poll(), [4]);
    assert_eq!(poll(), [6]);
    assert_eq!(poll(), [0; 0]);
}

#[test]
fn following_a_log_that_has_not_begun_sees_its_first_record() {
    let folder = TempDir::new().unwrap();
    let mut scan = Scan::new(folder.path(), Query::default()).unwrap();
    assert!(matches!(scan.step().unwrap(), Step::End));
    let (mut follow, _) = scan.follow();
    assert_eq!(follow.poll().unwrap(), []);
    write(&folder, 0, &line(0, "c"));
    assert_eq!(follow.poll().unwrap().len(), 1);
}

/// A log as it may be found: files whose records overlap, miss, repeat; lines that are no records.
#[derive(Clone, Debug)]
struct Log(Vec<(u64, String)>);

fn any_record(seq: u64) -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["acme", "Acme", "globex", "é\u{1}"]);
    let record = (
        prop::option::of(name),
        0..40_i64,
        prop::option::of(prop::sample::select(vec![200_u16, 403, 404, 500])),
        prop::sample::select(vec!["10.0.0.1", "10.9.0.1", "::1", "?"]),
        prop::option::of(0..4_u64),
        any::<bool>(),
    );
    record.prop_map(move |(tenant, second, status, source, login, elsewhere)| {
        let rest = json!({"tenant": tenant, "status": status, "source": source, "subject": {"login_id": login},
            "path": format!("/a/{second}"), "more": [1]});
        let rest = rest.to_string();
        let rest = rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap();
        let time = format!("\"time\":\"{}\"", stamp(second));
        if elsewhere {
            format!("{{\"seq\":{seq},{rest},{time}}}\n")
        } else {
            format!("{{\"seq\":{seq},{time},{rest}}}\n")
        }
    })
}

fn any_line(seq: u64) -> impl Strategy<Value = String> {
    let rubbish = prop::sample::select(vec![
        "\n".to_owned(),
        "rubbish\n".to_owned(),
        format!("{{\"seq\":{seq},\"tenant\":\"acme\"\n"),
        format!("{{\"seq\":0{seq},\"tenant\":\"acme\"}}\n"),
    ]);
    prop_oneof![9 => any_record(seq), 1 => rubbish]
}

fn any_log() -> impl Strategy<Value = Log> {
    let file = |first: u64| {
        let seqs = prop::collection::vec((0..12_u64, 0..20_u8), 0..14);
        let lines = seqs.prop_flat_map(move |jumps| {
            let mut seq = first;
            let lines: Vec<_> = jumps
                .into_iter()
                .map(|(jump, how)| {
                    let this = if how == 0 {
                        first.saturating_sub(5) + jump
                    } else {
                        seq
                    };
                    seq = this + 1 + u64::from(how == 1) * jump;
                    any_line(this)
                })
                .collect();
            lines
        });
        (lines, any::<bool>()).prop_map(move |(lines, torn)| {
            (
                first,
                lines.concat() + if torn { "{\"seq\":9,\"ti" } else { "" },
            )
        })
    };
    let firsts = prop::collection::btree_set(0..40_u64, 0..4);
    firsts
        .prop_flat_map(move |firsts| firsts.into_iter().map(file).collect::<Vec<_>>())
        .prop_map(Log)
}

/// What is asked, in a form that the naive filter below reads in its own way.
#[derive(Clone, Debug)]
struct Asked {
    tenants: Vec<&'static str>,
    statuses: Option<(u16, u16)>,
    in_ten: bool,
    path_end: Option<u8>,
    logins: Vec<u64>,
    seconds: (Option<i64>, Option<i64>),
    seqs: (Option<u64>, Option<u64>),
    text: Option<&'static str>,
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let tenant = prop::sample::select(vec!["acme", "GLOBEX", "é\u{1}", "x"]);
    // Each narrows by much: most queries are to have few of them.
    (
        prop::option::weighted(0.3, prop::collection::vec(tenant, 1..3))
            .prop_map(Option::unwrap_or_default),
        prop::option::weighted(
            0.3,
            (prop::sample::select(vec![200_u16, 400, 403]), 404..600_u16),
        ),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.2, 0..10_u8),
        prop::option::weighted(0.2, 0..4_u64).prop_map(|login| login.into_iter().collect()),
        (
            prop::option::weighted(0.4, 0..30_i64),
            prop::option::weighted(0.4, 5..45_i64),
        ),
        (
            prop::option::weighted(0.3, 0..30_u64),
            prop::option::weighted(0.3, 5..60_u64),
        ),
        prop::option::weighted(
            0.3,
            prop::sample::select(vec![
                "CME", "/a/1", "403", "é\u{1}", "lobe", "0.0.", "tenant",
            ]),
        ),
    )
        .prop_map(
            |(tenants, statuses, in_ten, path_end, logins, seconds, seqs, text)| Asked {
                tenants,
                statuses,
                in_ten,
                path_end,
                logins,
                seconds,
                seqs,
                text,
            },
        )
}

impl Asked {
    fn filter(&self) -> Filter {
        let at = |second: i64| Timestamp(second * 1_000_000).into();
        Filter {
            tenant: self
                .tenants
                .iter()
                .map(|tenant| tenant.parse().unwrap())
                .collect(),
            status: self
                .statuses
                .iter()
                .map(|(a, b)| format!("{a}-{b}").parse().unwrap())
                .collect(),
            source: self
                .in_ten
                .then(|| "10.0.0.0/16".parse().unwrap())
                .into_iter()
                .collect(),
            path: self
                .path_end
                .map(|end| format!("/A/*{end}").parse().unwrap())
                .into_iter()
                .collect(),
            subject: self
                .logins
                .iter()
                .map(|login| login.to_string().parse().unwrap())
                .collect(),
            since: self.seconds.0.map(at),
            until: self.seconds.1.map(at),
            from_seq: self.seqs.0,
            to_seq: self.seqs.1,
            text: self
                .text
                .map(|text| Pattern::within(text).unwrap())
                .into_iter()
                .collect(),
            ..Filter::default()
        }
    }

    fn takes(&self, record: &Value) -> bool {
        let seq = record["seq"].as_u64().unwrap();
        let time = record["time"].as_str().unwrap().to_owned();
        let tenant = record["tenant"].as_str().map(str::to_lowercase);
        let status = record["status"].as_u64();
        let path = record["path"].as_str().unwrap();
        (self.tenants.is_empty()
            || tenant
                .is_some_and(|own| self.tenants.iter().any(|asked| asked.to_lowercase() == own)))
            && self.statuses.is_none_or(|(a, b)| {
                status.is_some_and(|status| u64::from(a) <= status && status <= b.into())
            })
            && (!self.in_ten || record["source"] == "10.0.0.1")
            && self
                .path_end
                .is_none_or(|end| path.ends_with(&end.to_string()))
            && (self.logins.is_empty()
                || self
                    .logins
                    .iter()
                    .any(|login| record["subject"]["login_id"] == *login))
            && self.seconds.0.is_none_or(|second| time >= stamp(second))
            && self.seconds.1.is_none_or(|second| time < stamp(second))
            && self.seqs.0.is_none_or(|from| from <= seq)
            && self.seqs.1.is_none_or(|to| seq <= to)
            && self
                .text
                .is_none_or(|text| has(record, &text.to_lowercase()))
    }
}

/// Whether a value has a text in it.
fn has(value: &Value, text: &str) -> bool {
    match value {
        Value::Array(values) => values.iter().any(|value| has(value, text)),
        Value::Object(members) => members.values().any(|value| has(value, text)),
        Value::Null | Value::Bool(_) => false,
        Value::Number(number) => number.to_string().contains(text),
        Value::String(value) => value.to_lowercase().contains(text),
    }
}

/// Every line of every file that is a record of that file.
fn naive(log: &Log) -> Vec<String> {
    let mut found = Vec::new();
    for (index, (first, content)) in log.0.iter().enumerate() {
        let end = log.0.get(index + 1).map_or(u64::MAX, |(end, _)| *end);
        for line in content
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            let record: Option<Value> = serde_json::from_str(line).ok();
            let seq = record.as_ref().and_then(|record| record["seq"].as_u64());
            if seq.is_some_and(|seq| (*first..end).contains(&seq)) {
                found.push(line.to_owned());
            }
        }
    }
    found
}

proptest! {
    #[test]
    fn a_query_finds_what_a_naive_filter_over_all_lines_finds(
        log in any_log(),
        asked in any_asked(),
        limit in prop::option::of(0..6_u64),
        reach in prop::sample::select(vec![Reach::Usual, Reach::AllFiles]),
    ) {
        let folder = TempDir::new().unwrap();
        for (first, content) in &log.0 {
            write(&folder, *first, content);
        }
        let mut expected = naive(&log);
        expected.retain(|line| asked.takes(&serde_json::from_str(line).unwrap()));
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let query = Query { filter: asked.filter(), order, limit, reach, counts: false };
            let first = usize::try_from(limit.unwrap_or(u64::MAX)).unwrap();
            prop_assert_eq!(scan(&folder, query).0, expected.iter().take(first).cloned().collect::<Vec<_>>());
            expected.reverse();
        }
    }
}

proptest! {
    #[test]
    fn an_index_changes_no_answer(
        log in prop_oneof![any_log(), any_clean_log()],
        asked in any_asked(),
        reach in prop::sample::select(vec![Reach::Usual, Reach::AllFiles]),
    ) {
        let folder = TempDir::new().unwrap();
        for (first, content) in &log.0 {
            write(&folder, *first, content);
        }
        let ask = |order, counts| {
            let query = Query { filter: asked.filter(), order, reach, counts, limit: None };
            if counts {
                let mut scan = Scan::new(folder.path(), query).unwrap();
                while !matches!(scan.step().unwrap(), Step::End) {}
                (vec![scan.found().to_string()], scan.damage())
            } else {
                scan(&folder, query)
            }
        };
        let all = || [
            ask(Order::OldestFirst, false),
            ask(Order::NewestFirst, false),
            ask(Order::OldestFirst, true),
        ];
        let without = all();
        prop_assert_eq!(&without[2].0[0], &without[0].0.len().to_string());
        for (first, end, _) in index::unindexed(folder.path()).unwrap() {
            index::build(folder.path(), first, end, &mut |_| false).unwrap();
        }
        prop_assert_eq!(index::unindexed(folder.path()).unwrap(), []);
        prop_assert_eq!(without, all());
    }
}

/// A log without damage, with a last file that is empty.
fn any_clean_log() -> impl Strategy<Value = Log> {
    let file = |(first, count): (u64, u64)| {
        let lines: Vec<_> = (first..first + count).map(any_record).collect();
        lines.prop_map(move |lines| (first, lines.concat()))
    };
    let files = prop::collection::vec(1..30_u64, 0..5).prop_flat_map(move |counts| {
        let mut next = 0;
        let mut files = Vec::new();
        for count in counts.into_iter().chain([0]) {
            files.push(file((next, count)));
            next += count;
        }
        files
    });
    files.prop_map(Log)
}
