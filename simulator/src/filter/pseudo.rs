//! JSON as scripts write it: with single quotes instead of double ones.

use serde_json::Value;

/// Reads JSON; where that fails, once more with single-quoted strings turned into double-quoted ones.
pub(crate) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| {
        if text.contains('\'') {
            serde_json::from_str(&requote(text))
        } else {
            Err(error)
        }
    })
}

fn requote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut open: Option<char> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (open, character) {
            (None, '\'') => {
                open = Some('\'');
                out.push('"');
            }
            (None, '"') => {
                open = Some('"');
                out.push('"');
            }
            (Some('\''), '\'') => {
                open = None;
                out.push('"');
            }
            (Some('"'), '"') => {
                open = None;
                out.push('"');
            }
            (Some('\''), '"') => out.push_str("\\\""),
            (Some(_), '\\') => match characters.next() {
                Some('\'') => out.push('\''),
                Some(next) => out.extend(['\\', next]),
                None => out.push('\\'),
            },
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quotes_inside_strings_survive() {
        assert_eq!(parse(r#"{"a":"it's"}"#).unwrap(), json!({"a": "it's"}));
        assert_eq!(
            parse(r#"{'a':"it's",'b':'say "x"'}"#).unwrap(),
            json!({"a": "it's", "b": "say \"x\""})
        );
        assert_eq!(parse(r"{'a':'it\'s'}").unwrap(), json!({"a": "it's"}));
    }
}
