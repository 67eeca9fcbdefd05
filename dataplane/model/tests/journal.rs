//! A journal cut at every byte, with every line damaged, doubled, lost or moved.

use meridian_model::Change;
use meridian_model::change::Object;
use meridian_model::config_log::journal::{
    JournalReader, encode_change, encode_header, encode_seal,
};
use meridian_model::config_log::{FORMAT, Header};
use meridian_model::desired::{Group, IdCounters, Owner};
use meridian_model::name::Name;

fn header() -> Header {
    Header {
        format: FORMAT,
        store: String::from("s1"),
        revision: 7,
        generation: 2,
    }
}

fn change(revision: u64) -> Change {
    let group = Group {
        owner: Owner::Api,
        name: Name::parse(&format!("g{revision}")).unwrap(),
        location: None,
        bias_km: 0,
    };
    Change {
        revision,
        ids: IdCounters::default(),
        puts: vec![Object::Group(group)],
        deletes: Vec::new(),
    }
}

fn lines() -> Vec<String> {
    let mut lines = vec![encode_header(&header())];
    lines.extend((8..12).map(|revision| encode_change(&change(revision))));
    lines.push(encode_seal(11, 3));
    lines
}

fn read(text: &str) -> (Vec<u64>, Option<String>, Option<u64>) {
    let mut reader = JournalReader::new(header());
    let part = reader.read(text.as_bytes());
    let revisions: Vec<u64> = part.changes.iter().map(|change| change.revision).collect();
    assert_eq!(reader.revision(), revisions.last().copied().unwrap_or(7));
    let fault = part.fault.map(|fault| fault.to_string());
    (revisions, fault, reader.sealed())
}

#[test]
fn cut_at_every_byte_it_holds_the_whole_lines() {
    let text = lines().concat();
    for cut in 0..=text.len() {
        let (revisions, fault, sealed) = read(&text[..cut]);
        let whole = text[..cut].matches('\n').count();
        assert_eq!(
            revisions.len(),
            whole.saturating_sub(1).min(4),
            "cut at {cut}"
        );
        assert_eq!(fault, None, "cut at {cut}");
        assert_eq!(sealed, (whole == 6).then_some(3));
    }
}

#[test]
fn it_may_come_in_parts() {
    let text = lines().concat();
    for cut in 0..=text.len() {
        let mut reader = JournalReader::new(header());
        let first = reader.read(&text.as_bytes()[..cut]);
        let second = reader.read(&text.as_bytes()[first.bytes..]);
        assert_eq!(first.changes.len() + second.changes.len(), 4);
        assert_eq!(first.bytes + second.bytes, text.len());
        assert!(first.fault.is_none() && second.fault.is_none());
    }
}

#[test]
fn a_damaged_byte_ends_it_before_its_line() {
    let lines = lines();
    let text = lines.concat();
    for place in 0..text.len() {
        for bit in [0x01, 0x80] {
            let mut bytes = text.clone().into_bytes();
            bytes[place] ^= bit;
            let line = text[..place].matches('\n').count();
            let mut reader = JournalReader::new(header());
            let part = reader.read(&bytes);
            assert_eq!(part.changes.len(), line.saturating_sub(1).min(4), "{place}");
            // The end of the last line alone can be lost unseen: then the line is not there.
            let is_cut = place == text.len() - 1;
            assert_eq!(part.fault.is_none(), is_cut, "{place}");
            if let Some(fault) = part.fault {
                assert!(
                    fault.line == line + 1 || bytes[place] == b'\n',
                    "{place}: {fault}"
                );
            }
        }
    }
}

#[test]
fn a_line_that_is_lost_doubled_or_moved_is_found() {
    for place in 0..5 {
        let mut lost = lines();
        lost.remove(place);
        let (revisions, fault, _) = read(&lost.concat());
        assert_eq!(revisions.len(), place.saturating_sub(1));
        assert!(fault.is_some(), "lost {place}");

        let mut doubled = lines();
        doubled.insert(place, doubled[place].clone());
        let (revisions, fault, _) = read(&doubled.concat());
        assert_eq!(revisions.len(), place);
        assert!(fault.is_some(), "doubled {place}");

        let mut moved = lines();
        moved.swap(place, place + 1);
        let (_, fault, _) = read(&moved.concat());
        assert!(fault.is_some(), "moved {place}");
    }
}

#[test]
fn a_journal_of_another_snapshot_is_refused() {
    for other in [
        Header {
            store: String::from("s2"),
            ..header()
        },
        Header {
            generation: 3,
            ..header()
        },
        Header {
            revision: 6,
            ..header()
        },
        Header {
            format: FORMAT - 1,
            ..header()
        },
    ] {
        let mut reader = JournalReader::new(header());
        let part = reader.read(encode_header(&other).as_bytes());
        let fault = part.fault.expect("it is another one").to_string();
        assert!(fault.starts_with("line 1: "), "{fault}");
    }
    let (revisions, fault, _) = read(&lines()[1..].concat());
    assert!(revisions.is_empty());
    assert_eq!(
        fault.as_deref(),
        Some("line 1: must be the header of a journal")
    );
}
