use std::fmt::Write as _;

use tempfile::TempDir;

use super::*;
use crate::audit::note::Signer;
use crate::audit::tree::leaf;

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint {
        origin: "log.example".to_owned(),
        size,
        root: leaf(&size.to_be_bytes()),
    }
}

fn notes(sizes: impl IntoIterator<Item = u64>) -> String {
    let signer = Signer::generate("log.example").unwrap();
    sizes.into_iter().fold(String::new(), |mut text, size| {
        let note = signer.sign(&checkpoint(size).text()).unwrap();
        writeln!(text, "{note}").unwrap();
        text
    })
}

fn sizes(found: &[Result<Signed, BadNote>]) -> Vec<Result<u64, &'static str>> {
    let size = |found: &Result<Signed, BadNote>| match found {
        Ok(signed) => Ok(signed.checkpoint.size),
        Err(BadNote::Torn { .. }) => Err("torn"),
        Err(BadNote::Form { .. }) => Err("form"),
        Err(BadNote::File(_)) => Err("file"),
    };
    found.iter().map(size).collect()
}

fn read(text: &str) -> Vec<Result<Signed, BadNote>> {
    Notes::in_text(Path::new("here"), text.as_bytes().to_vec()).collect()
}

#[test]
fn a_checkpoint_is_written_and_read_as_others_do() {
    let ours = checkpoint(42);
    let theirs = tlog_tiles::Checkpoint::from_bytes(ours.text().as_bytes()).unwrap();
    assert_eq!(theirs.origin(), ours.origin);
    assert_eq!((theirs.size(), *theirs.hash()), (ours.size, ours.root));
    assert_eq!(Checkpoint::parse(&ours.text()).unwrap(), ours);
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let good = checkpoint(7).text();
    for bad in [
        "",
        "\n",
        good.trim_end(),
        &good.replacen("log.example", "", 1),
        &good.replacen("\n7\n", "\n07\n", 1),
        &good.replacen("\n7\n", "\n+7\n", 1),
        &good.replacen("\n7\n", "\n-7\n", 1),
        &good.replacen("\n7\n", "\n18446744073709551615\n", 1),
        &good.replacen("\n7\n", "\n", 1),
        &good.replace('=', ""),
        &format!("{good}more\n"),
    ] {
        assert_eq!(Checkpoint::parse(bad), Err(NoCheckpoint), "{bad:?}");
    }
}

#[test]
fn notes_one_after_the_other_are_told_apart_with_their_places() {
    let text = notes([1, 2, 300]);
    let found = read(&text);
    assert_eq!(sizes(&found), [Ok(1), Ok(2), Ok(300)]);
    for signed in found.into_iter().map(Result::unwrap) {
        let at = usize::try_from(signed.offset).unwrap();
        assert!(text.split_at(at).1.starts_with(&signed.note.to_string()));
    }
}

#[test]
fn a_note_that_is_not_whole_is_torn_wherever_it_ends() {
    let (before, text) = (notes([1]), notes([2]));
    for end in 1..text.len() {
        if text.is_char_boundary(end) {
            let found = read(&format!("{before}{}", text.split_at(end).0));
            assert_eq!(sizes(&found), [Ok(1), Err("torn")], "{end}");
        }
    }
}

#[test]
fn what_is_between_notes_spoils_no_note_but_itself() {
    let (one, two) = (notes([1]), notes([2]));
    let (head, signature) = one.split_once("\n\n").unwrap();
    for (between, expected) in [
        ("rubbish\n\n".to_owned(), 1),
        (format!("{head}\n\n"), 1),
        (signature.to_owned(), 1),
        (format!("{head}\n\n\u{2014} a b\n\n"), 1),
        (format!("no checkpoint\n\n{signature}"), 1),
        ("x\n\ny\n\n".to_owned(), 2),
    ] {
        let found = sizes(&read(&format!("{one}{between}{two}")));
        let mut all = vec![Ok(1)];
        all.extend(vec![Err("form"); expected]);
        all.push(Ok(2));
        assert_eq!(found, all, "{between:?}");
    }
}

#[test]
fn the_latest_is_the_last_whole_one_of_the_newest_file_that_has_one() {
    let folder = TempDir::new().unwrap();
    let write = |first: u64, text: &str| {
        fs::write(notes_path(folder.path(), first), text).unwrap();
    };
    let latest = || latest(folder.path()).unwrap().map(|it| it.checkpoint.size);
    assert_eq!(latest(), None);
    write(0, &notes([1, 2]));
    assert_eq!(latest(), Some(2));
    write(10, "");
    assert_eq!(latest(), Some(2));
    write(10, notes([11]).trim_end());
    assert_eq!(latest(), Some(2));
    write(10, &(notes([11, 12]) + "half of"));
    assert_eq!(latest(), Some(12));
    assert_eq!(
        sizes(&Notes::of(folder.path()).unwrap().collect::<Vec<_>>()).len(),
        5
    );
}

#[test]
fn the_latest_of_a_long_file_is_found_from_its_end() {
    let folder = TempDir::new().unwrap();
    let path = notes_path(folder.path(), 0);
    let text = notes(0..1000);
    fs::write(&path, &text).unwrap();
    let signed = latest(folder.path()).unwrap().unwrap();
    assert_eq!(signed.checkpoint.size, 999);
    let at = usize::try_from(signed.offset).unwrap();
    assert_eq!(text.split_at(at).1, format!("{}\n", signed.note));
    let long = format!("{}{}", notes([5, 6]), "x".repeat(100_000));
    fs::write(&path, long).unwrap();
    assert_eq!(latest_in(&path).unwrap().unwrap().checkpoint.size, 6);
}

#[test]
fn keys_of_a_file_are_read_and_a_line_that_is_none_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(VERIFIERS);
    let keys: Vec<VerifierKey> = ["a", "b"]
        .map(|name| Signer::generate(name).unwrap().verifier().clone())
        .into();
    fs::write(&path, format!("# old\n{}\n\n{}\n", keys[0], keys[1])).unwrap();
    assert_eq!(read_keys(&path).unwrap(), keys);
    fs::write(&path, format!("{}\nno key\n", keys[0])).unwrap();
    let error = read_keys(&path).unwrap_err().to_string();
    assert!(error.contains("verifier.keys, line 2"), "{error}");
    assert!(read_keys(&folder.path().join("missing")).is_err());
}
