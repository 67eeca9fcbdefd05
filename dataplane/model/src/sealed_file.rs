//! A file of STATE/certificates: a certificate's chain and key, sealed with the key of the host.
//!
//! ```text
//! "meridian sealed 1\n"     18 bytes
//! nonce                     12 bytes
//! AES-256-GCM of the content, with its tag; the digest of the content is the associated data
//! ```
//!
//! The content is each certificate of the chain in DER, the leaf first, and then the key, each
//! behind its length in 4 bytes, the highest first; before them stands how many certificates there
//! are, in 2 bytes. The digest of that names the file: a file that was moved to another name does
//! not open, and what does open is what it is called.
//!
//! This protects copies and backups of the state directory that lack STATE/keys, and no more: who
//! can read both, as root can, has everything.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::certificate::Digest;
use crate::limits::{CERTIFICATE_CHAIN_MAX, CERTIFICATE_CONTENT_BYTES_MAX};

/// Of the state directory: the key of the host.
pub const HOST_KEY_FILE: &str = "keys/host.key";

/// Of the state directory: where sealed files stand, each named by its digest.
pub const DIRECTORY: &str = "certificates";

const MAGIC: &[u8] = b"meridian sealed 1\n";
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// The longest sealed file, in bytes.
pub const SEALED_BYTES_MAX: usize =
    MAGIC.len() + NONCE_BYTES + CERTIFICATE_CONTENT_BYTES_MAX + TAG_BYTES;

/// The key that a host seals with: 256 random bits, which leave no trace when it is dropped.
#[derive(Clone)]
pub struct HostKey(Zeroizing<[u8; 32]>);

/// A chain with its key. No trace of the key is left when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct ChainAndKey {
    /// Certificates in DER, the leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The private key in DER: PKCS #8, or PKCS #1, or SEC 1.
    pub key: Zeroizing<Vec<u8>>,
}

/// Why a sealed file does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// It is shorter than any, or begins otherwise.
    NotSealed,
    /// It was sealed with another key or under another name, or it is damaged.
    NotGenuine,
    /// It was sealed by us and holds something else.
    NotContent,
}

impl std::fmt::Display for NotOpened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NotOpened::NotSealed => "is no sealed file, or its beginning is lost",
            NotOpened::NotGenuine => {
                "does not open: it is damaged, has another's name, or was sealed with another key \
                 than keys/host.key"
            }
            NotOpened::NotContent => "holds no chain with a key",
        })
    }
}

impl HostKey {
    /// Of these bits.
    pub fn new(bits: Zeroizing<[u8; 32]>) -> HostKey {
        HostKey(bits)
    }

    /// The key that a file with this text holds: its digits, with white space around them.
    pub fn of_file(text: &[u8]) -> Option<HostKey> {
        let text = std::str::from_utf8(text.trim_ascii()).ok()?;
        let Digest(bits) = Digest::parse(text).ok()?;
        Some(HostKey(Zeroizing::new(bits)))
    }

    /// The text of its file.
    pub fn to_file(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n", Digest(*self.0)))
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, &*self.0);
        LessSafeKey::new(key.expect("a key of 256 bits"))
    }
}

impl ChainAndKey {
    /// As it is sealed, and the digest of that: the same chain and key always have the same.
    pub fn encode(&self) -> (Zeroizing<Vec<u8>>, Digest) {
        let parts = || self.chain.iter().chain([&*self.key]);
        let bytes: usize = parts().map(|part| 4 + part.len()).sum();
        // Of its whole length from the first: what grows leaves copies behind.
        let mut content = Zeroizing::new(Vec::with_capacity(2 + bytes + TAG_BYTES));
        content.extend_from_slice(&(self.chain.len() as u16).to_be_bytes());
        for part in parts() {
            content.extend_from_slice(&(part.len() as u32).to_be_bytes());
            content.extend_from_slice(part);
        }
        let digest = digest_of(&content);
        (content, digest)
    }

    /// What [`ChainAndKey::encode`] gave.
    pub fn decode(mut content: &[u8]) -> Option<ChainAndKey> {
        let (count, rest) = content.split_first_chunk()?;
        let count = usize::from(u16::from_be_bytes(*count));
        if !(1..=CERTIFICATE_CHAIN_MAX).contains(&count) {
            return None;
        }
        content = rest;
        let mut take = || {
            let (bytes, rest) = content.split_first_chunk()?;
            let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*bytes) as usize)?;
            content = rest;
            Some(part.to_vec())
        };
        let mut chain = Vec::with_capacity(count);
        for _ in 0..count {
            chain.push(take()?);
        }
        let key = Zeroizing::new(take()?);
        content.is_empty().then_some(ChainAndKey { chain, key })
    }
}

