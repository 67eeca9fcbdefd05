//! Lines that somebody sends, of which nothing stays in memory once they were read: there may be keys
//! in them.

use std::io::{self, ErrorKind, Read};

use zeroize::Zeroizing;

/// What is read at a time at least, in bytes.
const ROOM_BYTES: usize = 64 * 1024;

/// And at most: it is filled with zeros first.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// Lines of a stream.
pub(crate) struct Lines<R> {
    stream: R,
    /// The longest line, in bytes.
    line_bytes_max: usize,
    /// What was read and not given yet.
    bytes: Zeroizing<Vec<u8>>,
    /// So much of it has no end of a line.
    looked: usize,
}

impl<R: Read> Lines<R> {
    /// Lines of at most `line_bytes_max`.
    pub(crate) fn new(stream: R, line_bytes_max: usize) -> Lines<R> {
        Lines {
            stream,
            line_bytes_max,
            bytes: Zeroizing::default(),
            looked: 0,
        }
    }

    /// The next line without its end; none when there is no whole one, or it is longer than any
    /// may be.
    ///
    /// # Errors
    /// Those of the stream.
    pub(crate) fn next(&mut self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        loop {
            let new = &self.bytes[self.looked..];
            if let Some(at) = new.iter().position(|&byte| byte == b'\n') {
                let end = self.looked + at;
                let rest = Zeroizing::new(self.bytes[end + 1..].to_vec());
                let mut line = std::mem::replace(&mut self.bytes, rest);
                line.truncate(end);
                self.looked = 0;
                return Ok(Some(line));
            }
            self.looked = self.bytes.len();
            if self.looked > self.line_bytes_max {
                return Ok(None);
            }
            self.make_room();
            let room = (self.bytes.capacity() - self.looked).min(READ_BYTES_MAX);
            self.bytes.resize(self.looked + room, 0);
            let read = self.stream.read(&mut self.bytes[self.looked..]);
            let count = *read.as_ref().unwrap_or(&0);
            self.bytes.truncate(self.looked + count);
            match read {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// By hand: a vector that grows leaves what it held where it was.
    fn make_room(&mut self) {
        if self.bytes.capacity() - self.bytes.len() >= ROOM_BYTES {
            return;
        }
        let mut larger = Zeroizing::new(Vec::with_capacity(2 * self.bytes.len() + ROOM_BYTES));
        larger.extend_from_slice(&self.bytes);
        self.bytes = larger;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(to.len()).min(self.0.len());
            to[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn lines_are_what_they_are_however_they_come() {
        let long = "a".repeat(300_000);
        let text = format!("one\n\n{long}\ntwo\ncut");
        for at_once in [1, 3, 70_000, usize::MAX] {
            let mut lines = Lines::new(Slow(text.as_bytes(), at_once), 400_000);
            for expected in ["one", "", &long, "two"] {
                let line = lines.next().unwrap().expect("a line");
                assert_eq!(line.len(), expected.len(), "{at_once} at once");
                assert!(*line == expected.as_bytes(), "{at_once} at once");
            }
            assert!(lines.next().unwrap().is_none());
        }
        let mut lines = Lines::new(Slow(long.as_bytes(), 4096), 100_000);
        assert!(lines.next().unwrap().is_none(), "nobody waits for its end");
    }
}
