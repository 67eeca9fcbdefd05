//! What a running plane says of itself when it is asked for usage: one line of JSON.
//!
//! ```text
//! {"epoch":"00112233…","host":"ams-1","open_slot":5934202,"sites":[[1,42,…,41,…],…]}
//! ```
//!
//! A row is a site's id, its cumulative values now, and those at the end of the last slot that
//! stands in the slots file. A reader asks first and reads the file after that: a slot that
//! ended in between is then in both, with the greater value in the file. The other way round it
//! would be in neither.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{COLUMNS, Epoch, Tally};
use crate::snapshot::SiteId;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Which start of the plane.
    pub epoch: Epoch,
    /// The name of its host.
    pub host: String,
    /// The slot of time that is open: everything since the last one in the slots file.
    pub open_slot: u64,
    /// Every site that was ever served, in no particular order.
    pub sites: Vec<AnswerRow>,
}

impl Answer {
    /// Of what each site had at the end of the last closed slot, and has now; who has nothing is left out.
    pub fn new(
        (epoch, host): (Epoch, &str),
        open_slot: u64,
        closed: &HashMap<u64, [u64; COLUMNS]>,
        now: HashMap<u64, [u64; COLUMNS]>,
    ) -> Answer {
        let rows = now.into_iter().map(|(site, now)| AnswerRow {
            site: SiteId(site),
            now: Tally(now),
            closed: Tally(closed.get(&site).copied().unwrap_or_default()),
        });
        Answer {
            epoch,
            host: host.to_owned(),
            open_slot,
            sites: rows.filter(|row| !row.now.is_zero()).collect(),
        }
    }
}

/// What an [`Answer`] has of one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; ROW]", into = "[u64; ROW]")]
pub struct AnswerRow {
    /// The site.
    pub site: SiteId,
    /// What it has since the epoch began.
    pub now: Tally,
    /// What it had at the end of the last closed slot.
    pub closed: Tally,
}

const ROW: usize = 1 + 2 * COLUMNS;

impl From<[u64; ROW]> for AnswerRow {
    fn from(row: [u64; ROW]) -> AnswerRow {
        AnswerRow {
            site: SiteId(row[0]),
            now: Tally(std::array::from_fn(|column| row[1 + column])),
            closed: Tally(std::array::from_fn(|column| row[1 + COLUMNS + column])),
        }
    }
}

impl From<AnswerRow> for [u64; ROW] {
    fn from(row: AnswerRow) -> [u64; ROW] {
        let mut numbers = [row.site.0; ROW];
        numbers[1..=COLUMNS].copy_from_slice(&row.now.0);
        numbers[1 + COLUMNS..].copy_from_slice(&row.closed.0);
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_29_numbers() {
        let answer = Answer {
            epoch: Epoch([1; 16]),
            host: "ams-1".to_owned(),
            open_slot: 4,
            sites: vec![AnswerRow {
                site: SiteId(9),
                now: Tally(std::array::from_fn(|column| 20 + column as u64)),
                closed: Tally(std::array::from_fn(|column| column as u64)),
            }],
        };
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(
            text,
            "{\"epoch\":\"01010101010101010101010101010101\",\"host\":\"ams-1\",\"open_slot\":4,\
             \"sites\":[[9,20,21,22,23,24,25,26,27,28,29,30,31,32,33,0,1,2,3,4,5,6,7,8,9,10,11,12,13]]}"
        );
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer);
    }
}
