//! Subjects of certificates, made comparable.

/// A subject in one spelling: without blanks around its parts, its characters not escaped, the parts
/// kept apart by characters that no subject has. Attribute types are equal in both cases, values are
/// not. None where the text is no subject, or is empty.
pub(super) fn canonical(text: &str) -> Option<String> {
    if text.chars().any(char::is_control) {
        return None;
    }
    let mut written = String::new();
    for part in split(text, ',') {
        let mut attributes = Vec::new();
        for attribute in split(part, '+') {
            let (kind, value) = attribute.split_once('=')?;
            let kind = kind.trim_matches(' ').to_ascii_uppercase();
            if kind.is_empty() || !kind.bytes().all(is_of_kind) {
                return None;
            }
            attributes.push(format!("{kind}{IS}{}", value_of(value)?));
        }
        // They are a set.
        attributes.sort();
        written.push_str(&attributes.join(AND));
        written.push_str(NEXT);
    }
    Some(written)
}

fn is_of_kind(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')
}

/// Cuts a text at a character, where that is not escaped.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c| {
        let cuts = c == at && !escaped;
        escaped = c == '\\' && !escaped;
        cuts
    })
}

/// A value without its escapes. What stands for bytes (`#0c02…`) is no text that looks like it.
fn value_of(written: &str) -> Option<String> {
    let written = written.trim_start_matches(' ');
    if let Some(digits) = written.trim_end_matches(' ').strip_prefix('#') {
        hex::decode(digits).ok()?;
        return Some(format!("{BYTES}{}", digits.to_ascii_lowercase()));
    }
    let mut value = Vec::new();
    // How much of it a blank at the end must not be taken from.
    let mut kept = 0;
    let mut rest = written.chars();
    while let Some(c) = rest.next() {
        let mut utf8 = [0; 4];
        match c {
            '\\' => {
                let first = rest.next()?;
                if let Some(high) = first.to_digit(16) {
                    let low = rest.next()?.to_digit(16)?;
                    value.push(u8::try_from(high * 16 + low).ok()?);
                } else if ESCAPED.contains(first) {
                    value.push(u8::try_from(first).ok()?);
                } else {
                    return None;
                }
                kept = value.len();
            }
            '"' | ';' | '<' | '>' => return None,
            c => value.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
        }
    }
    while value.len() > kept && value.last() == Some(&b' ') {
        value.pop();
    }
    let value = String::from_utf8(value).ok()?;
    let is_text = !value.is_empty() && !value.chars().any(char::is_control);
    is_text.then_some(value)
}

/// What may stand behind a backslash by itself.
const ESCAPED: &str = " \"#+,;<=>\\";
const AND: &str = "\u{1}";
const BYTES: &str = "\u{2}";
const IS: &str = "\u{3}";
const NEXT: &str = "\u{4}";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_subject_is_equal_in_all_its_spellings() {
        for (one, other) in [
            ("CN=zabbix,O=Example", "cn=zabbix, o=Example"),
            ("CN=zabbix,O=Example", "CN = zabbix ,O =Example"),
            (r"CN=a\,b", r"CN=a\2cb"),
            (r"CN=M\C3\BCller", "CN=Müller"),
            ("CN=a+UID=7", "uid=7 + cn=a"),
            (r"CN=a\=b", "CN=a=b"),
            ("1.2.3=#0C0161", "1.2.3=#0c0161"),
        ] {
            assert!(canonical(one).is_some(), "{one}");
            assert_eq!(canonical(one), canonical(other), "{one} {other}");
        }
    }

    #[test]
    fn what_differs_in_anything_that_counts_is_another() {
        for (one, other) in [
            ("CN=zabbix", "CN=Zabbix"),
            ("CN=zabbix", "CN=zabbix,O=Example"),
            ("CN=zabbix,O=Example", "O=Example,CN=zabbix"),
            (r"CN=a\,O=b", "CN=a,O=b"),
            (r"CN=a\+UID=7", "CN=a+UID=7"),
            (r"CN=\#0c0161", "CN=#0c0161"),
            (r"CN=a\ ", "CN=a"),
        ] {
            assert!(canonical(one).is_some() && canonical(other).is_some());
            assert_ne!(canonical(one), canonical(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_subject_is_none() {
        for text in [
            "", "zabbix", "CN=", "CN=a,", ",CN=a", "CN=a\0", r"CN=a\", r"CN=a\zz", r"CN=\0a",
            "CN=#0", "CN=a;O=b", "C N=a", "=a", r"CN=\ff", "CN=\"a\"",
        ] {
            assert_eq!(canonical(text), None, "{text:?}");
        }
    }

    proptest! {
        /// What is escaped as RFC 4514 says is what it was, and nothing beside it.
        #[test]
        fn escaped_values_are_equal_exactly_where_they_were(one in "\\PC{1,12}", other in "\\PC{1,12}") {
            let escape = |text: &str| -> String {
                let escaped = text.bytes().map(|byte| format!("\\{byte:02X}"));
                format!("CN={}", escaped.collect::<String>())
            };
            let (first, second) = (canonical(&escape(&one)), canonical(&escape(&other)));
            prop_assert!(first.is_some() || one.chars().any(char::is_control));
            prop_assert_eq!(first == second, one == other);
        }
    }
}
