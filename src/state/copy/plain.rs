//! The plain files of a state directory that belong in a backup: who is stopped, and stays so.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::CopyError;

/// The files, as far as they are there.
pub(super) fn read(directory: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, CopyError> {
    let mut all = Vec::new();
    for name in NAMES {
        let path = directory.join(name);
        match fs::read(&path) {
            Ok(content) => all.push((name, content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(CopyError::file("cannot read", &path, error)),
        }
    }
    Ok(all)
}

/// Whether a name is one of them: a backup writes no other file.
pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// What a file holds after a restore: all that is there and all that was, so that nobody who is
/// stopped goes on. None if it stays as it is.
pub(super) fn merged(
    path: &Path,
    present: Option<&[u8]>,
    backed_up: &[u8],
) -> Result<Option<Vec<u8>>, CopyError> {
    let Some(present) = present else {
        return Ok(Some(backed_up.to_vec()));
    };
    let fault = |what| CopyError::Plain {
        path: path.display().to_string(),
        what,
    };
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let there = read(present).ok_or_else(|| fault("is not JSON: mend it, then restore"))?;
    let was = read(backed_up).ok_or_else(|| fault("is not JSON in the backup"))?;
    if let (Some(now), Some(then)) = (there.get("version"), was.get("version"))
        && now != then
    {
        return Err(fault("is of another version in the backup"));
    }
    let both = union(there.clone(), was);
    if both == there {
        return Ok(None);
    }
    let mut text = serde_json::to_vec_pretty(&both).map_err(|_| fault("cannot be written"))?;
    text.push(b'\n');
    Ok(Some(text))
}

/// All that either says; where they contradict one another, what is there holds, but `true` beats
/// `false`, and anything beats nothing.
fn union(there: Value, was: Value) -> Value {
    match (there, was) {
        (Value::Object(mut there), Value::Object(was)) => {
            for (name, value) in was {
                let both = match there.remove(&name) {
                    Some(own) => union(own, value),
                    None => value,
                };
                there.insert(name, both);
            }
            Value::Object(there)
        }
        (Value::Array(mut there), Value::Array(was)) => {
            for value in was {
                match there.iter_mut().find(|own| is_same(own, &value)) {
                    Some(own) => learn(own, &value),
                    None => there.push(value),
                }
            }
            Value::Array(there)
        }
        (Value::Null | Value::Bool(false), was) => was,
        (there, _) => there,
    }
}

/// Whether two are freezes of the same, whoever made them and when; or simply equal.
fn is_same(one: &Value, other: &Value) -> bool {
    let scope = |of: &Value| SCOPE.map(|name| of.get(name).filter(|it| is_said(it)).cloned());
    let (of_one, of_other) = (scope(one), scope(other));
    one == other || (of_one == of_other && of_one.iter().any(Option::is_some))
}

/// The freeze that is there stays as it is, but for what is new of whom it stops.
fn learn(own: &mut Value, was: &Value) {
    if let (Some(own), Some(id)) = (own.as_object_mut(), was.get(ID)) {
        own.entry(ID).or_insert_with(|| id.clone());
    }
}

fn is_said(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

/// The members of a freeze that say what it stops, as `freeze` writes them.
const SCOPE: [&str; 3] = ["everything", "client", "tenant"];
const ID: &str = "id";
/// The emergency stop.
const NAMES: [&str; 1] = ["frozen.json"];

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(there: &str, was: &str) -> Option<String> {
        let text = merged(Path::new("f"), Some(there.as_bytes()), was.as_bytes()).unwrap()?;
        let value: Value = serde_json::from_slice(&text).unwrap();
        Some(value.to_string())
    }

    #[test]
    fn nobody_who_is_stopped_goes_on() {
        for (there, was, expected) in [
            (r#"{"all":true}"#, r#"{"all":false}"#, None),
            (
                r#"{"all":false}"#,
                r#"{"all":true}"#,
                Some(r#"{"all":true}"#),
            ),
            (
                r#"{"all":null}"#,
                r#"{"all":{"by":"x"}}"#,
                Some(r#"{"all":{"by":"x"}}"#),
            ),
            (
                r#"{"tenants":["a"],"clients":{"c":1}}"#,
                r#"{"tenants":["b","a"],"clients":{"c":2,"d":3}}"#,
                Some(r#"{"clients":{"c":1,"d":3},"tenants":["a","b"]}"#),
            ),
            (r#"[{"t":"a"}]"#, r#"[{"t":"a"}]"#, None),
            (r#"{"tenants":["a"]}"#, r#"{}"#, None),
            // Of what is frozen in both, what is there holds.
            (
                r#"{"frozen":[{"tenant":"a","by":"x"}]}"#,
                r#"{"frozen":[{"tenant":"a","by":"y","reason":"r"}]}"#,
                None,
            ),
            (
                r#"{"frozen":[{"tenant":"a","by":"x"}]}"#,
                r#"{"frozen":[{"tenant":"a","by":"y","id":"1"},{"client":"a","by":"y"}]}"#,
                Some(r#"{"frozen":[{"by":"x","id":"1","tenant":"a"},{"by":"y","client":"a"}]}"#),
            ),
        ] {
            assert_eq!(merge(there, was).as_deref(), expected, "{there} and {was}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_replaced() {
        let path = Path::new("frozen.json");
        for (there, was) in [("{", "{}"), ("{}", "{")] {
            let merged = merged(path, Some(there.as_bytes()), was.as_bytes());
            assert!(matches!(merged, Err(CopyError::Plain { .. })));
        }
        let later = merged(path, Some(b"{\"version\":1}"), b"{\"version\":2}");
        assert!(matches!(later, Err(CopyError::Plain { .. })));
        let new = merged(path, None, b"whatever").unwrap();
        assert_eq!(new.as_deref(), Some(&b"whatever"[..]));
    }
}
