//! DNS cookies (RFC 7873) with the server cookies of RFC 9018, which every host of a fleet makes
//! and takes alike.
//!
//! The key of a server cookie is derived from the fleet's secret and the day of the cookie's
//! timestamp. So it rolls over by itself, on every host at once, and a cookie of yesterday evening
//! still tells by which key it was made.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::net::IpAddr;

/// What keys for cookies are derived from the secret with. Other keys have other words.
const PURPOSE: &[u8] = b"meridian dns cookie 1";

/// How long a key is used for new cookies, in seconds.
const KEY_S: u32 = 24 * 60 * 60;

/// Older cookies are not taken (RFC 9018 §4.3), in seconds.
const AGE_S_MAX: i32 = 60 * 60;

/// Cookies from further ahead are not taken (RFC 9018 §4.3), in seconds.
const AHEAD_S_MAX: i32 = 5 * 60;

/// Older cookies are taken and followed by a new one (RFC 9018 §4.3), in seconds.
const RENEWAL_S: i32 = 30 * 60;

/// Octets of a client cookie, of a server cookie of ours, and of both.
const CLIENT_BYTES: usize = 8;
const SERVER_BYTES: usize = 16;
/// Of these, what stands before the hash.
const HEAD_BYTES: usize = 8;
pub(crate) const COOKIE_BYTES: usize = CLIENT_BYTES + SERVER_BYTES;

/// Octets of the longest server cookie (RFC 7873 §4).
const SERVER_BYTES_MAX: usize = 32;

/// The cookie of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cookie {
    client: [u8; CLIENT_BYTES],
    server: [u8; SERVER_BYTES_MAX],
    /// 0: the client has none yet.
    server_bytes: u8,
}

impl Cookie {
    /// Reads an option's data. `None` when it is malformed (RFC 7873 §5.2.2): FORMERR.
    pub(crate) fn parse(data: &[u8]) -> Option<Cookie> {
        let (client, server) = data.split_first_chunk()?;
        if !matches!(server.len(), 0 | 8..=SERVER_BYTES_MAX) {
            return None;
        }
        let mut cookie = Cookie {
            client: *client,
            server: [0; SERVER_BYTES_MAX],
            server_bytes: server.len() as u8,
        };
        cookie.server[..server.len()].copy_from_slice(server);
        Some(cookie)
    }

    /// Whether the client shows a server cookie, right or wrong.
    pub(crate) fn has_server_part(&self) -> bool {
        self.server_bytes > 0
    }
}

/// Keys of server cookies by their day, for the days around the present one.
#[derive(Clone)]
pub(crate) struct CookieKeys {
    secret: Hmac<Sha256>,
    /// The day of the second key.
    day: u32,
    /// Of the day before, of the day and of the one after.
    keys: [[u8; 16]; 3],
}

impl std::fmt::Debug for CookieKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieKeys")
    }
}

/// What there is to say of a query's cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The client was at its address when it got the server cookie that it shows.
    pub(crate) is_valid: bool,
    /// What it is given: its own cookie and one of ours.
    pub(crate) reply: [u8; COOKIE_BYTES],
}

impl CookieKeys {
    /// Keys of the fleet with this secret, for about the time `now_s` (Unix, in seconds).
    pub(crate) fn new(secret: &[u8], now_s: u32) -> CookieKeys {
        let derived = keyed(secret).chain_update(PURPOSE).finalize();
        let secret = keyed(&derived.into_bytes());
        CookieKeys::of(secret, now_s / KEY_S)
    }

    /// The same keys when the day has changed.
    pub(crate) fn at(&self, now_s: u32) -> Option<CookieKeys> {
        let day = now_s / KEY_S;
        (day != self.day).then(|| CookieKeys::of(self.secret.clone(), day))
    }

    fn of(secret: Hmac<Sha256>, day: u32) -> CookieKeys {
        let key = |day: u32| {
            let made = secret.clone().chain_update(day.to_be_bytes()).finalize();
            let mut key = [0; 16];
            key.copy_from_slice(&made.into_bytes()[..16]);
            key
        };
        CookieKeys {
            day,
            keys: [
                key(day.saturating_sub(1)),
                key(day),
                key(day.saturating_add(1)),
            ],
            secret,
        }
    }

    /// Looks at the cookie of a client at `address`, now (Unix, in seconds).
    pub(crate) fn verdict(&self, cookie: &Cookie, address: IpAddr, now_s: u32) -> Verdict {
        let shown = &cookie.server[..usize::from(cookie.server_bytes)];
        let age_s = self.age_if_valid(&cookie.client, shown, address, now_s);
        let mut reply = [0; COOKIE_BYTES];
        reply[..CLIENT_BYTES].copy_from_slice(&cookie.client);
        match age_s {
            // It stays what it is for a while: what a client keeps changes seldom.
            Some(age_s) if age_s <= RENEWAL_S => reply[CLIENT_BYTES..].copy_from_slice(shown),
            _ => {
                let server = self.new_cookie(&cookie.client, now_s, address);
                reply[CLIENT_BYTES..].copy_from_slice(&server);
            }
        }
        Verdict {
            is_valid: age_s.is_some(),
            reply,
        }
    }

