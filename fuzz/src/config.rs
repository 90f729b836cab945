//! `config::Settings`: a file is taken as a whole or told to be wrong, with places.
//!
//! - Nothing panics, and the same text has the same faults.
//! - There are settings, or there is a fault; each fault has a line of the text, and one line to say.
//! - What stands in a text where a secret may stand by mistake is not repeated.
//! - A text with one key more that nobody knows is wrong, with that key, and with all the faults before.

use std::path::Path;

use vspc_gateway::config::{Fault, Settings};

/// Takes the input for a file.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // Files of the machine are not the fuzzer's.
    if ["/dev", "/proc", "/sys", ".."]
        .iter()
        .any(|it| text.contains(it))
    {
        return;
    }
    let faults = faults(&text);
    assert_eq!(faults, self::faults(&text), "{text:?}");
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    for fault in &faults {
        assert!(!fault.message.is_empty(), "{fault:?}");
        assert!(
            fault.line.is_none_or(|line| (1..=lines).contains(&line)),
            "{fault:?}"
        );
        assert!(!fault.to_string().contains(CANARY), "{fault:?}");
    }
    let is_syntax = faults.iter().any(|fault| fault.path.is_empty());
    let more = format!("{UNKNOWN} = 1\n{text}");
    if is_syntax || text.contains(UNKNOWN) {
        return;
    }
    let with_more = self::faults(&more);
    let unknown = with_more.iter().filter(|fault| fault.path == UNKNOWN);
    assert_eq!(unknown.count(), 1, "{with_more:#?}");
    for fault in &faults {
        let same = |other: &Fault| other.path == fault.path && other.message == fault.message;
        assert!(
            with_more.iter().any(same),
            "{fault:?} is gone: {with_more:#?}"
        );
    }
}

fn faults(text: &str) -> Vec<Fault> {
    match Settings::parse(text, Path::new("/nonexistent")) {
        Ok(_) => Vec::new(),
        Err(faults) => {
            assert!(!faults.is_empty(), "{text:?}");
            faults
        }
    }
}

/// A key in place of its digest, or a password in place of a reference.
const CANARY: &str = "canary-0123456789abcdef0123456789";
const UNKNOWN: &str = "zzz_unknown";
