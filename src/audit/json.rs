//! JSON text by hand: one line, no raw control, bidirectional or invisible character.

use std::net::IpAddr;

use aws_lc_rs::digest;
use serde_json::Value;

/// The hex digits of a hash that stand in a cut mark.
const HASH_DIGITS: usize = 16;

/// Writes a member's name and colon, with the comma that parts it from the one before.
#[inline]
pub(super) fn name(out: &mut Vec<u8>, name: &str) {
    if out.last().is_some_and(|last| *last != b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Writes a whole number.
pub(super) fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes an IP address as a text.
pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    out.push(b'"');
    match address {
        // Not by way of a formatter, which takes longer than all other actors together.
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                if octet >= 100 {
                    out.push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    out.push(b'0' + octet / 10 % 10);
                }
                out.push(b'0' + octet % 10);
            }
        }
        IpAddr::V6(address) => out.extend_from_slice(address.to_string().as_bytes()),
    }
    out.push(b'"');
}

/// Writes a text, escaped; of one longer than `limit` bytes only the start, then a mark such as
/// `~cut:70000:sha256:0123456789abcdef` with the whole length and the start of the whole's hash.
pub(super) fn text(out: &mut Vec<u8>, text: &str, limit: usize) {
    out.push(b'"');
    rest_of_text(out, text, limit);
}

/// Writes a text as [`text`] does, but for the quote that begins it.
pub(super) fn rest_of_text(out: &mut Vec<u8>, text: &str, limit: usize) {
    // As almost all texts are, all but those that callers choose.
    if text.len() <= limit && is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else if text.len() <= limit {
        escape(out, text);
    } else {
        escape(out, start(text, limit));
        out.extend_from_slice(cut_mark(text).as_bytes());
    }
    out.push(b'"');
}

/// What stands behind the start of a text that was cut.
pub(super) fn cut_mark(text: &str) -> String {
    let hash = hex::encode(digest::digest(&digest::SHA256, text.as_bytes()));
    let hash = hash.get(..HASH_DIGITS).unwrap_or_default();
    format!("~cut:{}:sha256:{hash}", text.len())
}

/// Writes any value, with its texts as [`text`] writes them.
pub(super) fn value(out: &mut Vec<u8>, value: &Value, limit: usize) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(string) => text(out, string, limit),
        Value::Array(values) => {
            out.push(b'[');
            for (index, each) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                self::value(out, each, limit);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (index, (name, each)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                text(out, name, limit);
                out.push(b':');
                self::value(out, each, limit);
            }
            out.push(b'}');
        }
    }
}

/// Whether a character never stands raw in a record or on a terminal: it moves the cursor, turns
/// the direction of writing, or cannot be seen.
pub(super) fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The longest start of `text` that has at most `limit` bytes and ends between characters.
pub(super) fn start(text: &str, limit: usize) -> &str {
    let end = (0..=limit)
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Whether a text is written as it is. Most that are have less than sixteen bytes, so that a look
/// at each byte would be what most of a record costs: eight are looked at at once.
fn is_plain(text: &[u8]) -> bool {
    let (words, _) = text.as_chunks();
    for word in words {
        if !are_plain(*word) {
            return false;
        }
    }
    if let Some(last) = text.last_chunk() {
        // Some of them may have been looked at already.
        are_plain(*last)
    } else if let (Some([a, b, c, d]), Some([e, f, g, h])) = (text.first_chunk(), text.last_chunk())
    {
        are_plain([*a, *b, *c, *d, *e, *f, *g, *h])
    } else {
        !text.iter().any(|byte| looks_special(*byte))
    }
}

/// Whether eight bytes are ASCII that is written as it is.
fn are_plain(bytes: [u8; 8]) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = EACH * 0x80;
    let bytes = u64::from_ne_bytes(bytes);
    // The lowest byte that must not stand as it is has its high bit in one of these. What is taken
    // from or added to it may change those above, so that nothing is said of them.
    let control = bytes.wrapping_sub(EACH * 0x20);
    let quote = (bytes ^ (EACH * 0x22)).wrapping_sub(EACH);
    let backslash = (bytes ^ (EACH * 0x5c)).wrapping_sub(EACH);
    let delete = bytes.wrapping_add(EACH);
    (bytes | control | quote | backslash | delete) & HIGH == 0
}

