//! `audit::note`, `audit::checkpoint` and `audit::proof`: what comes from witnesses and with proofs.
//!
//! - A note, a checkpoint, a key or a proof that is read is written again byte for byte: it has one
//!   form.
//! - A file of notes gives out each byte once: notes in their places, and what is none beside them.
//! - A proof that nobody has signed proves nothing.

use std::path::Path;

use vspc_gateway::audit::checkpoint::{BadNote, Checkpoint, Notes};
use vspc_gateway::audit::note::{Note, Signer, VerifierKey};
use vspc_gateway::audit::proof::Proof;

/// Takes the input for a note, a checkpoint, a key, a proof, and a file of notes.
pub fn check(data: &[u8]) {
    check_file(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let key = Signer::generate("fuzz").expect("a key");
    let keys = [key.verifier().clone()];
    if let Ok(note) = Note::parse(text) {
        assert_eq!(note.to_string(), text);
        assert!(note.verify(&keys).is_err());
        assert!(note.only_by(&keys).signatures().is_empty());
    }
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.text(), text);
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    assert!(Signer::parse(text).is_err() || text.trim().starts_with("PRIVATE+KEY+"));
    if let Ok(proof) = Proof::parse(text) {
        let written = match &proof {
            Proof::Record(proof) => proof.to_string(),
            Proof::Growth(proof) => proof.to_string(),
        };
        assert_eq!(written, text);
        assert!(proof.check(&keys, &[]).is_err());
    }
}

fn check_file(data: &[u8]) {
    let mut end = 0;
    for found in Notes::in_text(Path::new("fuzz"), data.to_vec()) {
        let (offset, length) = match &found {
            Ok(signed) => (signed.offset, signed.note.to_string().len() + 1),
            Err(BadNote::Form { offset, .. } | BadNote::Torn { offset, .. }) => (*offset, 1),
            Err(BadNote::File(fault)) => panic!("no file is read: {fault}"),
        };
        let offset = usize::try_from(offset).expect("within the data");
        assert!(offset >= end, "{offset} was given out before");
        end = offset + length;
        assert!(end <= data.len());
        if let Ok(signed) = found {
            assert_eq!(data[offset..end], *format!("{}\n", signed.note).as_bytes());
        }
    }
}
