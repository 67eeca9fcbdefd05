//! Counters in memory that outlives the process: a file that is mapped piece by piece.
//!
//! A [`CounterFile`] only grows. Each piece has its room on the disk before it is mapped, since
//! the first store to a page without any would be a SIGBUS, and stays mapped at its place for as
//! long as anybody holds a share of it. All that is ever done to it is to load and store atomic
//! words, so any thread may read what one writes.

use memmap2::{MmapMut, MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Length of a word, in bytes.
const WORD_BYTES: usize = size_of::<AtomicU64>();

// What is stored as a number is read from the file as little-endian bytes.
const _: () = assert!(cfg!(target_endian = "little"));

/// See the module.
#[derive(Debug)]
pub struct CounterFile {
    file: File,
    bytes: u64,
}

impl CounterFile {
    /// Makes the file at `path`, which may not be there yet, mode 0600, with `header` at its
    /// beginning, and maps that. Fails when the disk is full; the file is gone then.
    pub fn create(path: &Path, header: &[u8]) -> io::Result<(CounterFile, CounterSegment)> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut counter_file = CounterFile { file, bytes: 0 };
        let mapped = counter_file.grow(header.len()).and_then(|segment| {
            counter_file.file.write_all_at(header, 0)?;
            Ok(segment)
        });
        match mapped {
            Ok(segment) => Ok((counter_file, segment)),
            Err(error) => {
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// Adds `bytes` zeroes, at least a word, to the end of the file and maps them. On an error (a
    /// full disk) the file is as it was.
    pub fn grow(&mut self, bytes: usize) -> io::Result<CounterSegment> {
        let segment = self.allocate(bytes).and_then(|()| {
            let mapped = MmapOptions::new()
                .offset(self.bytes)
                .len(bytes)
                .map_raw(&self.file)?;
            Ok(CounterSegment::new(mapped))
        });
        match segment {
            Ok(segment) => {
                self.bytes += bytes as u64;
                Ok(segment)
            }
            Err(error) => {
                // Nothing beyond was ever mapped.
                let _ = self.file.set_len(self.bytes);
                Err(error)
            }
        }
    }

    fn allocate(&self, bytes: usize) -> io::Result<()> {
        let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let offset = libc::off_t::try_from(self.bytes).map_err(too_large)?;
        let length = libc::off_t::try_from(bytes).map_err(too_large)?;
        loop {
            // SAFETY: posix_fallocate takes integers, and the descriptor is open.
            match unsafe { libc::posix_fallocate(self.file.as_raw_fd(), offset, length) } {
                0 => return Ok(()),
                libc::EINTR => {}
                errno => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}

/// Mapped words: a piece of a [`CounterFile`], or memory alone. Cloning shares it.
#[derive(Debug, Clone)]
pub struct CounterSegment {
    memory: Arc<MmapRaw>,
}

impl CounterSegment {
    fn new(mapped: MmapRaw) -> CounterSegment {
        // Offsets are whole words and mappings begin at whole pages.
        assert!(mapped.as_ptr().cast::<AtomicU64>().is_aligned());
        CounterSegment {
            memory: Arc::new(mapped),
        }
    }

    /// `bytes` zeroes of memory that ends with the process.
    pub fn anonymous(bytes: usize) -> io::Result<CounterSegment> {
        let mapped: MmapMut = MmapOptions::new().len(bytes).map_anon()?;
        Ok(CounterSegment::new(mapped.into()))
    }

    /// All of its words.
    pub fn words(&self) -> &[AtomicU64] {
        let first = self.memory.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: the mapping is aligned, as long as this, initialised (a file's bytes or zeroes)
        // and there while `self.memory` is. Its room on the disk was allocated before it was
        // mapped, and nobody makes the file shorter. Every access in this process is atomic;
        // other processes only read.
        unsafe { std::slice::from_raw_parts(first, self.memory.len() / WORD_BYTES) }
    }

    /// The `WORDS` words from word `at` on; panics where there are not as many.
    pub fn share<const WORDS: usize>(&self, at: usize) -> CounterWords<WORDS> {
        let words: &[AtomicU64; WORDS] = self.words()[at..at + WORDS]
            .try_into()
            .expect("a slice of this length");
        CounterWords {
            words: NonNull::from(words),
            _memory: Arc::clone(&self.memory),
        }
    }
}

/// A share of a [`CounterSegment`] that is held by itself: to reach a word is to follow one
/// pointer.
#[derive(Debug, Clone)]
pub struct CounterWords<const WORDS: usize> {
    words: NonNull<[AtomicU64; WORDS]>,
    _memory: Arc<MmapRaw>,
}

// SAFETY: it is a shared reference to atomics with a share of the memory that they stand in; both
// may go to any thread and be used by several.
unsafe impl<const WORDS: usize> Send for CounterWords<WORDS> {}
// SAFETY: as above.
unsafe impl<const WORDS: usize> Sync for CounterWords<WORDS> {}

impl<const WORDS: usize> Deref for CounterWords<WORDS> {
    type Target = [AtomicU64; WORDS];

    fn deref(&self) -> &[AtomicU64; WORDS] {
        // SAFETY: the pointer was made from a reference into the mapping, which is there while
        // `self._memory` is and at the same place.
        unsafe { self.words.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn what_is_stored_is_in_the_file_at_once_and_stays_after_all_shares_are_gone() {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("w0");
        let (mut file, header) =
            CounterFile::create(&path, &7_u64.to_le_bytes().repeat(512)).expect("there is room");
        assert_eq!(header.words().len(), 512);
        header.words()[6].store(99, Ordering::Relaxed);
        let first = file.grow(64 * 1024).expect("there is room");
        let second = file.grow(128 * 1024).expect("there is room");
        let share = second.share::<64>(64);
        share[63].store(u64::MAX, Ordering::Relaxed);
        drop((first, second));
        let word = |bytes: &[u8], at: usize| {
            u64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().expect("8 bytes"))
        };
        let bytes = std::fs::read(&path).expect("it is there");
        assert_eq!(bytes.len(), 4096 + 192 * 1024);
        assert_eq!((word(&bytes, 0), word(&bytes, 6)), (7, 99));
        let at = (4096 + 64 * 1024) / 8 + 127;
        assert_eq!((word(&bytes, at), word(&bytes, at + 1)), (u64::MAX, 0));
        share[63].store(1, Ordering::Relaxed);
        drop((share, file, header));
        assert_eq!(word(&std::fs::read(&path).expect("it is there"), at), 1);
    }

    #[test]
    fn a_file_is_never_taken_over() {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("w0");
        std::fs::write(&path, "counts").expect("there is room");
        let error = CounterFile::create(&path, &[0; 4096]).expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).expect("it is there"), b"counts");
    }

    #[test]
    fn memory_alone_is_used_in_the_same_way() {
        let segment = CounterSegment::anonymous(1024).expect("there is memory");
        let share = segment.share::<64>(64);
        share[0].store(3, Ordering::Relaxed);
        assert_eq!(segment.words()[64].load(Ordering::Relaxed), 3);
        assert!(std::panic::catch_unwind(|| segment.share::<64>(65)).is_err());
    }

    /// A file system without room: what does not fit is an error, and what was there is as it was.
    #[test]
    fn a_full_disk_is_an_error_and_no_signal() {
        let directory = tempfile::tempdir().expect("there is room");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"])
            .arg(directory.path())
            .output();
        if !mounted.is_ok_and(|it| it.status.success()) {
            eprintln!("SKIPPED: mounting a file system takes root");
            return;
        }
        let grown = std::panic::catch_unwind(|| {
            let path = directory.path().join("w0");
            let (mut file, _header) =
                CounterFile::create(&path, &[1; 4096]).expect("there is room");
            let segment = file.grow(64 * 1024).expect("there is room");
            let error = file.grow(128 * 1024).expect_err("there is none");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            let bytes = std::fs::metadata(&path).expect("it is there").len();
            assert_eq!(bytes, 4096 + 64 * 1024);
            for word in segment.words() {
                word.store(1, Ordering::Relaxed);
            }
            file.grow(4096).expect("there is room for less");
            let other = directory.path().join("w1");
            let error = CounterFile::create(&other, &[1; 128 * 1024]).expect_err("there is none");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(!other.exists());
        });
        let unmounted = std::process::Command::new("umount")
            .arg(directory.path())
            .status();
        assert!(unmounted.is_ok_and(|it| it.success()));
        grown.expect("what was asserted above");
    }
}
