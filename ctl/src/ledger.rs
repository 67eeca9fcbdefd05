//! STATE/ledger/usage.db: what was served, for good. One SQLite file, written by `up` alone.
//!
//! | table | a row is |
//! | --- | --- |
//! | `epochs` | one start of a plane, and how far its slots file was read |
//! | `usage` | what one slot of time has of one site under one epoch |
//! | `totals` | the sum of a site's rows under an epoch whose files are still there |
//! | `sites` | the tenant and the name of a site's id, also when it is deleted |
//!
//! Each call that writes is one transaction: rows, totals and the place in the slots file change
//! together or not at all, so that killing it at any moment and beginning again counts nothing
//! twice. Why a rollback journal, and how it is synced: docs/decisions/0012-ledger.md.

use std::collections::HashMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_model::snapshot::SiteId;
use meridian_model::usage::{COLUMNS, Column, Epoch, EpochAccount, SlotUsage, Tally};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params, params_from_iter};

use crate::durable_file::FILE_MODE;

/// The version of the tables, in `PRAGMA user_version`.
const VERSION: i64 = 2;

/// The version before, which had no queries of DNS.
const VERSION_BEFORE: i64 = 1;

/// How long a call waits for another process that reads or writes.
const BUSY_WITHIN: Duration = Duration::from_secs(20);

/// See the module.
pub(crate) struct Ledger {
    path: PathBuf,
    connection: Connection,
    /// What is selected for the columns, in their order.
    columns: String,
}

/// Why the ledger could not be read or written.
#[derive(Debug)]
pub(crate) struct LedgerFault {
    path: PathBuf,
    /// What was seen and what to do.
    what: String,
}

impl fmt::Display for LedgerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

/// How far a slots file was read: behind the last line that closed a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotsPlace {
    /// In bytes from its beginning; 0 before the header was read.
    pub(crate) bytes: u64,
    /// In lines.
    pub(crate) lines: usize,
}

/// What is known of one start of a plane.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EpochRecord {
    pub(crate) epoch: Epoch,
    pub(crate) host: String,
    pub(crate) program: String,
    pub(crate) slots: SlotsPlace,
    /// Its slots file has a damaged line.
    pub(crate) is_damaged: bool,
    /// All of it is here: what is left of its files says nothing new.
    pub(crate) is_finished: bool,
    pub(crate) account: EpochAccount,
}

impl EpochRecord {
    /// Of an epoch of which nothing is known but who counts.
    pub(crate) fn new(epoch: Epoch, host: String, program: String) -> EpochRecord {
        EpochRecord {
            epoch,
            host,
            program,
            slots: SlotsPlace::default(),
            is_damaged: false,
            is_finished: false,
            account: EpochAccount::default(),
        }
    }
}

/// A site's id and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedSite {
    pub(crate) id: SiteId,
    pub(crate) tenant: String,
    pub(crate) name: String,
}

