//! PEM (RFC 7468) to DER: the certificates of a chain, and a private key.
//!
//! Each takes what it wants and passes over the rest, so that one file may hold both.

use meridian_model::limits::{CERTIFICATE_CHAIN_MAX, CERTIFICATE_CONTENT_BYTES_MAX};
use rustls::pki_types::pem::{Error, PemObject, SectionKind};
use zeroize::Zeroizing;

use super::fault::Fault;

/// The certificates of a file, in its order.
///
/// # Errors
/// Why it holds no chain.
pub(crate) fn chain(pem: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let fault = |what: String| {
        let hint = match pem.first() {
            Some(0x30) => {
                "it seems to be DER; convert it: openssl x509 -inform der -in OLD -out NEW"
            }
            _ => {
                "it has a block BEGIN CERTIFICATE for the leaf, then one for each that signed the one before"
            }
        };
        Fault::of_chain(what, hint)
    };
    let mut chain = Vec::new();
    for section in sections(pem) {
        match section {
            Ok((SectionKind::Certificate, der)) => chain.push(der.to_vec()),
            Ok(_) => {}
            Err(error) => return Err(fault(words(&error))),
        }
    }
    if chain.is_empty() {
        return Err(fault("holds no certificate".to_string()));
    }
    if chain.len() > CERTIFICATE_CHAIN_MAX {
        let what = format!(
            "holds {} certificates, and a chain has at most {CERTIFICATE_CHAIN_MAX}",
            chain.len()
        );
        return Err(Fault::of_chain(
            what,
            "leave the leaf and those that signed it, without the root",
        ));
    }
    let bytes: usize = chain.iter().map(Vec::len).sum();
    if bytes > CERTIFICATE_CONTENT_BYTES_MAX / 2 {
        let most = CERTIFICATE_CONTENT_BYTES_MAX / 2 / 1024;
        let what = format!("its certificates have {bytes} bytes, more than {most} KiB");
        return Err(Fault::of_chain(what, "leave out what clients do not need"));
    }
    Ok(chain)
}

/// The private key of a file.
///
/// # Errors
/// Why it holds none that can be used.
pub(crate) fn key(pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    if has_line(pem, "-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || has_line(pem, "Proc-Type: 4,ENCRYPTED")
    {
        return Err(Fault::of_key(
            "the key is encrypted with a passphrase, and nobody is there to type it",
            "decrypt it: openssl pkey -in OLD -out NEW; in the state directory it is sealed",
        ));
    }
    let mut keys = Vec::new();
    for section in sections(pem) {
        match section {
            Ok((
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey,
                der,
            )) => keys.push(der),
            Ok(_) => {}
            Err(error) => return Err(Fault::of_key(words(&error), "write it anew as PEM")),
        }
    }
    let count = keys.len();
    match (keys.pop(), count) {
        (Some(key), 1) if key.len() <= CERTIFICATE_CONTENT_BYTES_MAX / 4 => Ok(key),
        (Some(_), 1) => Err(Fault::of_key(
            "the key is longer than any that is used for TLS",
            "name the file of the certificate's key",
        )),
        (None, _) => Err(Fault::of_key(
            "holds no private key",
            match pem.first() {
                Some(0x30) => {
                    "it seems to be DER; convert it: openssl pkey -inform der -in OLD -out NEW"
                }
                _ => "it has a block BEGIN PRIVATE KEY",
            },
        )),
        (Some(_), _) => Err(Fault::of_key(
            format!("holds {count} private keys"),
            "leave the one that the certificate was made for",
        )),
    }
}

fn sections(pem: &[u8]) -> impl Iterator<Item = Result<(SectionKind, Zeroizing<Vec<u8>>), Error>> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    sections.map(|section| section.map(|(kind, der)| (kind, Zeroizing::new(der))))
}

fn has_line(pem: &[u8], wanted: &str) -> bool {
    let mut lines = pem.split(|&byte| byte == b'\n');
    lines.any(|line| line.trim_ascii() == wanted.as_bytes())
}

/// Nothing of the file stands in them: it may be a key.
fn words(error: &Error) -> String {
    match error {
        Error::MissingSectionEnd { .. } => "a block has no END line: the file is cut off",
        Error::IllegalSectionStart { .. } => "a BEGIN line is not one of PEM",
        Error::Base64Decode(_) => "a block is not base64",
        _ => "is not PEM",
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----\n";
    const LEAF: &str = "text\n-----BEGIN CERTIFICATE-----\nAwQF\n-----END CERTIFICATE-----\n";

    #[test]
    fn each_takes_its_part_of_a_file_with_both() {
        let both = format!("{KEY}{LEAF}{LEAF}").replace('\n', "\r\n");
        assert_eq!(chain(both.as_bytes()).unwrap(), [[3, 4, 5], [3, 4, 5]]);
        assert_eq!(*key(both.as_bytes()).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn what_is_none_is_said_to_be_none() {
        let of_chain = |pem: &str| chain(pem.as_bytes()).unwrap_err().what;
        assert_eq!(of_chain(""), "holds no certificate");
        assert_eq!(of_chain(KEY), "holds no certificate");
        assert!(of_chain(&LEAF[..LEAF.len() - 10]).contains("cut off"));
        assert!(of_chain(&LEAF.replace("AwQF", "A?")).contains("base64"));
        assert!(of_chain(&LEAF.repeat(11)).contains("at most 10"));
        assert!(
            chain(&[0x30, 0x82])
                .unwrap_err()
                .hint
                .contains("-inform der")
        );
        let of_key = |pem: &str| key(pem.as_bytes()).unwrap_err().what;
        assert_eq!(of_key(LEAF), "holds no private key");
        assert_eq!(of_key(&KEY.repeat(2)), "holds 2 private keys");
        let encrypted = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert!(of_key(&encrypted).contains("passphrase"));
        let encrypted = KEY.replace("AAEC", "Proc-Type: 4,ENCRYPTED\nAAEC");
        assert!(of_key(&encrypted).contains("passphrase"));
        // Nothing of what may be a secret is repeated.
        let broken = KEY.replace("AAEC", "AAEC?");
        assert!(!format!("{:?}", key(broken.as_bytes()).unwrap_err()).contains("AAEC"));
    }
}
