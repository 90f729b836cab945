use std::sync::LazyLock;

use aws_lc_rs::rsa::{
    KeySize, OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey, PublicEncryptingKey,
};

use super::*;

/// One key for all tests: making it takes longer than they do.
static KEY: LazyLock<PrivateDecryptingKey> =
    LazyLock::new(|| PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap());

fn pkcs8() -> Vec<u8> {
    let der: Pkcs8V1Der<'_> = KEY.as_der().unwrap();
    der.as_ref().to_vec()
}

fn pem(label: &str, der: &[u8]) -> String {
    let lines: Vec<String> = BASE64
        .encode(der)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

fn read(pem: &str) -> Result<PrivateKey, KeyFault> {
    PrivateKey::read(&Secret::new(pem.to_owned()))
}

fn key() -> PrivateKey {
    read(&pem("PRIVATE KEY", &pkcs8())).unwrap()
}

/// The PKCS#1 key within a PKCS#8 one: version, algorithm, key.
fn pkcs1() -> Vec<u8> {
    let pkcs8 = pkcs8();
    let (_, inner, _) = element(&pkcs8).unwrap();
    let (_, _, rest) = element(inner).unwrap();
    let (_, _, rest) = element(rest).unwrap();
    let (tag, key, _) = element(rest).unwrap();
    assert_eq!(tag, 4);
    key.to_vec()
}

fn sealed(plain: &[u8], padding: Padding) -> String {
    let key = KEY.public_key();
    let oaep = |key: PublicEncryptingKey, algorithm| {
        let key = OaepPublicEncryptingKey::new(key).unwrap();
        let mut out = vec![0; key.ciphertext_size()];
        BASE64.encode(key.encrypt(algorithm, plain, &mut out, None).unwrap())
    };
    match padding {
        Padding::OaepSha1 => oaep(key, &OAEP_SHA1_MGF1SHA1),
        Padding::OaepSha256 => oaep(key, &OAEP_SHA256_MGF1SHA256),
        Padding::Auto | Padding::Pkcs1 => {
            let key = Pkcs1PublicEncryptingKey::new(key).unwrap();
            let mut out = vec![0; key.ciphertext_size()];
            BASE64.encode(key.encrypt(plain, &mut out).unwrap())
        }
    }
}

const PADDINGS: [Padding; 3] = [Padding::OaepSha1, Padding::OaepSha256, Padding::Pkcs1];

#[test]
fn a_challenge_of_any_padding_is_opened_when_the_padding_is_known_or_auto() {
    let key = key();
    for padding in PADDINGS {
        let challenge = sealed(b"code-1", padding);
        for told in [padding, Padding::Auto] {
            let code = key.open(&challenge, told);
            let code = code.unwrap_or_else(|| panic!("{padding:?} {told:?}"));
            assert_eq!(code.expose(), "code-1");
        }
    }
}

#[test]
fn a_challenge_of_another_padding_is_not_opened() {
    let key = key();
    for padding in PADDINGS {
        for told in PADDINGS.into_iter().filter(|told| *told != padding) {
            let code = key.open(&sealed(b"code-1", padding), told);
            assert!(code.is_none(), "{padding:?} {told:?}");
        }
    }
}

#[test]
fn what_is_no_challenge_is_not_opened() {
    let key = key();
    for (challenge, what) in [
        (String::new(), "nothing"),
        ("***".to_owned(), "no Base64"),
        (BASE64.encode([7; 256]), "noise"),
        (BASE64.encode([7; 16]), "too short"),
        (sealed(&[0xff, 0, 7], Padding::Pkcs1), "no text"),
        (sealed(b"", Padding::OaepSha1), "an empty text"),
    ] {
        assert!(key.open(&challenge, Padding::Auto).is_none(), "{what}");
    }
}

#[test]
fn pkcs8_and_pkcs1_are_one_key() {
    let (a, b) = (key(), read(&pem("RSA PRIVATE KEY", &pkcs1())).unwrap());
    for form in [KeyForm::Xml, KeyForm::Spki] {
        assert_eq!(a.public(form), b.public(form));
    }
    let code = b.open(&sealed(b"code", Padding::OaepSha1), Padding::Auto);
    assert_eq!(code.unwrap().expose(), "code");
}

#[test]
fn the_public_key_is_sent_in_the_form_asked_for() {
    let xml = String::from_utf8(BASE64.decode(key().public(KeyForm::Xml)).unwrap()).unwrap();
    assert!(xml.starts_with("<RSAKeyValue><Modulus>"), "{xml}");
    assert!(xml.ends_with("</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>"));
    let spki: PublicKeyX509Der<'_> = KEY.public_key().as_der().unwrap();
    assert_eq!(key().public(KeyForm::Spki), BASE64.encode(spki.as_ref()));
}

#[test]
fn what_is_no_usable_key_is_told_without_repeating_it() {
    let ec = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        &aws_lc_rs::rand::SystemRandom::new(),
    )
    .unwrap();
    let whole = pkcs8();
    let legacy = pem("RSA PRIVATE KEY", b"canary").replacen(
        '\n',
        "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n",
        1,
    );
    for (pem, expected) in [
        ("canary".to_owned(), KeyFault::NoKey),
        (pem("CERTIFICATE", &whole), KeyFault::NoKey),
        (pem("PUBLIC KEY", &whole), KeyFault::NoKey),
        (pem("ENCRYPTED PRIVATE KEY", &whole), KeyFault::Encrypted),
        (legacy, KeyFault::Encrypted),
        (pem("EC PRIVATE KEY", b"canary"), KeyFault::NotRsa),
        (pem("PRIVATE KEY", ec.as_ref()), KeyFault::NotRsa),
        (pem("PRIVATE KEY", b"canary"), KeyFault::Unusable),
        (pem("PRIVATE KEY", &whole[..600]), KeyFault::Unusable),
        (
            pem("RSA PRIVATE KEY", &BASE64.decode(SHORT).unwrap()),
            KeyFault::TooShort,
        ),
    ] {
        let fault = read(&pem).unwrap_err();
        assert_eq!(fault, expected, "{pem}");
        assert!(!fault.to_string().contains("canary"));
    }
    assert_eq!(format!("{:?}", key()), "PrivateKey(..)");
}