fn escape(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    while let Some((plain, tail)) = rest
        .bytes()
        .position(looks_special)
        .and_then(|at| rest.split_at_checked(at))
    {
        out.extend_from_slice(plain.as_bytes());
        let mut chars = tail.chars();
        if let Some(char) = chars.next() {
            escape_char(out, char);
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
}

fn looks_special(byte: u8) -> bool {
    SPECIAL.get(usize::from(byte)).copied().unwrap_or(true)
}

/// The bytes that [`may_need_escape`], in a table.
static SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest = table.as_mut_slice();
    let mut byte = 0;
    while let Some((slot, others)) = rest.split_first_mut() {
        *slot = may_need_escape(byte);
        byte = byte.wrapping_add(1);
        rest = others;
    }
    table
};

/// ASCII that must be escaped, and the first bytes of all other characters that must be: a scan
/// for these stops between characters only.
const fn may_need_escape(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f | 0xc2 | 0xd8 | 0xe2 | 0xef)
}

fn escape_char(out: &mut Vec<u8>, char: char) {
    match char {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        _ if is_hidden(char) => {
            // All hidden characters are in the basic plane: one unit each.
            out.extend_from_slice(format!("\\u{:04x}", u32::from(char)).as_bytes());
        }
        _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: &str, limit: usize) -> String {
        let mut out = Vec::new();
        text(&mut out, value, limit);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_hidden_character_is_escaped_and_reads_back() {
        for char in (0..=0x1_0000).filter_map(char::from_u32) {
            let json = written(&format!("a{char}b"), 512);
            assert!(!json.chars().any(is_hidden), "{:x}", u32::from(char));
            assert_eq!(
                serde_json::from_str::<String>(&json).unwrap(),
                format!("a{char}b")
            );
        }
        assert_eq!(
            written("\u{202e}\u{1b}\0\u{7f}\u{85}", 9),
            r#""\u202e\u001b\u0000\u007f\u0085""#
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters_with_length_and_hash() {
        let long = format!("{}é{}", "a".repeat(9), "b".repeat(100));
        let mark = "~cut:111:sha256:";
        let json = written(&long, 10);
        let hash = hex::encode(digest::digest(&digest::SHA256, long.as_bytes()));
        let hash = hash.get(..16).unwrap();
        assert_eq!(json, format!("\"{}{mark}{hash}\"", "a".repeat(9)));
        assert!(written(&long, 11).starts_with(&format!("\"{}é{mark}", "a".repeat(9))));
        assert_eq!(written("aé", 3), "\"aé\"");
    }

    #[test]
    fn numbers_are_written_in_full() {
        for value in [0, 7, 10, 909, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().into_bytes());
        }
    }

    /// What another writer makes of a text, but that it hides less, and has short names for two
    /// more characters.
    fn by_another(text: &str) -> String {
        let mut json = String::from("\"");
        for char in text.chars() {
            if is_hidden(char) && !['\n', '\r', '\t'].contains(&char) {
                json.push_str(&format!("\\u{:04x}", u32::from(char)));
            } else {
                let quoted = serde_json::to_string(&char).unwrap();
                let inner = quoted.strip_prefix('"').unwrap();
                json.push_str(inner.strip_suffix('"').unwrap());
            }
        }
        json.push('"');
        json
    }

    #[test]
    fn every_byte_is_judged_in_every_place() {
        for length in 0..20 {
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    let mut text = vec![b'a'; length];
                    text[place] = byte;
                    let is_usual = matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\';
                    // Less than four bytes may be of a character that needs no escape.
                    let is_judged = length >= 4 || byte.is_ascii();
                    assert!(!is_judged || is_plain(&text) == is_usual, "{text:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_written_as_another_writes_it(value in any::<String>()) {
            prop_assert_eq!(written(&value, usize::MAX), by_another(&value));
        }

        #[test]
        fn any_usual_text_is_written_as_another_writes_it(value in "[ -~]{0,40}[ -~\\x00-\\x20é]?[ -~]{0,9}") {
            prop_assert_eq!(written(&value, usize::MAX), by_another(&value));
        }

        #[test]
        fn any_text_is_one_line_that_reads_back(value in any::<String>()) {
            let json = written(&value, usize::MAX);
            prop_assert!(!json.chars().any(is_hidden));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), value);
        }

        #[test]
        fn any_cut_text_is_valid_json(value in any::<String>(), limit in 0_usize..20) {
            let read: String = serde_json::from_str(&written(&value, limit)).unwrap();
            let kept = read.split("~cut:").next().unwrap();
            prop_assert!(value.starts_with(kept) || value.contains("~cut:"));
        }
    }
}