impl Ledger {
    /// Opens the ledger to write, and makes it when it is not there.
    ///
    /// # Errors
    /// When it can not be made, is damaged, or of a later version.
    pub(crate) fn open(path: &Path) -> Result<Ledger, LedgerFault> {
        // Made here for its mode; its journal gets the same.
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path);
        made.map_err(|error| io_fault(path, &error))?;
        let ledger = Ledger::connect(path)?;
        ledger.prepare().map_err(|error| ledger.fault(&error))?;
        ledger.check_version()?;
        Ok(ledger)
    }

    /// Opens the ledger and holds it as it is now: whatever is asked of this value, it answers as
    /// of this moment, and nothing is written. `None` when there is none yet.
    ///
    /// # Errors
    /// When it can not be read, is damaged, or of a later version.
    pub(crate) fn open_to_read(path: &Path) -> Result<Option<Ledger>, LedgerFault> {
        match std::fs::metadata(path) {
            // Without any byte it was being made when its maker died.
            Ok(metadata) if metadata.len() == 0 => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_fault(path, &error)),
        }
        let ledger = Ledger::connect(path)?;
        let held = ledger
            .connection
            .execute_batch("PRAGMA query_only = ON; BEGIN");
        held.map_err(|error| ledger.fault(&error))?;
        let version = ledger.version().map_err(|error| ledger.fault(&error))?;
        match version {
            0 => return Ok(None),
            // Whoever only looks changes no tables.
            VERSION_BEFORE => {
                let of = |column: Column| match column {
                    Column::DnsQueries => "0",
                    other => other.name(),
                };
                let columns = Column::ALL.map(of).join(", ");
                return Ok(Some(Ledger { columns, ..ledger }));
            }
            _ => ledger.check_version()?,
        }
        Ok(Some(ledger))
    }

    fn connect(path: &Path) -> Result<Ledger, LedgerFault> {
        // A reader may write too: whoever comes first after a kill takes back what that left half
        // done, and without it nobody can read.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .and_then(|connection| connection.busy_timeout(BUSY_WITHIN).map(|()| connection));
        match connection {
            Ok(connection) => Ok(Ledger {
                path: path.to_owned(),
                connection,
                columns: column_names(),
            }),
            Err(error) => Err(sqlite_fault(path, &error)),
        }
    }

    fn prepare(&self) -> rusqlite::Result<()> {
        self.connection
            .pragma_update(None, "journal_mode", "TRUNCATE")?;
        self.connection
            .pragma_update(None, "synchronous", "EXTRA")?;
        match self.version()? {
            0 => {}
            VERSION_BEFORE => return self.add_dns_queries(),
            _ => return Ok(()),
        }
        let columns = Column::ALL.map(|column| format!("{} INTEGER NOT NULL", column.name()));
        let columns = columns.join(", ");
        self.connection.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             CREATE TABLE epochs (
                 number INTEGER PRIMARY KEY, epoch TEXT NOT NULL UNIQUE, host TEXT NOT NULL,
                 program TEXT NOT NULL, slots_bytes INTEGER NOT NULL, slots_lines INTEGER NOT NULL,
                 last_slot INTEGER, is_damaged INTEGER NOT NULL, is_finished INTEGER NOT NULL
             ) STRICT;
             CREATE TABLE usage (
                 slot INTEGER NOT NULL, site INTEGER NOT NULL,
                 epoch INTEGER NOT NULL REFERENCES epochs (number), {columns},
                 PRIMARY KEY (slot, site, epoch)
             ) STRICT, WITHOUT ROWID;
             CREATE TABLE totals (
                 epoch INTEGER NOT NULL REFERENCES epochs (number), site INTEGER NOT NULL,
                 {columns}, PRIMARY KEY (epoch, site)
             ) STRICT, WITHOUT ROWID;
             CREATE TABLE sites (
                 id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL
             ) STRICT;
             PRAGMA user_version = {VERSION};
             COMMIT;"
        ))
    }

    /// To the tables of the version before. What they have was no DNS.
    fn add_dns_queries(&self) -> rusqlite::Result<()> {
        let column = format!("{} INTEGER NOT NULL DEFAULT 0", Column::DnsQueries.name());
        self.connection.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             ALTER TABLE usage ADD COLUMN {column};
             ALTER TABLE totals ADD COLUMN {column};
             PRAGMA user_version = {VERSION};
             COMMIT;"
        ))
    }

    fn version(&self) -> rusqlite::Result<i64> {
        self.connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
    }

    fn check_version(&self) -> Result<(), LedgerFault> {
        let version = self.version().map_err(|error| self.fault(&error))?;
        if version == VERSION {
            return Ok(());
        }
        Err(LedgerFault {
            path: self.path.clone(),
            what: format!(
                "has version {version} of the tables, and this version reads {VERSION} only: use \
                 the meridianctl that wrote it"
            ),
        })
    }

    /// Writes down what sites are called.
    ///
    /// # Errors
    /// When it could not be written; nothing was.
    pub(crate) fn name_sites(&mut self, sites: &[NamedSite]) -> Result<(), LedgerFault> {
        let path = self.path.clone();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            {
                // Most are known: a row that stays as it is costs no write.
                let mut insert = transaction.prepare(
                    "INSERT INTO sites (id, tenant, name) VALUES (?1, ?2, ?3)
                     ON CONFLICT (id) DO UPDATE SET tenant = ?2, name = ?3
                     WHERE tenant <> ?2 OR name <> ?3",
                )?;
                for NamedSite { id, tenant, name } in sites {
                    insert.execute(params![id.0.cast_signed(), tenant, name])?;
                }
            }
            transaction.commit()
        };
        write().map_err(|error| sqlite_fault(&path, &error))
    }

    /// What is known of an epoch, if anything is.
    ///
    /// # Errors
    /// When it could not be read.
    pub(crate) fn epoch(&self, epoch: Epoch) -> Result<Option<EpochRecord>, LedgerFault> {
        self.read_epoch(epoch).map_err(|error| self.fault(&error))
    }

    fn read_epoch(&self, epoch: Epoch) -> rusqlite::Result<Option<EpochRecord>> {
        let record = self.connection.query_row(
            "SELECT number, host, program, slots_bytes, slots_lines, last_slot, is_damaged,
                    is_finished
             FROM epochs WHERE epoch = ?1",
            [epoch.to_string()],
            |row| {
                let last_slot: Option<u64> = row.get(5)?;
                let record = EpochRecord {
                    epoch,
                    host: row.get(1)?,
                    program: row.get(2)?,
                    slots: SlotsPlace {
                        bytes: row.get(3)?,
                        lines: row.get(4)?,
                    },
                    is_damaged: row.get(6)?,
                    is_finished: row.get(7)?,
                    account: EpochAccount::default(),
                };
                Ok((row.get::<_, i64>(0)?, last_slot, record))
            },
        );
        let Some((number, last_slot, record)) = record.optional()? else {
            return Ok(None);
        };
        let mut totals = HashMap::new();
        let mut select = self.connection.prepare(&format!(
            "SELECT site, {} FROM totals WHERE epoch = ?1",
            self.columns
        ))?;
        let mut rows = select.query([number])?;
        while let Some(row) = rows.next()? {
            totals.insert(
                SiteId(row.get::<_, i64>(0)?.cast_unsigned()),
                tally(row, 1)?,
            );
        }
        let account = EpochAccount::new(totals, last_slot);
        Ok(Some(EpochRecord { account, ..record }))
    }

    /// Writes down what was taken in of an epoch: `usages` are new, `record` is how it stands
    /// after them.
    ///
    /// # Errors
    /// When it could not be written; nothing was.
    pub(crate) fn take_in(
        &mut self,
        record: &EpochRecord,
        usages: &[SlotUsage],
    ) -> Result<(), LedgerFault> {
        let path = self.path.clone();
        self.write_record(record, usages)
            .map_err(|error| sqlite_fault(&path, &error))
    }

    fn write_record(&mut self, record: &EpochRecord, usages: &[SlotUsage]) -> rusqlite::Result<()> {
        let EpochRecord {
            epoch,
            host,
            program,
            slots,
            is_damaged,
            is_finished,
            account,
        } = record;
        let transaction = self.connection.transaction()?;
        let number: i64 = transaction.query_row(
            "INSERT INTO epochs (epoch, host, program, slots_bytes, slots_lines, last_slot,
                                 is_damaged, is_finished)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (epoch) DO UPDATE SET slots_bytes = ?4, slots_lines = ?5, last_slot = ?6,
                                               is_damaged = ?7, is_finished = ?8
             RETURNING number",
            params![
                epoch.to_string(),
                host,
                program,
                slots.bytes,
                slots.lines,
                account.last_slot(),
                is_damaged,
                is_finished
            ],
            |row| row.get(0),
        )?;
        {
            let (names, places) = (column_names(), places());
            // Greatest wins: the same said again changes nothing.
            let greatest = Column::ALL
                .map(|it| format!("{0} = max({0}, excluded.{0})", it.name()))
                .join(", ");
            let mut insert_usage = transaction.prepare(&format!(
                "INSERT INTO usage (slot, site, epoch, {names}) VALUES ({places}, ?)
                 ON CONFLICT DO UPDATE SET {greatest}"
            ))?;
            let mut insert_total = transaction.prepare(&format!(
                "INSERT INTO totals (epoch, site, {names}) VALUES ({places})
                 ON CONFLICT DO UPDATE SET {greatest}"
            ))?;
            for SlotUsage { slot, site, tally } in usages {
                let site_number = site.0.cast_signed();
                let key = [stored(*slot), site_number, number];
                insert_usage.execute(params_from_iter(key.into_iter().chain(numbers(tally))))?;
                if !is_finished {
                    let key = [number, site_number].into_iter();
                    let total = account.total(*site);
                    insert_total.execute(params_from_iter(key.chain(numbers(&total))))?;
                }
            }
        }
        if *is_finished {
            transaction.execute("DELETE FROM totals WHERE epoch = ?1", [number])?;
        }
        transaction.commit()
    }

    /// The last slot of time with any usage.
    ///
    /// # Errors
    /// When it could not be read.
    pub(crate) fn last_slot(&self) -> Result<Option<u64>, LedgerFault> {
        self.connection
            .query_row("SELECT max(slot) FROM usage", [], |row| row.get(0))
            .map_err(|error| self.fault(&error))
    }

    /// Hands over all usage of the slots from `from` on and before `to`, in the order of the
    /// slots, each with its host.
    ///
    /// # Errors
    /// When it could not be read.
    pub(crate) fn each_usage(
        &self,
        from: u64,
        to: u64,
        take: impl FnMut(&str, SlotUsage),
    ) -> Result<(), LedgerFault> {
        self.read_usage(from, to, take)
            .map_err(|error| self.fault(&error))
    }

    fn read_usage(
        &self,
        from: u64,
        to: u64,
        mut take: impl FnMut(&str, SlotUsage),
    ) -> rusqlite::Result<()> {
        let mut hosts: HashMap<i64, String> = HashMap::new();
        let mut select = self.connection.prepare("SELECT number, host FROM epochs")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            hosts.insert(row.get(0)?, row.get(1)?);
        }
        let mut select = self.connection.prepare(&format!(
            "SELECT slot, site, epoch, {} FROM usage WHERE slot >= ?1 AND slot < ?2 ORDER BY slot",
            self.columns
        ))?;
        let mut rows = select.query([stored(from), stored(to)])?;
        while let Some(row) = rows.next()? {
            let usage = SlotUsage {
                slot: row.get(0)?,
                site: SiteId(row.get::<_, i64>(1)?.cast_unsigned()),
                tally: tally(row, 3)?,
            };
            take(hosts.get(&row.get(2)?).map_or("", String::as_str), usage);
        }
        Ok(())
    }

    /// The highest id of any site that was ever written down; 0 without any.
    ///
    /// # Errors
    /// When it could not be read.
    pub(crate) fn highest_site(&self) -> Result<u64, LedgerFault> {
        self.connection
            .query_row(
                "SELECT coalesce(max(id), 0) FROM sites WHERE id > 0",
                [],
                |row| row.get(0),
            )
            .map_err(|error| self.fault(&error))
    }

    /// What every site is or was called.
    ///
    /// # Errors
    /// When it could not be read.
    pub(crate) fn sites(&self) -> Result<Vec<NamedSite>, LedgerFault> {
        let read = || -> rusqlite::Result<Vec<NamedSite>> {
            let mut select = self
                .connection
                .prepare("SELECT id, tenant, name FROM sites")?;
            let sites = select.query_map([], |row| {
                Ok(NamedSite {
                    id: SiteId(row.get::<_, i64>(0)?.cast_unsigned()),
                    tenant: row.get(1)?,
                    name: row.get(2)?,
                })
            })?;
            sites.collect()
        };
        read().map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &rusqlite::Error) -> LedgerFault {
        sqlite_fault(&self.path, error)
    }
}