/// 1,024 bits in PKCS#1, made for this test.
const SHORT: &str = "\
    MIICWwIBAAKBgQDhn1/0X9vHT9oiLT0q8PJyU2PoePfMe1dXqZtvV8N54T29kRec\
    Gc9wXwGWMENvWtvu3GgNIdOMvzkDXhfgn+quWy2mH0s7BzVMRgtE3O4W6pw21ZCf\
    ZdBxVc9imutWZe8GZINO8/Y9dmG8fTSy2uWLuTjmyHWDhQ0GOCmXDdvrTQIDAQAB\
    AoGAPVFGD7EZltJh0xX+YLQ4/88gAOcXWVBQDXf/0UPF0VLgp6tOAlOVZ9G6KaoW\
    OaY0zXbDJIaD6uVxRjQFQzvS2Gs2NX8yWiM/KrzG69ua29MFjhJ6kB/umhG0Ad4S\
    uMNFf+38xAp/2uM1XwvNEKOjfGYkh/JGPQLjhQ/N9wYP5mECQQDyaI0fljFN2McC\
    tpwA4oD1UqnEYQyl2AR+t2cSsRVkiNxScFeTY/8XM9xa2jklUqYq5BfrEiXEnDgo\
    217p/PnlAkEA7kXimuVpxWqFLXWuEcawa7sco9NrGgWl/3Af89hcXzzPVyCFEFeG\
    F8UMbgMUlYjHCGOVFmsJkQBsC3BUSEd1SQJAflYXFttEHvpX3gYmEB/8bd8DM6IQ\
    4W5QCWq0gX1hVOAvU5fRTLPVAta4hXEuT1Ff4QK3pH/0xx9T9Zc/RFvgMQJAetMt\
    j7lIv8o8IoXyGBm64Z3PkqeuIvjcbANphTJ302QuYXRTA2yKpAAgeyk9WCPsrWdf\
    9/FvOf7kszTRTX0AeQJAc9IP4cl4h9iCQ04WD35JX1kqvkZ+aSKMcOMerUwutGJU\
    v1vKafypZDB6/fDyVfYNsc9D1GgyVc9Lfu55R980cw==";
