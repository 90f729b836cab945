use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use proptest::prelude::*;
use signed_note::{StandardSigner, StandardVerifier, VerifierList};

use super::keys::cosigned;
use super::*;

const TEXT: &str = "log.example/audit\n4\nNdm5FJ/7Y0hEPGMYqhEzO2Wd5yQG3c7iJXsRQUo4C0E=\n";

fn witness(name: &str, seed: u8) -> (Ed25519KeyPair, VerifierKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    let key = VerifierKey::new(name, KeyKind::Cosignature, public).unwrap();
    (pair, key)
}

fn cosign(note: &Note, (pair, key): &(Ed25519KeyPair, VerifierKey), time: u64) -> Note {
    let mut bytes = time.to_be_bytes().to_vec();
    bytes.extend_from_slice(pair.sign(cosigned(time, note.text()).as_bytes()).as_ref());
    let mut note = note.clone();
    note.signatures.push(Signature {
        name: key.name().to_owned(),
        id: key.id(),
        bytes,
    });
    note
}

#[test]
fn what_we_sign_others_verify() {
    let signer = Signer::generate("log.example/audit").unwrap();
    let note = signer.sign(TEXT).unwrap().to_string();
    let key = StandardVerifier::new(&signer.verifier().to_string()).unwrap();
    let theirs = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    assert_eq!(theirs.text(), TEXT.as_bytes());
    let (verified, rest) = theirs
        .verify(&VerifierList::new(vec![Box::new(key)]))
        .unwrap();
    assert_eq!((verified.len(), rest.len()), (1, 0));
}

#[test]
fn what_others_sign_we_verify() {
    let ours = Signer::generate("log.example/audit").unwrap();
    let text = ours.to_text().unwrap();
    let signer = StandardSigner::new(text.expose()).unwrap();
    let mut theirs = signed_note::Note::new(TEXT.as_bytes(), &[]).unwrap();
    theirs.add_sigs(&[&signer]).unwrap();
    let note = String::from_utf8(theirs.to_bytes()).unwrap();
    // Ed25519 signs the same text the same way.
    assert_eq!(note, ours.sign(TEXT).unwrap().to_string());
    let verified = Note::parse(&note)
        .unwrap()
        .verify(std::slice::from_ref(ours.verifier()));
    assert_eq!(
        verified.unwrap(),
        [Verified {
            name: "log.example/audit".to_owned(),
            time: None
        }]
    );
}