    fn age_if_valid(
        &self,
        client: &[u8; CLIENT_BYTES],
        shown: &[u8],
        address: IpAddr,
        now_s: u32,
    ) -> Option<i32> {
        let shown: &[u8; SERVER_BYTES] = shown.try_into().ok()?;
        // What the reserved octets hold is hashed, whatever it is (RFC 9018 §4.2).
        let (&head, _) = shown.split_first_chunk::<HEAD_BYTES>()?;
        let [1, _, _, _, a, b, c, d] = head else {
            return None;
        };
        // Serial number arithmetic (RFC 1982), as RFC 9018 §4.3 wants it.
        let age_s = now_s.wrapping_sub(u32::from_be_bytes([a, b, c, d])) as i32;
        let is_in_time = (-AHEAD_S_MAX..=AGE_S_MAX).contains(&age_s);
        let made = self.server_cookie(client, head, address);
        // In constant time: a cookie must not be found out octet by octet.
        let differs = made.iter().zip(shown).fold(0, |all, (a, b)| all | (a ^ b));
        (is_in_time && std::hint::black_box(differs) == 0).then_some(age_s)
    }

    fn new_cookie(
        &self,
        client: &[u8; CLIENT_BYTES],
        now_s: u32,
        address: IpAddr,
    ) -> [u8; SERVER_BYTES] {
        let mut head = [1, 0, 0, 0, 0, 0, 0, 0];
        head[4..].copy_from_slice(&now_s.to_be_bytes());
        self.server_cookie(client, head, address)
    }

    /// RFC 9018 §4: version, reserved octets and timestamp, and a hash over these with the
    /// client's cookie and address.
    fn server_cookie(
        &self,
        client: &[u8; CLIENT_BYTES],
        head: [u8; HEAD_BYTES],
        address: IpAddr,
    ) -> [u8; SERVER_BYTES] {
        let [.., a, b, c, d] = head;
        let mut hash = SipHasher24::new_with_key(self.key_of(u32::from_be_bytes([a, b, c, d])));
        hash.write(client);
        hash.write(&head);
        match address {
            IpAddr::V4(address) => hash.write(&address.octets()),
            IpAddr::V6(address) => hash.write(&address.octets()),
        }
        let mut cookie = [0; SERVER_BYTES];
        cookie[..HEAD_BYTES].copy_from_slice(&head);
        cookie[HEAD_BYTES..].copy_from_slice(&hash.finish().to_le_bytes());
        cookie
    }

