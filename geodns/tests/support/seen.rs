//! Responses as another implementation, the `domain` crate, reads them.

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::message::RecordSection;
use domain::base::opt::UnknownOptData;
use domain::base::{Message, ParsedName, Record};
use domain::rdata::AllRecordData;

type Data<'a> = AllRecordData<&'a [u8], ParsedName<&'a [u8]>>;

/// A response as it is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) octets: Vec<u8>,
    pub(crate) rcode: u16,
    pub(crate) aa: bool,
    pub(crate) tc: bool,
    pub(crate) questions: u16,
    /// Owner, TTL, type and data of each.
    pub(crate) answer: Vec<String>,
    pub(crate) authority: Vec<String>,
    pub(crate) additional: Vec<String>,
    /// Of OPT.
    pub(crate) options: Option<Vec<(u16, Vec<u8>)>>,
}

/// Reads a response, of which everything must be right.
pub(crate) fn read(octets: Vec<u8>) -> Seen {
    let message = Message::from_octets(octets.clone()).expect("a message");
    let header = message.header();
    assert!(header.qr() && !header.ra() && !header.z() && !header.ad());
    let opts = message.additional().expect("it is whole");
    let opts = opts.filter(|it| it.as_ref().is_ok_and(|it| it.rtype() == Rtype::OPT));
    assert!(opts.count() <= 1);
    let options = message.opt().map(|record| {
        assert_eq!((record.udp_payload_size(), record.version()), (1232, 0));
        let data = record.opt();
        let all = data.iter::<UnknownOptData<_>>();
        all.map(|it| it.expect("an option"))
            .map(|it| (it.code().to_int(), it.as_slice().to_vec()))
            .collect()
    });
    let rcode = message.opt_rcode().to_int();
    assert!(options.is_some() || Rcode::checked_from_int(rcode as u8).is_some());
    Seen {
        rcode,
        aa: header.aa(),
        tc: header.tc(),
        questions: message.header_counts().qdcount(),
        answer: records(message.answer().expect("it is whole")),
        authority: records(message.authority().expect("it is whole")),
        additional: records(message.additional().expect("it is whole")),
        options,
        octets,
    }
}

fn records(section: RecordSection<'_, Vec<u8>>) -> Vec<String> {
    let mut written = Vec::new();
    for record in section {
        let record = record.expect("a record");
        if record.rtype() == Rtype::OPT {
            continue;
        }
        let class = match record.class() {
            Class::IN => String::new(),
            class => format!("{class} "),
        };
        let record: Record<ParsedName<&[u8]>, Data<'_>> =
            record.to_any_record().expect("its data is right");
        written.push(format!(
            "{} {} {class}{} {}",
            record.owner(),
            record.ttl().as_secs(),
            record.rtype(),
            record.data()
        ));
    }
    written
}
