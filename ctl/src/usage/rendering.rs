//! The rows of a bill as CSV, as JSON and as a table. CSV and JSON are a promise to scripts:
//! columns are only ever added, at the end.

use meridian_model::usage::Column;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::report::ReportRow;
use crate::table::{Align, Table};

/// What is counted of a site and billed, in the promised order.
const BILLED: [Column; 10] = [
    Column::Requests,
    Column::Responses2xx,
    Column::Responses3xx,
    Column::Responses4xx,
    Column::Responses5xx,
    Column::BytesIn,
    Column::BytesOut,
    Column::Connections,
    Column::TlsHandshakes,
    Column::DnsQueries,
];

/// A value with the name of its column.
type Named<T> = (&'static str, T);

/// All columns of a row: first the texts, then the numbers.
fn columns(row: &ReportRow) -> (Vec<Named<String>>, Vec<Named<u64>>) {
    let ReportRow {
        tenant,
        site,
        host,
        range,
        tally,
        bandwidth_p95_bps,
    } = row;
    let texts = vec![
        ("tenant", tenant.clone()),
        ("site", site.clone()),
        ("host", host.clone()),
        ("from", range.from.to_string()),
        ("to", range.to.to_string()),
    ];
    let mut numbers: Vec<_> = BILLED
        .into_iter()
        .map(|column| (column.name(), tally[column]))
        .collect();
    numbers.push(("bandwidth_p95_bps", *bandwidth_p95_bps));
    (texts, numbers)
}

const HEADER: &str = "tenant,site,host,from,to,requests,responses_2xx,responses_3xx,responses_4xx,\
                      responses_5xx,bytes_in,bytes_out,connections,tls_handshakes,dns_queries,\
                      bandwidth_p95_bps";

/// A header and a line for each row. No value has a comma, a quote or a line end: names are DNS
/// labels.
pub(crate) fn csv(rows: &[ReportRow]) -> String {
    let mut text = HEADER.to_owned();
    for row in rows {
        let (texts, numbers) = columns(row);
        let texts = texts.into_iter().map(|(_, value)| value);
        let numbers = numbers.into_iter().map(|(_, value)| value.to_string());
        let cells: Vec<String> = texts.chain(numbers).collect();
        text.push('\n');
        text.push_str(&cells.join(","));
    }
    text
}

/// `{"rows": [...]}`; with `warnings` when there are some.
pub(crate) fn json(rows: &[ReportRow], warnings: &[String]) -> String {
    let answer = Answer {
        rows: rows.iter().map(JsonRow).collect(),
        warnings,
    };
    serde_json::to_string(&answer).expect("plain values always have a JSON form")
}

#[derive(Serialize)]
struct Answer<'a> {
    rows: Vec<JsonRow<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

/// In the order of the columns: some who read it keep that.
struct JsonRow<'a>(&'a ReportRow);

impl Serialize for JsonRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (texts, numbers) = columns(self.0);
        let mut map = serializer.serialize_map(Some(texts.len() + numbers.len()))?;
        for (name, value) in &texts {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in &numbers {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A table for people.
pub(crate) fn table(rows: &[ReportRow], by_host: bool) -> String {
    let mut headings = vec![("SITE", Align::Left)];
    if by_host {
        headings.push(("HOST", Align::Left));
    }
    headings.extend([("FROM", Align::Left), ("TO", Align::Left)]);
    headings.extend(
        [
            "REQUESTS",
            "2XX",
            "3XX",
            "4XX",
            "5XX",
            "BYTES IN",
            "BYTES OUT",
            "CONNS",
            "TLS",
            "DNS",
            "P95 BIT/S",
        ]
        .map(|heading| (heading, Align::Right)),
    );
    let mut table = Table::new(&headings);
    for row in rows {
        let mut cells = vec![format!("{}/{}", row.tenant, row.site)];
        if by_host {
            cells.push(row.host.clone());
        }
        cells.extend([row.range.from.to_string(), row.range.to.to_string()]);
        cells.extend(BILLED.map(|column| row.tally[column].to_string()));
        cells.push(row.bandwidth_p95_bps.to_string());
        table.row(cells);
    }
    if rows.is_empty() {
        return "nothing was served in that time".to_owned();
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::time_range::{Time, TimeRange};
    use meridian_model::usage::Tally;

    #[test]
    fn the_header_names_what_the_lines_have() {
        let row = ReportRow {
            tenant: "acme".to_owned(),
            site: "shop".to_owned(),
            host: String::new(),
            range: TimeRange {
                from: Time::from_seconds(0),
                to: Time::from_seconds(300),
            },
            tally: Tally(std::array::from_fn(|column| 10 + column as u64)),
            bandwidth_p95_bps: 7,
        };
        let (texts, numbers) = columns(&row);
        let names = texts
            .iter()
            .map(|it| it.0)
            .chain(numbers.iter().map(|it| it.0));
        assert_eq!(names.collect::<Vec<_>>().join(","), HEADER);
        let text = csv(std::slice::from_ref(&row));
        assert_eq!(
            text.lines().nth(1),
            Some(
                "acme,shop,,1970-01-01T00:00:00Z,1970-01-01T00:05:00Z,10,11,12,13,14,15,16,17,18,23,7"
            )
        );
        assert_eq!(json(&[], &[]), "{\"rows\":[]}");
        assert_eq!(
            json(&[row], &["w".to_owned()]),
            "{\"rows\":[{\"tenant\":\"acme\",\"site\":\"shop\",\"host\":\"\",\
             \"from\":\"1970-01-01T00:00:00Z\",\"to\":\"1970-01-01T00:05:00Z\",\"requests\":10,\
             \"responses_2xx\":11,\"responses_3xx\":12,\"responses_4xx\":13,\"responses_5xx\":14,\
             \"bytes_in\":15,\"bytes_out\":16,\"connections\":17,\"tls_handshakes\":18,\
             \"dns_queries\":23,\"bandwidth_p95_bps\":7}],\"warnings\":[\"w\"]}"
        );
    }
}