fn column_names() -> String {
    Column::ALL.map(Column::name).join(", ")
}

/// Places for two keys and every column.
fn places() -> String {
    ["?"; 2 + COLUMNS].join(", ")
}

/// SQLite's integers have 63 bits without their sign; nothing real reaches the last.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn numbers(tally: &Tally) -> impl Iterator<Item = i64> {
    tally.0.into_iter().map(stored)
}

fn tally(row: &Row<'_>, first: usize) -> rusqlite::Result<Tally> {
    let mut tally = Tally::default();
    for (column, number) in tally.0.iter_mut().enumerate() {
        *number = match row.get_ref(first + column)? {
            ValueRef::Integer(stored) => u64::try_from(stored).unwrap_or_default(),
            _ => 0,
        };
    }
    Ok(tally)
}

fn io_fault(path: &Path, error: &std::io::Error) -> LedgerFault {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free some space on that disk",
        ErrorKind::PermissionDenied => "; use the user that runs meridianctl up, or root",
        _ => "",
    };
    LedgerFault {
        path: path.to_owned(),
        what: format!("{error}{remedy}"),
    }
}

fn sqlite_fault(path: &Path, error: &rusqlite::Error) -> LedgerFault {
    use rusqlite::ErrorCode;
    let remedy = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "; free some space on that disk",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "; the ledger is damaged: put it aside and bring back a copy of it, or start without \
             one and keep this for the numbers before"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "; another process holds it: try again"
        }
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
            "; use the user that runs meridianctl up, or root, and see that it may be written"
        }
        _ => "",
    };
    LedgerFault {
        path: path.to_owned(),
        what: format!("{error}{remedy}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version before, as it made and filled its tables.
    fn of_version_before(path: &Path) -> Epoch {
        let ledger = Ledger::open(path).unwrap();
        let epoch = Epoch([7; 16]);
        let mut record = EpochRecord::new(epoch, "h1".to_owned(), "dataplane".to_owned());
        let served = Tally(std::array::from_fn(|column| 10 + column as u64));
        let counted = [(SiteId(3), served)];
        let usages = record.account.leave_open(5, counted);
        let mut ledger = ledger;
        ledger.take_in(&record, &usages).unwrap();
        let column = Column::DnsQueries.name();
        ledger
            .connection
            .execute_batch(&format!(
                "ALTER TABLE usage DROP COLUMN {column}; ALTER TABLE totals DROP COLUMN {column};
                 PRAGMA user_version = {VERSION_BEFORE};"
            ))
            .unwrap();
        epoch
    }

    fn rows(ledger: &Ledger) -> Vec<(u64, Tally)> {
        let mut rows = Vec::new();
        let take = |_: &str, usage: SlotUsage| rows.push((usage.slot, usage.tally));
        ledger.each_usage(0, u64::MAX, take).unwrap();
        rows
    }

    #[test]
    fn a_ledger_of_the_version_before_is_read_and_gets_the_column_when_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("usage.db");
        let epoch = of_version_before(&path);
        let mut before = Tally(std::array::from_fn(|column| 10 + column as u64));
        before[Column::DnsQueries] = 0;
        let only_read = Ledger::open_to_read(&path).unwrap().expect("it has tables");
        assert_eq!(rows(&only_read), [(5, before)]);
        assert_eq!(
            only_read.version().unwrap(),
            VERSION_BEFORE,
            "nothing is changed"
        );
        let known = only_read.epoch(epoch).unwrap().expect("it is known");
        assert_eq!(known.account.total(SiteId(3)), before);
        drop(only_read);
        let mut ledger = Ledger::open(&path).unwrap();
        let mut record = ledger.epoch(epoch).unwrap().expect("it is known");
        let mut now = before;
        now[Column::DnsQueries] = 4;
        let usages = record.account.leave_open(6, [(SiteId(3), now)]);
        ledger.take_in(&record, &usages).unwrap();
        let mut new = Tally::default();
        new[Column::DnsQueries] = 4;
        assert_eq!(rows(&ledger), [(5, before), (6, new)]);
        drop(ledger);
        assert_eq!(Ledger::open(&path).unwrap().version().unwrap(), VERSION);
    }
}
