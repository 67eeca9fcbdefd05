//! What a submission carries so that its completion is understood: the kind of operation, the
//! slot it belongs to and the generation of that slot.
//!
//! A slot is given out again only when none of its operations is under way, so a stale
//! completion cannot happen by construction; the generation is there to show it if it does.

/// The kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    /// A completion nobody waits for: the close of a socket, the cancel of a listener's accept.
    Forget = 0,
    Accept = 1,
    Recv = 2,
    Send = 3,
    Connect = 4,
    Notified = 5,
    /// The kernel refused to cancel an operation of this socket.
    Cancel = 6,
    /// A UDP socket has datagrams.
    Readable = 7,
}

const GENERATION_BITS: u32 = 24;
/// Generations wrap at this value.
pub(crate) const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// A packed `user_data` value: 8 bits of kind, 24 of generation, 32 of index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) op: Op,
    pub(crate) generation: u32,
    pub(crate) index: u32,
}

impl Token {
    pub(crate) fn pack(self) -> u64 {
        (self.op as u64) << 56
            | u64::from(self.generation & GENERATION_MASK) << 32
            | u64::from(self.index)
    }

    pub(crate) fn unpack(bits: u64) -> Token {
        let op = match bits >> 56 {
            1 => Op::Accept,
            2 => Op::Recv,
            3 => Op::Send,
            4 => Op::Connect,
            5 => Op::Notified,
            6 => Op::Cancel,
            7 => Op::Readable,
            _ => Op::Forget,
        };
        Token {
            op,
            generation: (bits >> 32) as u32 & GENERATION_MASK,
            index: bits as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_survives_the_kernel(kind in 0u8..8, generation in 0..=GENERATION_MASK, index: u32) {
            let op = [Op::Forget, Op::Accept, Op::Recv, Op::Send, Op::Connect, Op::Notified, Op::Cancel, Op::Readable][kind as usize];
            let token = Token { op, generation, index };
            prop_assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
