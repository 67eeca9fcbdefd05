//! The file of the access log: whole lines go to it, in order, none of them in two parts.
//!
//! What the file does not take (the disk is full, nobody reads the FIFO) stays here and is tried
//! again; a line of which a part was taken goes on where it stopped. Before the file is given
//! up for another one, that line is ended in it, or taken out of it again.

use meridian_sys::process::NEVER_WAIT;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long after a file could not be opened it is tried again.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Option<File>,
    /// When it could not be opened.
    refused: Option<Instant>,
    /// Lines, of which the file has the first bytes.
    lines: Vec<u8>,
    written: usize,
    fault: Option<String>,
}

impl LogFile {
    /// The file at `path`, which is opened with the first line, or before that if it can be.
    pub(super) fn new(path: &Path) -> LogFile {
        let mut file = LogFile {
            path: path.to_owned(),
            file: None,
            refused: None,
            lines: Vec::new(),
            written: 0,
            fault: None,
        };
        file.ensure_open();
        file
    }

    /// Why the last try came to nothing.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.clone()
    }

    /// Whether less than `bytes` bytes wait for the file.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.lines.len() < bytes
    }

    /// Whether the file has everything.
    pub(super) fn is_done(&self) -> bool {
        self.lines.is_empty()
    }

    /// Adds the line that `write` writes.
    pub(super) fn add_line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.lines);
        self.lines.push(b'\n');
    }

    /// Writes as much as the file takes now. Gives how many lines were ended by that.
    pub(super) fn write(&mut self) -> u64 {
        let before = self.written;
        while self.written < self.lines.len() {
            if !self.ensure_open() {
                break;
            }
            let Some(file) = &mut self.file else {
                break;
            };
            match file.write(&self.lines[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.fail(&error);
                    break;
                }
            }
        }
        let ended = lines_in(self.lines.get(before..self.written).unwrap_or_default());
        if self.written == self.lines.len() {
            self.lines.clear();
            self.written = 0;
            self.fault = None;
        }
        ended
    }

    /// Goes over to whatever has the file's name now. While that can not be opened, it stays with
    /// what it has.
    pub(super) fn reopen(&mut self) {
        match open(&self.path) {
            Ok(fresh) => {
                self.end_line();
                self.file = Some(fresh);
                self.refused = None;
                self.fault = None;
            }
            Err(error) => self.fault = Some(self.words(&error)),
        }
    }

    fn ensure_open(&mut self) -> bool {
        if self.file.is_some() {
            return true;
        }
        let early = |refused: Instant| refused.elapsed() < OPEN_AGAIN_AFTER;
        if self.refused.is_some_and(early) {
            return false;
        }
        match open(&self.path) {
            Ok(file) => {
                self.file = Some(file);
                self.refused = None;
                self.fault = None;
                true
            }
            Err(error) => {
                self.refused = Some(Instant::now());
                self.fault = Some(self.words(&error));
                false
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.fault = Some(self.words(error));
        let may_go_on = matches!(
            error.kind(),
            ErrorKind::WouldBlock | ErrorKind::StorageFull | ErrorKind::QuotaExceeded
        );
        if !may_go_on {
            self.end_line();
            self.file = None;
            self.refused = Some(Instant::now());
        }
    }

    /// Sees to it that the file that is left ends with a whole line, as far as it lets us: with the
    /// rest of a line that it has a part of, or without that part.
    fn end_line(&mut self) {
        let written = &self.lines[..self.written];
        let begun = written.iter().rposition(|&byte| byte == b'\n');
        let begun = begun.map_or(0, |end| end + 1);
        let part = self.written - begun;
        let rest = &self.lines[self.written..];
        let rest_bytes = rest.iter().position(|&byte| byte == b'\n');
        if let Some(file) = &mut self.file
            && let Some(rest_bytes) = rest_bytes
            && part > 0
        {
            match file.write(&rest[..=rest_bytes]) {
                Ok(count) if count == rest_bytes + 1 => {
                    self.written += count;
                    return;
                }
                Ok(count) => take_back(file, part + count),
                Err(_) => take_back(file, part),
            }
        }
        // All of the line goes to the next file.
        self.written = begun;
    }

    fn words(&self, error: &io::Error) -> String {
        let remedy = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room on that disk",
            ErrorKind::WouldBlock => "; whoever reads it is too slow or has stopped",
            ErrorKind::NotFound => "; make its directory",
            ErrorKind::PermissionDenied => "; let the user that runs the proxy write it",
            _ => "",
        };
        format!("{}: {error}{remedy}", self.path.display())
    }
}

/// The last bytes are taken out again, where the file is such that this can be done.
fn take_back(file: &File, bytes: usize) {
    if let Ok(about) = file.metadata()
        && about.is_file()
    {
        let _ = file.set_len(about.len().saturating_sub(bytes as u64));
    }
}

