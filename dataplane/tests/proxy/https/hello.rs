//! Messages of a client, made by hand.

pub(super) const SERVER_NAME: u16 = 0;
pub(super) const GROUPS: u16 = 10;
pub(super) const SIGNATURES: u16 = 13;
pub(super) const PRE_SHARED_KEY: u16 = 41;
pub(super) const EARLY_DATA: u16 = 42;
pub(super) const VERSIONS: u16 = 43;
pub(super) const PSK_MODES: u16 = 45;
pub(super) const KEY_SHARE: u16 = 51;

/// A ClientHello (RFC 8446 §4.1.2).
#[derive(Clone)]
pub(super) struct Hello {
    pub(super) version: u16,
    pub(super) suites: Vec<u16>,
    pub(super) compressions: Vec<u8>,
    pub(super) extensions: Vec<(u16, Vec<u8>)>,
}

/// With its length in front, in so many bytes.
pub(super) fn counted(length_bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    [&length[4 - length_bytes..], content].concat()
}

pub(super) fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

pub(super) fn server_name(name: &[u8]) -> Vec<u8> {
    counted(2, &[&[0][..], &counted(2, name)].concat())
}

pub(super) fn key_share(group: u16, share: &[u8]) -> Vec<u8> {
    counted(2, &[words(&[group]), counted(2, share)].concat())
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &counted(3, body)].concat()
}

pub(super) fn record(kind: u8, fragment: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &counted(2, fragment)].concat()
}

/// A message of a handshake in a record of its own.
pub(super) fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    record(22, &message(kind, body))
}

impl Hello {
    /// One that is good for both versions.
    pub(super) fn good() -> Hello {
        Hello {
            version: 0x0303,
            suites: vec![0x1301, 0xc02b],
            compressions: vec![0],
            extensions: vec![
                (SERVER_NAME, server_name(b"shop.test")),
                (GROUPS, counted(2, &words(&[29, 23]))),
                (SIGNATURES, counted(2, &words(&[0x0403]))),
                (VERSIONS, counted(1, &words(&[0x0304, 0x0303]))),
                (KEY_SHARE, key_share(29, &[9; 32])),
            ],
        }
    }

    /// One that is good for TLS 1.2.
    pub(super) fn older() -> Hello {
        Hello::good().without(VERSIONS).without(KEY_SHARE)
    }

    pub(super) fn without(mut self, kind: u16) -> Hello {
        self.extensions.retain(|(other, _)| *other != kind);
        self
    }

    pub(super) fn with(self, kind: u16, content: Vec<u8>) -> Hello {
        let mut hello = self.without(kind);
        hello.extensions.push((kind, content));
        hello
    }

    /// One more, whatever there is.
    pub(super) fn and(mut self, kind: u16, content: Vec<u8>) -> Hello {
        self.extensions.push((kind, content));
        self
    }

    pub(super) fn changed(mut self, change: impl FnOnce(&mut Hello)) -> Hello {
        change(&mut self);
        self
    }

    pub(super) fn body(&self) -> Vec<u8> {
        let extensions: Vec<u8> = (self.extensions.iter())
            .flat_map(|(kind, content)| [words(&[*kind]), counted(2, content)].concat())
            .collect();
        [
            words(&[self.version]),
            vec![7; 32],
            counted(1, &[5; 32]),
            counted(2, &words(&self.suites)),
            counted(1, &self.compressions),
            counted(2, &extensions),
        ]
        .concat()
    }

    pub(super) fn record(&self) -> Vec<u8> {
        handshake(1, &self.body())
    }
}
