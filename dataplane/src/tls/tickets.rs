//! Tickets by which a client resumes a session (RFC 5077, RFC 8446 §4.6.1), without anything being
//! kept of it here.
//!
//! A ticket is what the client needs to have back, sealed with a key of its site. Keys come from the
//! fleet's secret, the site's names and the time, of which each stretch of [`TICKET_KEY_S`] has one:
//! every host takes what another gave, a restart changes nothing, and what one site gave is worth
//! nothing at another. A key gives tickets for one stretch and takes them for two, and one stretch
//! before its own for hosts whose clocks are behind.
//!
//! ```text
//! stretch        4 bytes, the highest first; the associated data
//! nonce         12 bytes, random
//! AES-256-GCM of the content, with its tag
//! ```
//!
//! With TLS 1.3 a resumed session has keys of its own, which a ticket does not tell. With TLS 1.2 it
//! does, to whoever has the secret: docs/decisions/0042-session-tickets.md.

use arc_swap::ArcSwapOption;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use hmac::{Hmac, KeyInit, Mac};
use meridian_model::limits::TICKET_KEY_S;
use meridian_sys::process::random_bytes;
use rustls::server::ProducesTickets;
use sha2::Sha256;
use std::sync::Arc;
use std::time::SystemTime;
use zeroize::Zeroizing;

/// What the keys are derived from the secret with. Other keys have other words.
const PURPOSE: &[u8] = b"meridian session tickets 1";
/// Bytes that say which stretch it is.
const STRETCH_BYTES: usize = 4;

/// What the keys of all sites come from.
#[derive(Clone)]
pub(crate) struct TicketSecret(Zeroizing<[u8; 32]>);

/// Makes and reads the tickets of one site.
pub(super) struct SiteTickets {
    /// What the keys of all stretches come from.
    secret: Zeroizing<[u8; 32]>,
    /// Those of the stretch that it was when they were last asked for.
    keys: ArcSwapOption<Keys>,
}

struct Keys {
    stretch: u32,
    own: LessSafeKey,
    /// Of the one before.
    previous: LessSafeKey,
}

impl TicketSecret {
    /// By the secret of the fleet.
    pub(crate) fn of_secret(secret: &[u8]) -> TicketSecret {
        TicketSecret(hash(secret, &[PURPOSE]))
    }

    /// The tickets of a site, which is known by its names on every host.
    pub(super) fn of_site(&self, tenant: &str, site: &str) -> SiteTickets {
        // Names hold no zero: where one ends is plain.
        let parts = [tenant.as_bytes(), &[0], site.as_bytes(), &[0]];
        SiteTickets {
            secret: hash(&*self.0, &parts),
            keys: ArcSwapOption::empty(),
        }
    }
}

impl std::fmt::Debug for TicketSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TicketSecret")
    }
}

impl std::fmt::Debug for SiteTickets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SiteTickets")
    }
}

impl SiteTickets {
    fn key_of(&self, stretch: u32) -> LessSafeKey {
        let bits = hash(&*self.secret, &[&stretch.to_be_bytes()]);
        let key = UnboundKey::new(&AES_256_GCM, &*bits);
        LessSafeKey::new(key.expect("a key of 256 bits"))
    }

    fn keys(&self, stretch: u32) -> Arc<Keys> {
        match self.keys.load_full() {
            Some(keys) if keys.stretch == stretch => keys,
            _ => {
                let keys = Arc::new(Keys {
                    stretch,
                    own: self.key_of(stretch),
                    previous: self.key_of(stretch.wrapping_sub(1)),
                });
                self.keys.store(Some(Arc::clone(&keys)));
                keys
            }
        }
    }

    fn seal(&self, content: &[u8], stretch: u32) -> Option<Vec<u8>> {
        let keys = self.keys(stretch);
        let nonce: [u8; NONCE_LEN] = random_bytes().ok()?;
        let stretch = stretch.to_be_bytes();
        let mut ticket = Vec::with_capacity(STRETCH_BYTES + NONCE_LEN + content.len() + 16);
        ticket.extend_from_slice(&stretch);
        ticket.extend_from_slice(&nonce);
        let begin = ticket.len();
        ticket.extend_from_slice(content);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = &mut ticket[begin..];
        let tag = (keys.own).seal_in_place_separate_tag(nonce, Aad::from(stretch), sealed);
        ticket.extend_from_slice(tag.ok()?.as_ref());
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], now: u32) -> Option<Vec<u8>> {
        let (stretch, rest) = ticket.split_first_chunk::<STRETCH_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut content = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let of = u32::from_be_bytes(*stretch);
        let keys = self.keys(now);
        let ahead;
        let key = match of {
            _ if of == now => &keys.own,
            _ if of.wrapping_add(1) == now => &keys.previous,
            _ if of == now.wrapping_add(1) => {
                ahead = self.key_of(of);
                &ahead
            }
            _ => return None,
        };
        let opened = key.open_in_place(nonce, Aad::from(*stretch), &mut content);
        opened.ok().map(|content| content.to_vec())
    }
}

impl ProducesTickets for SiteTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // It holds for that long at least, whenever it was given.
        TICKET_KEY_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, stretch_now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, stretch_now())
    }
}

fn stretch_now() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        (since.as_secs() / u64::from(TICKET_KEY_S)) as u32
    })
}

fn hash(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut hash = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| hash.update(part));
    Zeroizing::new(hash.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret that the whole fleet shares, and nobody else";
    const CONTENT: &[u8] = b"what the client is to have back";

    fn tickets(secret: &[u8], tenant: &str, site: &str) -> SiteTickets {
        TicketSecret::of_secret(secret).of_site(tenant, site)
    }

    #[test]
    fn every_host_takes_a_ticket_for_two_stretches_and_one_ahead() {
        let ticket = tickets(SECRET, "acme", "shop").seal(CONTENT, 100).unwrap();
        let other_host = tickets(SECRET, "acme", "shop");
        for (now, holds) in [
            (98, false),
            (99, true),
            (100, true),
            (101, true),
            (102, false),
        ] {
            let opened = other_host.open(&ticket, now);
            assert_eq!(opened.as_deref(), holds.then_some(CONTENT), "in {now}");
        }
        assert!(!ticket.windows(4).any(|bytes| bytes == &CONTENT[..4]));
    }

    #[test]
    fn no_other_site_and_no_other_fleet_takes_it() {
        let ticket = tickets(SECRET, "acme", "shop").seal(CONTENT, 100).unwrap();
        for other in [
            tickets(SECRET, "acme", "shop2"),
            tickets(SECRET, "acm", "eshop"),
            tickets(SECRET, "shop", "acme"),
            tickets(
                b"the secret of some other fleet than this one",
                "acme",
                "shop",
            ),
        ] {
            assert_eq!(other.open(&ticket, 100), None);
        }
    }

    #[test]
    fn a_ticket_that_was_cut_or_changed_anywhere_is_none() {
        let tickets = tickets(SECRET, "acme", "shop");
        let ticket = tickets.seal(CONTENT, 100).unwrap();
        for at in 0..ticket.len() {
            assert_eq!(tickets.open(&ticket[..at], 100), None, "cut at {at}");
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.open(&changed, 100), None, "changed at {at}");
        }
        assert_ne!(ticket, tickets.seal(CONTENT, 100).unwrap());
    }
}
