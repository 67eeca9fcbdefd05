//! Whether a chain and a key are right, and what is known of them then: that the key is of a kind
//! that we can use and the leaf's, that each certificate is signed by the next, and that all hold
//! now.

use meridian_model::certificate::{CertificateContent, KeyKind};
use meridian_model::limits::CERTIFICATE_NAMES_MAX;
use meridian_model::name::Hostname;
use meridian_model::sealed_file::{ChainAndKey, digest_of};
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::fault::Fault;
use super::shown_time;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Of RSA, in bits: what aws-lc signs with.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

const USABLE_KEYS: &str = "use a key on P-256 (openssl ecparam -name prime256v1 -genkey), P-384, Ed25519, or RSA of 2048 \
     to 8192 bits";

/// Looks at a chain and its key. `now` is in seconds since 1970.
///
/// # Errors
/// Everything that is wrong with them.
pub(crate) fn of(pair: &ChainAndKey, now: i64) -> Result<CertificateContent, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut chain = Vec::with_capacity(pair.chain.len());
    for (index, der) in pair.chain.iter().enumerate() {
        match parse(der) {
            Some(certificate) => chain.push(certificate),
            None => faults.push(Fault::of_chain(
                format!("{} is no X.509 certificate of version 3", place(index)),
                "get it anew from who issued it",
            )),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let leaf = &chain[0];
    let kind = kind_of(leaf.tbs_certificate().subject_public_key_info());
    let kind = kind.map_err(|fault| faults.push(fault)).ok();
    faults.extend(key_faults(&chain, pair));
    faults.extend(order_faults(&chain, &pair.chain));
    faults.extend(date_faults(&chain, now));
    let names = names(leaf).map_err(|fault| faults.push(fault)).ok();
    let (Some(key), Some(names), true) = (kind, names, faults.is_empty()) else {
        return Err(faults);
    };
    let (_, digest) = pair.encode();
    let (not_before, not_after) = dates(leaf);
    Ok(CertificateContent {
        digest,
        fingerprint: digest_of(&pair.chain[0]),
        names,
        issuer: leaf.tbs_certificate().issuer().to_string().into(),
        not_before,
        not_after,
        key,
    })
}

/// As we need it and as rustls will: neither takes what the other does not.
fn parse(der: &[u8]) -> Option<Certificate> {
    ParsedCertificate::try_from(&CertificateDer::from(der)).ok()?;
    Certificate::from_der(der).ok()
}

fn place(index: usize) -> String {
    match index {
        0 => "the first certificate".to_string(),
        index => format!("certificate {} of the chain", index + 1),
    }
}

fn kind_of(public_key: &SubjectPublicKeyInfoOwned) -> Result<KeyKind, Fault> {
    let algorithm = &public_key.algorithm;
    let curve = || {
        let parameters = algorithm.parameters.as_ref()?;
        parameters.decode_as::<ObjectIdentifier>().ok()
    };
    let fault = |what: String| Err(Fault::of_chain(what, USABLE_KEYS));
    match algorithm.oid {
        EC if curve() == Some(P256) => Ok(KeyKind::P256),
        EC if curve() == Some(P384) => Ok(KeyKind::P384),
        EC => fault("its key is on a curve that clients do not take".to_string()),
        ED25519 => Ok(KeyKind::Ed25519),
        RSA => match modulus_bits(public_key) {
            Some(bits) if RSA_BITS.contains(&bits) => Ok(KeyKind::Rsa),
            Some(bits) => fault(format!("its key is of RSA with {bits} bits")),
            None => fault("its key is of RSA and can not be read".to_string()),
        },
        other => fault(format!(
            "its key is of a kind that can not be used ({other})"
        )),
    }
}

/// RSAPublicKey of RFC 8017 §A.1.1: its first number.
fn modulus_bits(public_key: &SubjectPublicKeyInfoOwned) -> Option<u32> {
    let mut reader = SliceReader::new(public_key.subject_public_key.as_bytes()?).ok()?;
    let header = x509_cert::der::Header::decode(&mut reader).ok()?;
    header.tag().assert_eq(Tag::Sequence).ok()?;
    let modulus = UintRef::decode(&mut reader).ok()?;
    let bytes = modulus.as_bytes();
    let leading = bytes.first()?.leading_zeros();
    Some(8 * u32::try_from(bytes.len()).ok()? - leading)
}

fn key_faults(chain: &[Certificate], pair: &ChainAndKey) -> Option<Fault> {
    let unusable = || {
        let what = "the key can not be read, or is of a kind that can not be used";
        Fault::of_key(what, USABLE_KEYS)
    };
    let Ok(der) = PrivateKeyDer::try_from(&pair.key[..]) else {
        return Some(unusable());
    };
    let Ok(signer) = any_supported_type(&der) else {
        return Some(unusable());
    };
    let public_key = signer.public_key()?;
    let is_of = |certificate: &Certificate| {
        let own = certificate.tbs_certificate().subject_public_key_info();
        own.to_der().is_ok_and(|own| own == public_key.as_ref())
    };
    match chain.iter().position(is_of) {
        Some(0) => None,
        Some(index) => Some(Fault::of_chain(
            format!("the key is that of {}, not of the first", place(index)),
            "put that one first, then the one that signed it, and so on",
        )),
        None => Some(Fault::of_key(
            "the key is not the certificate's",
            "name the key that the certificate was requested with",
        )),
    }
}

/// Each must be signed by the next. The last may be signed by a root that clients have.
fn order_faults(chain: &[Certificate], ders: &[Vec<u8>]) -> Option<Fault> {
    let signs =
        |signer: usize, signed: usize| is_signed_by(&chain[signed], &ders[signed], &chain[signer]);
    let broken = (1..chain.len()).find(|&index| !signs(index, index - 1))?;
    let what = format!("{} did not sign the one before it", place(broken));
    let order = "order them: the leaf, then the one that signed it, and so on";
    let hint = match (0..chain.len()).find(|&other| other != broken - 1 && signs(other, broken - 1))
    {
        Some(other) => format!("{} did; {order}", place(other)),
        None => {
            let issuer = chain[broken - 1].tbs_certificate().issuer();
            format!("get that of {issuer} from who issued it; {order}")
        }
    };
    Some(Fault::of_chain(what, hint))
}

fn is_signed_by(signed: &Certificate, der: &[u8], signer: &Certificate) -> bool {
    if signed.tbs_certificate().issuer() != signer.tbs_certificate().subject() {
        return false;
    }
    let Some(signature) = signed.signature().as_bytes() else {
        return false;
    };
    let Some(content) = signed_content(der) else {
        return false;
    };
    let algorithms = default_provider().signature_verification_algorithms;
    let Ok(signed_by) = inner(signed.signature_algorithm()) else {
        return false;
    };
    let public_key = signer.tbs_certificate().subject_public_key_info();
    let Some(key) = public_key.subject_public_key.as_bytes() else {
        return false;
    };
    let mut usable = algorithms.all.iter().filter(|it| {
        it.signature_alg_id().as_ref() == signed_by
            && inner(&public_key.algorithm).is_ok_and(|own| it.public_key_alg_id().as_ref() == own)
    });
    let mut is_known = false;
    let verified = usable.any(|it| {
        is_known = true;
        it.verify_signature(key, content, signature).is_ok()
    });
    // By an algorithm that we do not know it may well be signed: the names say so.
    verified || !is_known
}

/// An algorithm as rustls compares it: without the header of its sequence.
fn inner(algorithm: &impl Encode) -> x509_cert::der::Result<Vec<u8>> {
    let der = algorithm.to_der()?;
    let mut reader = SliceReader::new(&der)?;
    x509_cert::der::Header::decode(&mut reader)?;
    Ok(reader.read_slice(reader.remaining_len())?.to_vec())
}

/// The bytes of a certificate that are signed, as they stand in it (RFC 5280 §4.1.1.3).
fn signed_content(der: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(der).ok()?;
    x509_cert::der::Header::decode(&mut reader).ok()?;
    reader.tlv_bytes().ok()
}

fn dates(certificate: &Certificate) -> (i64, i64) {
    let validity = certificate.tbs_certificate().validity();
    let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs() as i64;
    (seconds(&validity.not_before), seconds(&validity.not_after))
}

fn date_faults(chain: &[Certificate], now: i64) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, certificate) in chain.iter().enumerate() {
        let (not_before, not_after) = dates(certificate);
        if now > not_after {
            let what = format!("{} expired on {}", place(index), shown_time(not_after));
            faults.push(Fault::of_chain(what, "renew it"));
        }
        if now < not_before {
            let what = format!(
                "{} holds only from {} on",
                place(index),
                shown_time(not_before)
            );
            let hint = "wait until then, or set this host's clock";
            faults.push(Fault::of_chain(what, hint));
        }
    }
    faults
}

/// DNS names of the leaf, sorted. The common name has long been passed over by clients (RFC 9525 §2). One
/// that only backends are shown need not have any: a site that shows it to clients is refused.
fn names(leaf: &Certificate) -> Result<Box<[Hostname]>, Fault> {
    let alternatives = leaf.tbs_certificate().get_extension::<SubjectAltName>();
    let alternatives = match alternatives {
        Ok(Some((_, SubjectAltName(names)))) => names,
        Ok(None) => Vec::new(),
        Err(_) => {
            let what = "its subjectAltName can not be read";
            return Err(Fault::of_chain(what, "get it anew from who issued it"));
        }
    };
    let names = alternatives.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Hostname::parse(name.as_str()).ok(),
        _ => None,
    });
    let mut names: Vec<Hostname> = names.collect();
    names.sort();
    names.dedup();
    if names.len() > CERTIFICATE_NAMES_MAX {
        let what = format!(
            "names {} names, more than {CERTIFICATE_NAMES_MAX}",
            names.len()
        );
        return Err(Fault::of_chain(
            what,
            "spread them over several certificates",
        ));
    }
    Ok(names.into())
}
