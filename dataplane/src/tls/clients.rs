//! Certificates that clients show (RFC 8446 §4.3.2, §4.4.2): who signs them is said by the site, and its
//! backends are told whose it is.
//!
//! A certificate is verified in every handshake of its site, since no session of one that asks for them
//! is resumed: what expired, or whose authority the site has no more, opens nothing from then on
//! (docs/decisions/0048-client-certificates.md). A connection that was made under other rules of the site
//! is of no use any more either ([`VerifiedClient::is_under`]).

use meridian_model::limits::CLIENT_SUBJECT_BYTES_MAX;
use meridian_model::sealed_file::digest_of;
use meridian_model::snapshot::ClientRules;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use std::sync::Arc;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// What verifies the certificates of a site's clients.
///
/// # Errors
///
/// When the authorities can not be read, which whoever wrote them down has looked at.
pub(super) fn verifier(
    rules: &ClientRules,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(rules.authorities.as_bytes()) {
        let authority = authority.map_err(|what| what.to_string())?;
        roots.add(authority).map_err(|what| what.to_string())?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match rules.required {
        true => builder,
        false => builder.allow_unauthenticated(),
    };
    let by_authority = builder.build().map_err(|what| what.to_string())?;
    Ok(Arc::new(Verifier { by_authority }))
}

/// Who showed a certificate, or did not have to.
#[derive(Debug)]
pub(crate) struct VerifiedClient {
    rules: Arc<ClientRules>,
    /// What backends are told of it, in whole lines; nothing where it showed none.
    lines: Box<[u8]>,
}

impl VerifiedClient {
    /// Who made a handshake under these rules and showed this chain. None where it can not be told of, which
    /// was refused in the handshake.
    pub(super) fn new(
        rules: &Arc<ClientRules>,
        shown: Option<&[CertificateDer<'_>]>,
    ) -> Option<VerifiedClient> {
        let lines = match shown.and_then(<[_]>::first) {
            Some(certificate) => lines(certificate)?,
            None if rules.required => return None,
            None => Vec::new(),
        };
        Some(VerifiedClient {
            rules: Arc::clone(rules),
            lines: lines.into(),
        })
    }

    /// Whether these are still the rules of the site.
    pub(crate) fn is_under(&self, rules: &Arc<ClientRules>) -> bool {
        Arc::ptr_eq(&self.rules, rules) || self.rules == *rules
    }

    /// What backends are told of it, in whole lines.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }
}

/// The subject as RFC 4514 writes it, and the SHA-256 of the certificate. None for what is no certificate or
/// whose subject is too long to be told.
fn lines(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let subject = parsed.tbs_certificate().subject().to_string();
    let mut lines = b"X-SSL-Client-DN: ".to_vec();
    let begin = lines.len();
    for byte in subject.bytes() {
        match byte {
            b' '..=b'~' => lines.push(byte),
            // Any byte may stand as two digits behind a backslash (RFC 4514 §2.4), and none that is no ASCII
            // can stand in a field.
            _ => lines.extend_from_slice(format!("\\{byte:02x}").as_bytes()),
        }
    }
    if lines.len() - begin > CLIENT_SUBJECT_BYTES_MAX {
        return None;
    }
    lines.extend_from_slice(b"\r\nX-SSL-Client-SHA256: ");
    lines.extend_from_slice(digest_of(certificate).to_string().as_bytes());
    lines.extend_from_slice(b"\r\n");
    Some(lines)
}

/// Verifies a client by the authorities, and takes nobody of whom backends could not be told.
#[derive(Debug)]
struct Verifier {
    by_authority: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.by_authority.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.by_authority.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.by_authority.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = (self.by_authority).verify_client_cert(end_entity, intermediates, now)?;
        let untold = CertificateError::ApplicationVerificationFailure;
        lines(end_entity).map(|_| verified).ok_or(untold.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        (self.by_authority).verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        (self.by_authority).verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authority.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName as Subject, DnType, KeyPair};

    fn told(common_name: &str) -> Option<String> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = Subject::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Acme");
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        lines(certificate.der()).map(|lines| String::from_utf8(lines).unwrap())
    }

    #[test]
    fn a_subject_is_one_line_whatever_it_holds() {
        for (name, shown) in [
            ("alice", "CN=alice,O=Acme"),
            ("a,O=Root", "CN=a\\,O=Root,O=Acme"),
            ("é", "CN=\\c3\\a9,O=Acme"),
            ("a\r\nHost: b", "CN=a\\0d\\0aHost: b,O=Acme"),
        ] {
            let lines = told(name).unwrap();
            let all: Vec<&str> = lines.split("\r\n").collect();
            assert_eq!(all[0], format!("X-SSL-Client-DN: {shown}"));
            let digest = all[1].strip_prefix("X-SSL-Client-SHA256: ").unwrap();
            assert_eq!((digest.len(), all.len(), all[2]), (64, 3, ""));
        }
    }

    #[test]
    fn a_subject_that_is_too_long_and_what_is_none_are_not_told() {
        assert!(told(&"a".repeat(CLIENT_SUBJECT_BYTES_MAX)).is_none());
        assert!(lines(b"0").is_none());
    }

    #[test]
    fn who_has_to_show_one_and_did_not_is_nobody() {
        let rules = |required| {
            Arc::new(ClientRules {
                required,
                authorities: "a".into(),
            })
        };
        assert!(VerifiedClient::new(&rules(true), None).is_none());
        let nobody = VerifiedClient::new(&rules(false), None).unwrap();
        assert!(nobody.lines().is_empty() && nobody.is_under(&rules(false)));
        assert!(!nobody.is_under(&rules(true)));
    }
}