/// The digest that names `bytes`.
pub fn digest_of(bytes: &[u8]) -> Digest {
    let mut digits = Digest::default();
    digits.0.copy_from_slice(digest(&SHA256, bytes).as_ref());
    digits
}

/// Seals `content`, which `name` is the digest of. The nonce must be random: under one key none may
/// come twice, which of 96 random bits it does not in as many files as a host ever has.
pub fn seal(key: &HostKey, nonce: [u8; NONCE_BYTES], name: &Digest, content: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(MAGIC.len() + NONCE_BYTES + content.len() + TAG_BYTES);
    sealed.extend_from_slice(MAGIC);
    sealed.extend_from_slice(&nonce);
    let begin = sealed.len();
    sealed.extend_from_slice(content);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key
        .cipher()
        .seal_in_place_separate_tag(nonce, Aad::from(name.0), &mut sealed[begin..])
        .expect("it is far shorter than the cipher takes");
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

/// Opens what [`seal`] gave.
///
/// # Errors
///
/// Why it does not open.
pub fn open(key: &HostKey, name: &Digest, sealed: &[u8]) -> Result<ChainAndKey, NotOpened> {
    let rest = sealed.strip_prefix(MAGIC).ok_or(NotOpened::NotSealed)?;
    let (nonce, rest) = rest.split_first_chunk().ok_or(NotOpened::NotSealed)?;
    let mut content = Zeroizing::new(rest.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = (key.cipher())
        .open_in_place(nonce, Aad::from(name.0), &mut content)
        .map_err(|_| NotOpened::NotGenuine)?;
    if digest_of(opened) != *name {
        return Err(NotOpened::NotContent);
    }
    ChainAndKey::decode(opened).ok_or(NotOpened::NotContent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bits: u8) -> HostKey {
        HostKey::new(Zeroizing::new([bits; 32]))
    }

    fn pair() -> ChainAndKey {
        ChainAndKey {
            chain: vec![b"leaf".to_vec(), b"signer".to_vec()],
            key: Zeroizing::new(b"secret".to_vec()),
        }
    }

    #[test]
    fn what_was_sealed_opens_under_its_name_with_its_key_alone() {
        let (content, name) = pair().encode();
        let sealed = seal(&key(1), [7; 12], &name, &content);
        assert!(open(&key(1), &name, &sealed).unwrap() == pair());
        assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
        let fault = |key: &HostKey, name, sealed: &[u8]| open(key, name, sealed).err();
        assert_eq!(fault(&key(2), &name, &sealed), Some(NotOpened::NotGenuine));
        let other_name = digest_of(b"other");
        assert_eq!(
            fault(&key(1), &other_name, &sealed),
            Some(NotOpened::NotGenuine)
        );
        let other = seal(&key(1), [8; 12], &other_name, b"other");
        assert_eq!(
            fault(&key(1), &other_name, &other),
            Some(NotOpened::NotContent)
        );
        // Our own seal on what the name is not the digest of.
        let other = seal(&key(1), [8; 12], &name, b"other");
        assert_eq!(fault(&key(1), &name, &other), Some(NotOpened::NotContent));
    }

    #[test]
    fn a_file_that_is_cut_or_changed_anywhere_does_not_open() {
        let (content, name) = pair().encode();
        let sealed = seal(&key(1), [7; 12], &name, &content);
        for at in 0..sealed.len() {
            assert!(open(&key(1), &name, &sealed[..at]).is_err(), "cut at {at}");
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&key(1), &name, &changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn content_that_is_cut_or_too_long_is_none() {
        let (content, _) = pair().encode();
        assert!(ChainAndKey::decode(&content).unwrap() == pair());
        for at in 0..content.len() {
            assert!(ChainAndKey::decode(&content[..at]).is_none(), "cut at {at}");
        }
        let longer = [&content[..], b"x"].concat();
        assert!(ChainAndKey::decode(&longer).is_none());
    }

    #[test]
    fn a_key_is_what_its_file_says() {
        let text = key(0xa5).to_file();
        assert_eq!(*text, "a5".repeat(32) + "\n");
        let read = HostKey::of_file(text.as_bytes()).unwrap();
        assert_eq!(*read.0, [0xa5; 32]);
        assert!(HostKey::of_file(b"").is_none() && HostKey::of_file(&[b'a'; 63]).is_none());
    }

    /// A file of an earlier version: what was sealed must open for as long as the format is this.
    #[test]
    fn the_format_stays() {
        let (content, name) = pair().encode();
        let sealed = seal(&key(1), [7; 12], &name, &content);
        assert_eq!(
            name.to_string(),
            "b3b397e061a6921225ca1b89fa484adc8385abc11ecbbd23539617abf3e9f838"
        );
        assert_eq!(
            digest_of(&sealed).to_string(),
            "93e8342c515d18229d97b3dfe81598fc025c87d82b303b66167b9ed054c0f382"
        );
    }
}
