//! The promises of the fuzz targets, over the seeds and the corpus that fuzzing has left.

#[path = "../../fuzz/src/lib.rs"]
#[expect(
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "it is a crate of its own to the fuzzer, where nothing but a panic tells"
)]
mod checks;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[test]
fn heads_have_one_reading() {
    replay("head", checks::head::check);
}

#[test]
fn bodies_in_chunks_have_one_reading() {
    replay("chunks", checks::chunks::check);
}

#[test]
fn paths_have_one_reading() {
    replay("path", checks::path::check);
}

#[test]
fn forms_have_one_reading() {
    replay("form", checks::form::check);
}

#[test]
fn multipart_forms_have_one_reading() {
    replay("multipart", checks::multipart::check);
}

#[test]
fn rules_that_are_disjoint_name_one_tenant() {
    replay("mapping", checks::mapping::check);
}

#[test]
fn files_are_taken_as_a_whole_or_told_to_be_wrong() {
    replay("config", checks::config::check);
}

#[test]
fn notes_and_proofs_have_one_form() {
    replay("note", checks::note::check);
}

#[test]
fn tokens_of_issuers_have_one_reading() {
    replay("jwt", checks::jwt::check);
}

/// Runs a check over all inputs of a target, and names those that break a promise.
fn replay(target: &str, check: fn(&[u8])) {
    let mut broken = Vec::new();
    let mut count = 0;
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for folder in ["seeds", "corpus"] {
        for entry in fs::read_dir(fuzz.join(folder).join(target)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            count += 1;
            if catch_unwind(|| check(&input)).is_err() {
                broken.push(path);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(count > 20, "{count} inputs");
}