    /// What is further away than a day is not taken, whatever it is compared with.
    fn key_of(&self, made_s: u32) -> &[u8; 16] {
        match (made_s / KEY_S).cmp(&self.day) {
            std::cmp::Ordering::Less => &self.keys[0],
            std::cmp::Ordering::Equal => &self.keys[1],
            std::cmp::Ordering::Greater => &self.keys[2],
        }
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW_S: u32 = 1_800_000_000;

    fn octets(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    fn with_key(key: &str) -> CookieKeys {
        let mut keys = CookieKeys::new(SECRET, NOW_S);
        let key: [u8; 16] = octets(key).try_into().expect("16 octets");
        keys.keys = [key; 3];
        keys
    }

    /// RFC 9018 Appendix A.
    #[test]
    fn the_vectors_of_the_rfc() {
        let keys = with_key("e5e973e5a6b2a43f48e7dc849e37bfcf");
        let client = Cookie::parse(&octets("2464c4abcf10c957")).expect("a cookie");
        let address = "198.51.100.100".parse().expect("an address");
        let learned = keys.verdict(&client, address, 1_559_731_985);
        let expected = octets("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        assert_eq!(
            (learned.is_valid, &learned.reply[..]),
            (false, &expected[..])
        );
        // A.2: the same client comes back, and is given a new one.
        let shown = Cookie::parse(&learned.reply).expect("a cookie");
        let renewed = keys.verdict(&shown, address, 1_559_734_385);
        let expected = octets("2464c4abcf10c957010000005cf7a871d4a564a1442aca77");
        assert_eq!(
            (renewed.is_valid, &renewed.reply[..]),
            (true, &expected[..])
        );
        // A.3: something in the reserved octets; the time says more than the text of the RFC.
        let shown = octets("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let shown = Cookie::parse(&shown).expect("a cookie");
        let address = "203.0.113.203".parse().expect("an address");
        assert!(keys.verdict(&shown, address, 1_559_728_000).is_valid);
        let late = keys.verdict(&shown, address, 1_559_734_700);
        let expected = octets("fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e");
        assert_eq!((late.is_valid, &late.reply[..]), (false, &expected[..]));
        // A.4: IPv6, with the reply of a rolled over secret.
        let keys = with_key("445536bcd2513298075a5d379663c962");
        let client = Cookie::parse(&octets("22681ab97d52c298")).expect("a cookie");
        let address = "2001:db8:220:1:59de:d0f4:8769:82b8"
            .parse()
            .expect("an address");
        let made = keys.verdict(&client, address, 1_559_741_961);
        let expected = octets("22681ab97d52c298010000005cf7c609a6bb79d16625507a");
        assert_eq!(&made.reply[..], &expected[..]);
    }

    #[test]
    fn lengths_are_those_of_the_rfc() {
        for length in 0..=64 {
            let parsed = Cookie::parse(&vec![7; length]);
            assert_eq!(
                parsed.is_some(),
                length == 8 || (16..=40).contains(&length),
                "{length}"
            );
            assert_eq!(
                parsed.is_some_and(|it| it.has_server_part()),
                (16..=40).contains(&length)
            );
        }
    }

    fn shown_at(keys: &CookieKeys, made_s: u32, now_s: u32) -> Verdict {
        let address = "2001:db8::1".parse().expect("an address");
        let client = Cookie::parse(b"visitors").expect("a cookie");
        let given = keys.verdict(&client, address, made_s).reply;
        let shown = Cookie::parse(&given).expect("a cookie");
        keys.at(now_s)
            .as_ref()
            .unwrap_or(keys)
            .verdict(&shown, address, now_s)
    }

    #[test]
    fn a_cookie_is_taken_for_an_hour_and_renewed_after_half_of_it() {
        let keys = CookieKeys::new(SECRET, NOW_S);
        for (age_s, is_valid, is_kept) in [
            (0, true, true),
            (1800, true, true),
            (1801, true, false),
            (3600, true, false),
            (3601, false, false),
            (-300, true, true),
            (-301, false, false),
        ] {
            let now_s = NOW_S.wrapping_add_signed(age_s);
            let verdict = shown_at(&keys, NOW_S, now_s);
            assert_eq!(verdict.is_valid, is_valid, "{age_s}");
            let stamp = u32::from_be_bytes(verdict.reply[12..16].try_into().expect("four"));
            assert_eq!(
                stamp == NOW_S && age_s != 0,
                is_kept && age_s != 0,
                "{age_s}"
            );
        }
    }

    #[test]
    fn keys_roll_over_at_midnight_and_old_cookies_stay_good() {
        let midnight_s = NOW_S / KEY_S * KEY_S;
        let evening = CookieKeys::new(SECRET, midnight_s - 60);
        let verdict = shown_at(&evening, midnight_s - 60, midnight_s + 60);
        assert!(verdict.is_valid);
        // A host whose clock is behind takes what one ahead of it made by the next day's key.
        let ahead = CookieKeys::new(SECRET, midnight_s + 60);
        let behind = CookieKeys::new(SECRET, midnight_s - 60);
        let address = "192.0.2.1".parse().expect("an address");
        let client = Cookie::parse(b"visitors").expect("a cookie");
        let given = ahead.verdict(&client, address, midnight_s + 60).reply;
        let shown = Cookie::parse(&given).expect("a cookie");
        assert!(behind.verdict(&shown, address, midnight_s - 60).is_valid);
        assert_ne!(evening.keys[1], ahead.keys[1]);
    }

    #[test]
    fn a_cookie_is_worth_nothing_elsewhere() {
        let keys = CookieKeys::new(SECRET, NOW_S);
        let address = "192.0.2.1".parse().expect("an address");
        let client = Cookie::parse(b"visitors").expect("a cookie");
        let given = keys.verdict(&client, address, NOW_S).reply;
        let taken = |keys: &CookieKeys, octets: &[u8], address: &str| {
            let shown = Cookie::parse(octets).expect("a cookie");
            keys.verdict(&shown, address.parse().expect("an address"), NOW_S)
                .is_valid
        };
        assert!(taken(&keys, &given, "192.0.2.1"));
        assert!(!taken(&keys, &given, "192.0.2.2"));
        let others = CookieKeys::new(b"another secret of thirty-two bytes", NOW_S);
        assert!(!taken(&others, &given, "192.0.2.1"));
        for at in 0..given.len() {
            let mut changed = given;
            changed[at] ^= 1;
            assert!(!taken(&keys, &changed, "192.0.2.1"), "octet {at}");
        }
        // Of another length it is not one of ours.
        assert!(!taken(&keys, &given[..16], "192.0.2.1"));
    }
}