#[test]
fn the_keys_of_gos_documentation_are_read() {
    let private = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let note = format!(
        "{text}\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSN\
         XgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    );
    let signer = Signer::parse(&format!("{private}\n")).unwrap();
    assert_eq!(signer.to_text().unwrap().expose(), private);
    assert_eq!(signer.verifier().to_string(), public);
    assert_eq!(signer.sign(text).unwrap().to_string(), note);
    let key: VerifierKey = public.parse().unwrap();
    assert!(Note::parse(&note).unwrap().verify(&[key]).is_ok());
}

#[test]
fn a_key_without_a_name_of_its_own_is_named_by_its_bytes() {
    let signer = Signer::generate_unnamed().unwrap();
    let hash = digest::digest(&digest::SHA256, &signer.verifier().public());
    let expected = format!("vspc-gateway/{}", hex::encode(&hash.as_ref()[..8]));
    assert_eq!(signer.verifier().name(), expected);
    let again = Signer::parse(signer.to_text().unwrap().expose()).unwrap();
    assert_eq!(again.verifier(), signer.verifier());
    assert!(!format!("{signer:?}").contains("PRIVATE"));
}

#[test]
fn keys_that_are_none_are_told_apart() {
    let key = Signer::generate("a").unwrap().verifier().to_string();
    // The base64 may have a `+` of its own.
    let (start, bytes) = key.split_at("a+12345678+".len());
    let other = Signer::generate("a").unwrap().verifier().to_string();
    let other = other.split_at(start.len()).1;
    for (text, expected) in [
        (String::new(), KeyError::Form),
        ("a+b".to_owned(), KeyError::Form),
        (format!("{start}{}", bytes.split_at(40).0), KeyError::Form),
        (format!("{start}{other}"), KeyError::Altered),
        (key.replacen('a', "b", 1), KeyError::Altered),
        (key.replacen('a', "a b", 1), KeyError::Name),
        (key.replacen('a', "", 1), KeyError::Name),
        (
            format!("a+00000000+{}", STANDARD.encode([9; 33])),
            KeyError::Unknown,
        ),
    ] {
        assert_eq!(text.parse::<VerifierKey>().unwrap_err(), expected, "{text}");
    }
    assert_eq!(Signer::parse(&key).unwrap_err(), KeyError::Form);
    assert_eq!(Signer::generate("a+b").unwrap_err(), KeyError::Name);
}

#[test]
fn a_signature_by_a_trusted_key_must_be_right_and_one_by_another_is_passed_over() {
    let (a, b) = (
        Signer::generate("a").unwrap(),
        Signer::generate("b").unwrap(),
    );
    let keys = [a.verifier().clone(), b.verifier().clone()];
    let mut note = a.sign(TEXT).unwrap();
    assert_eq!(
        note.verify(&keys[1..]),
        Err(NoteError::Unsigned(vec!["a".to_owned()]))
    );
    let mut wrong = b.sign("other\n").unwrap();
    note.signatures.append(&mut wrong.signatures);
    assert_eq!(note.verify(&keys), Err(NoteError::Wrong("b".to_owned())));
    assert_eq!(note.verify(&keys[..1]).unwrap().len(), 1);
    assert_eq!(note.only_by(&keys).signatures.len(), 1);
}

#[test]
fn a_witness_signs_the_text_and_its_time() {
    let signer = Signer::generate("log").unwrap();
    let witness = witness("witness.example", 7);
    let note = cosign(&signer.sign(TEXT).unwrap(), &witness, 1_700_000_000);
    let note = Note::parse(&note.to_string()).unwrap();
    let key: VerifierKey = witness.1.to_string().parse().unwrap();
    assert_eq!(key.kind(), KeyKind::Cosignature);
    assert_eq!(
        note.verify(std::slice::from_ref(&key)).unwrap(),
        [Verified {
            name: "witness.example".to_owned(),
            time: Some(1_700_000_000)
        }]
    );
    let mut late = note;
    late.signatures[1].bytes[7] ^= 1;
    assert_eq!(
        late.verify(&[key]),
        Err(NoteError::Wrong("witness.example".to_owned()))
    );
}

#[test]
fn notes_that_are_none_are_refused() {
    let good = Signer::generate("a")
        .unwrap()
        .sign(TEXT)
        .unwrap()
        .to_string();
    assert!(Note::parse(&good).is_ok());
    let signature = format!("{}\n", good.lines().last().unwrap());
    let many = good.clone() + &signature.repeat(100);
    for bad in [
        "",
        "\n\n",
        TEXT,
        good.trim_end(),
        &good.replace("\n\n", "\n"),
        &format!("{good}\n"),
        &good.replace("\u{2014} ", "- "),
        &good.replace("\u{2014} a ", "\u{2014}  "),
        &good.replace("log.example", "log\texample"),
        &format!("{good}\u{2014} a AAAA\n"),
        &many,
    ] {
        assert!(Note::parse(bad).is_err(), "{bad:?}");
        assert!(
            signed_note::Note::from_bytes(bad.as_bytes()).is_err(),
            "{bad:?}"
        );
    }
}

proptest! {
    #[test]
    fn a_note_is_read_as_others_read_it(
        lines in proptest::collection::vec("[a-z\u{2014} +\t]{0,6}|\u{2014} [a-z]{1,3} [A-Za-z0-9+/]{8}", 0..9),
        end in "\n?",
    ) {
        let text = lines.join("\n") + &end;
        let ours = Note::parse(&text);
        let theirs = signed_note::Note::from_bytes(text.as_bytes());
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, text);
        if let Ok(note) = ours {
            prop_assert_eq!(note.to_string(), text);
        }
    }
}
