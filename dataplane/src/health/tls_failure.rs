//! Why a check by TLS failed, in words of ours: nothing of what a backend sent is repeated.

use crate::http::reject::Reject;
use crate::tls::backend_handshake::reject_of;
use meridian_model::limits::{HEALTH_TLS_BYTES_MAX, HEALTH_TLS_DETAIL_BYTES_MAX};
use rustls::{Error, InvalidMessage};
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

/// See the module. Written out as what operators read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TlsFailure {
    /// The backend sent this alert (RFC 8446 §6).
    Alert(u8),
    /// What it sent is no TLS.
    NotTls,
    /// It knows no version, cipher suite or group that we do.
    NothingInCommon,
    /// The key of its certificate did not sign the handshake.
    BadSignature,
    /// Its certificate can not be read, or its key not used.
    BadCertificate,
    /// Nobody who is trusted vouches for its certificate.
    Untrusted,
    /// Its certificate has expired, or does not hold yet.
    Expired,
    /// Its certificate is for other names.
    Misnamed,
    /// It broke the protocol: how.
    Misbehaved(Box<str>),
    /// It sent more than a handshake takes.
    TooLong,
    /// The handshake was not made in so long.
    NoHandshake(Duration),
    /// The connection ended before it was.
    Ended,
    /// The connection broke.
    Broken(ErrorKind),
}

impl TlsFailure {
    /// What a connection ended with.
    pub(super) fn of(error: &Error) -> TlsFailure {
        use InvalidMessage::{InvalidContentType, UnknownProtocolVersion};
        use rustls::CertificateError;
        match error {
            Error::AlertReceived(alert) => TlsFailure::Alert(u8::from(*alert)),
            Error::InvalidMessage(InvalidContentType | UnknownProtocolVersion) => {
                TlsFailure::NotTls
            }
            Error::PeerIncompatible(_) => TlsFailure::NothingInCommon,
            Error::InvalidCertificate(CertificateError::BadSignature) => TlsFailure::BadSignature,
            Error::InvalidCertificate(CertificateError::BadEncoding)
            | Error::NoCertificatesPresented => TlsFailure::BadCertificate,
            Error::InvalidCertificate(_) => match reject_of(error) {
                Reject::BackendExpired => TlsFailure::Expired,
                Reject::BackendMisnamed => TlsFailure::Misnamed,
                _ => TlsFailure::Untrusted,
            },
            other => TlsFailure::Misbehaved(detail(&other.to_string())),
        }
    }
}

/// rustls has words of its own for these, and numbers. Should it ever repeat what was sent, no more
/// than this of it comes through: a line of printable ASCII.
fn detail(text: &str) -> Box<str> {
    let printable = text.chars().map(|char| match char {
        ' '..='~' => char,
        _ => '?',
    });
    printable.take(HEALTH_TLS_DETAIL_BYTES_MAX).collect()
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("tls: ")?;
        match self {
            TlsFailure::Alert(number) => match alert_name(*number) {
                Some(name) => write!(formatter, "alert {name}"),
                None => write!(formatter, "alert {number}"),
            },
            TlsFailure::NotTls => formatter.write_str("not TLS"),
            TlsFailure::NothingInCommon => {
                formatter.write_str("no version, cipher suite or group in common")
            }
            TlsFailure::BadSignature => {
                formatter.write_str("its certificate's key did not sign the handshake")
            }
            TlsFailure::BadCertificate => formatter.write_str("unusable certificate"),
            TlsFailure::Untrusted => {
                formatter.write_str("nobody who is trusted vouches for its certificate")
            }
            TlsFailure::Expired => {
                formatter.write_str("its certificate has expired, or does not hold yet")
            }
            TlsFailure::Misnamed => formatter.write_str("its certificate is for other names"),
            TlsFailure::Misbehaved(detail) => formatter.write_str(detail),
            TlsFailure::TooLong => {
                write!(
                    formatter,
                    "handshake of more than {HEALTH_TLS_BYTES_MAX} bytes"
                )
            }
            TlsFailure::NoHandshake(timeout) => write!(formatter, "no handshake in {timeout:?}"),
            TlsFailure::Ended => formatter.write_str("closed before its handshake was whole"),
            TlsFailure::Broken(kind) => kind.fmt(formatter),
        }
    }
}

/// The names of IANA's registry "TLS Alerts".
fn alert_name(number: u8) -> Option<&'static str> {
    let name = match number {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        52 => "too_many_cids_requested",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{AlertDescription, PeerMisbehaved};

    #[test]
    fn failures_read_as_what_happened() {
        for (error, text) in [
            (
                Error::AlertReceived(AlertDescription::HandshakeFailure),
                "tls: alert handshake_failure",
            ),
            (
                Error::AlertReceived(AlertDescription::UnrecognisedName),
                "tls: alert unrecognized_name",
            ),
            (
                Error::AlertReceived(AlertDescription::Unknown(200)),
                "tls: alert 200",
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "tls: not TLS",
            ),
            (
                Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite),
                "tls: peer misbehaved: SelectedUnofferedCipherSuite",
            ),
        ] {
            assert_eq!(TlsFailure::of(&error).to_string(), text);
        }
        let timeout = TlsFailure::NoHandshake(Duration::from_millis(500));
        assert_eq!(timeout.to_string(), "tls: no handshake in 500ms");
    }

    /// Every alert that rustls has a name for has one here.
    #[test]
    fn alerts_have_names() {
        for number in 0..=u8::MAX {
            let is_known = !matches!(AlertDescription::from(number), AlertDescription::Unknown(_));
            assert!(!is_known || alert_name(number).is_some(), "{number}");
        }
    }

    #[test]
    fn what_a_backend_may_have_written_does_no_harm() {
        let hostile = format!("\u{1b}[2J\r\nup\0\u{202e}{}", "x".repeat(10_000));
        let text = TlsFailure::of(&Error::General(hostile)).to_string();
        assert!(
            text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{text}"
        );
        assert_eq!(text.len(), "tls: ".len() + HEALTH_TLS_DETAIL_BYTES_MAX);
    }
}
