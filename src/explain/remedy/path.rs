//! Which part of a path could be read in two ways.

use crate::request::{CanonicalPath, PathFault};

/// The parts of a target's path that make it ambiguous, each with what is wrong.
pub(super) fn parts(target: &str) -> Vec<String> {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let mut found: Vec<String> = Vec::new();
    let lower = path.to_ascii_lowercase();
    for (part, what) in PARTS {
        if lower.contains(part) {
            found.push(format!("take {part:?} out: {what}"));
        }
    }
    let last = path.split('/').count() - 1;
    for (index, segment) in path.split('/').enumerate().skip(1) {
        let is_end = index == last && segment.is_empty();
        if segment.is_empty() && !is_end && !found.iter().any(|it| it.contains("\"//\"")) {
            found.push("take \"//\" out: an empty segment".to_owned());
        }
        // What stands alone is asked alone, by the reader itself.
        let alone = CanonicalPath::parse(&format!("/{segment}"));
        let is_named = PARTS
            .iter()
            .any(|(part, _)| segment.to_ascii_lowercase().contains(part));
        if alone == Err(PathFault::Ambiguous) && !segment.is_empty() && !is_named {
            found.push(format!(
                "write the segment {segment:?} in another way: {OTHER}"
            ));
        }
    }
    found
}

pub(super) const MALFORMED: &str = "percent-encode blanks, controls, #, < and >, in the query also \
     \", in the path also `; and write % only before two hex digits";

const OTHER: &str = "a dot segment, a dot or a blank at its end, an encoded control or letter that \
     others take for another one, or encoded twice";

const PARTS: [(&str, &str); 7] = [
    ("\\", "a backslash is a slash to some readers"),
    ("%5c", "an encoded backslash is a slash to some readers"),
    ("%2f", "an encoded slash divides segments for some readers"),
    (";", "what follows a semicolon is cut off by some readers"),
    (
        "%3b",
        "what follows an encoded semicolon is cut off by some readers",
    ),
    ("%00", "an encoded NUL ends the path for some readers"),
    ("%25", "it is encoded twice"),
];