/// Opens a log to append to it. Where an earlier process died within a line, it is ended.
fn open(path: &Path) -> io::Result<File> {
    let mut file = File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(NEVER_WAIT)
        .open(path)?;
    if ends_within_a_line(path).unwrap_or(false) {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

fn ends_within_a_line(path: &Path) -> io::Result<bool> {
    if !std::fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn lines_in(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn add(file: &mut LogFile, text: &str) {
        file.add_line(|line| line.extend_from_slice(text.as_bytes()));
    }

    #[test]
    fn lines_are_appended_and_an_unfinished_one_is_ended_first() {
        let directory = tempfile::tempdir().expect("there is room for files");
        let path = directory.path().join("log");
        fs::write(&path, "one\ntw").expect("it can be written");
        let mut file = LogFile::new(&path);
        add(&mut file, "three");
        add(&mut file, "four");
        assert_eq!(file.write(), 2);
        assert!(file.is_done() && file.fault().is_none());
        let text = fs::read_to_string(&path).expect("it is there");
        assert_eq!(text, "one\ntw\nthree\nfour\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_left_for_a_fresh_one_and_no_line_is_lost() {
        let directory = tempfile::tempdir().expect("there is room for files");
        let (path, old) = (directory.path().join("log"), directory.path().join("old"));
        let mut file = LogFile::new(&path);
        add(&mut file, "one");
        file.write();
        fs::rename(&path, &old).expect("it can be moved");
        add(&mut file, "two");
        file.write();
        add(&mut file, "three");
        file.reopen();
        file.write();
        assert_eq!(fs::read_to_string(&old).expect("it is there"), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "three\n");
    }

    #[test]
    fn a_line_that_was_begun_is_ended_where_it_was_begun() {
        let directory = tempfile::tempdir().expect("there is room for files");
        let (path, old) = (directory.path().join("log"), directory.path().join("old"));
        let mut file = LogFile::new(&path);
        add(&mut file, "first");
        add(&mut file, "second");
        add(&mut file, "third");
        // As if the disk had been full behind "sec".
        file.written = "first\nsec".len();
        fs::write(&path, "first\nsec").expect("it can be written");
        fs::rename(&path, &old).expect("it can be moved");
        file.reopen();
        file.write();
        let read = |path| fs::read_to_string(path).expect("it is there");
        assert_eq!(read(&old), "first\nsecond\n");
        assert_eq!(read(&path), "third\n");
    }

    #[test]
    fn a_line_that_can_not_be_ended_is_taken_out_and_written_to_the_next_file() {
        let directory = tempfile::tempdir().expect("there is room for files");
        let (path, old) = (directory.path().join("log"), directory.path().join("old"));
        let mut file = LogFile::new(&path);
        add(&mut file, "first");
        add(&mut file, "second");
        file.written = "first\nsec".len();
        fs::write(&path, "first\nsec").expect("it can be written");
        fs::rename(&path, &old).expect("it can be moved");
        // Open for reading: what is written to it fails, as on a full disk.
        file.file = Some(File::open(&old).expect("it is there"));
        let part = "sec".len();
        take_back(
            &File::options().write(true).open(&old).expect("it is there"),
            part,
        );
        file.reopen();
        file.write();
        let read = |path| fs::read_to_string(path).expect("it is there");
        assert_eq!(read(&old), "first\n");
        assert_eq!(read(&path), "second\n");
    }

    #[test]
    fn a_path_that_can_not_be_opened_is_said_and_tried_again() {
        let directory = tempfile::tempdir().expect("there is room for files");
        let path = directory.path().join("later/log");
        let mut file = LogFile::new(&path);
        add(&mut file, "kept");
        assert_eq!(file.write(), 0);
        let fault = file.fault().expect("it says why");
        assert!(
            fault.contains("later/log: ") && fault.ends_with("; make its directory"),
            "{fault}"
        );
        fs::create_dir(directory.path().join("later")).expect("it can be made");
        file.refused = None;
        assert_eq!(file.write(), 1);
        assert_eq!(file.fault(), None);
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "kept\n");
    }

    #[test]
    fn a_fifo_never_makes_us_wait() {
        let directory = tempfile::tempdir().expect("there is room for files");
        let path = directory.path().join("log");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.is_ok_and(|made| made.success()), "mkfifo");
        // Nobody reads: it is not even opened.
        let mut file = LogFile::new(&path);
        assert!(file.fault().is_some());
        let mut reader = File::options()
            .read(true)
            .custom_flags(NEVER_WAIT)
            .open(&path)
            .expect("it can be read");
        file.refused = None;
        // More than it holds.
        let line = "x".repeat(999);
        let (mut added, mut ended) = (0, 0);
        while added < 200 {
            add(&mut file, &line);
            added += 1;
        }
        ended += file.write();
        assert!(file.fault().is_some_and(|fault| fault.contains("too slow")));
        let mut read = Vec::new();
        while ended < added {
            let mut room = [0; 64 * 1024];
            let count = reader.read(&mut room).expect("there is something");
            read.extend_from_slice(&room[..count]);
            ended += file.write();
        }
        let mut room = vec![0; 256 * 1024];
        let count = reader.read(&mut room).expect("there is something");
        read.extend_from_slice(&room[..count]);
        assert!(file.is_done() && file.fault().is_none());
        assert!(
            read.split(|&byte| byte == b'\n')
                .filter(|it| !it.is_empty())
                .all(|it| it == line.as_bytes())
        );
        assert_eq!(lines_in(&read), 200);
    }
}
