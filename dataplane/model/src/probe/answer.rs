//! What a host says of itself to who may ask, as JSON in the body of its answer.
//!
//! Fields that are not known are passed over: a later version may say more.

use serde::{Deserialize, Serialize};

use super::Period;
use crate::limits::PROBE_ANSWER_BYTES_MAX;
use crate::name::Name;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whose answer it is.
    pub host: Name,
    /// Of the start of its proxy: random.
    pub incarnation: u64,
    /// See [`Period`].
    pub period: u64,
    /// What is only for who is known to ask now; none: the question was an old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
}

/// What a host says to who asks now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// That its proxy serves.
    pub revision: u64,
    /// Its proxy was asked to stop.
    pub draining: bool,
    /// How much of what it has is used, in hundredths.
    pub load_percent: u8,
    /// Which others its responder reaches; none: there is no responder, or it was not heard of
    /// lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    /// The sites that it can not serve.
    pub sites: SiteChanges,
}

/// Which hosts one responder reaches, itself among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// How long ago it was so, in milliseconds.
    pub age_ms: u64,
    /// Hosts that answer.
    pub up: Vec<Name>,
    /// Hosts that do not. Of those in neither list nothing is known yet.
    pub down: Vec<Name>,
}

/// What has changed among the sites that a host can not serve, by their full names, TENANT/SITE.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteChanges {
    /// Which list these are changes of.
    pub list: u64,
    /// After which change: 0 is the beginning, whatever was known before.
    pub from: u64,
    /// Up to which.
    pub to: u64,
    /// The last change that there is: where it is a later one, there is more to ask for.
    pub newest: u64,
    /// Sites that it can not serve any more.
    pub lost: Vec<String>,
    /// Sites that it can serve again.
    pub back: Vec<String>,
}

impl Answer {
    /// The answer of a body; none when it is no such answer, or too long.
    pub fn read(body: &[u8]) -> Option<Answer> {
        if body.len() > PROBE_ANSWER_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(body).ok()
    }

    /// Its body.
    pub fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("there is nothing in it that JSON has not")
    }

    /// What its next questions may name.
    pub fn period(&self) -> Period {
        Period {
            incarnation: self.incarnation,
            number: self.period,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_as_it_was_given() {
        let name = |text| Name::parse(text).expect("a name");
        let mut answer = Answer {
            host: name("ams-1"),
            incarnation: u64::MAX,
            period: 7,
            report: None,
        };
        assert_eq!(Answer::read(&answer.body()), Some(answer.clone()));
        answer.report = Some(Report {
            revision: 3,
            draining: false,
            load_percent: 100,
            view: Some(View {
                age_ms: 12,
                up: vec![name("ams-1")],
                down: vec![name("nyc-1")],
            }),
            sites: SiteChanges {
                list: 1,
                from: 0,
                to: 2,
                newest: 9,
                lost: vec!["acme/shop".to_owned()],
                back: vec![],
            },
        });
        assert_eq!(Answer::read(&answer.body()), Some(answer.clone()));
        let body = String::from_utf8(answer.body()).expect("it is JSON");
        let later = body.replacen('{', "{\"later\":[1],", 1);
        assert_eq!(Answer::read(later.as_bytes()), Some(answer));
        assert_eq!(Answer::read(&body.as_bytes()[1..]), None);
        let no_name = body.replace("ams-1", "Not A Name");
        assert_eq!(Answer::read(no_name.as_bytes()), None);
        let long = format!("{body}{}", " ".repeat(PROBE_ANSWER_BYTES_MAX));
        assert_eq!(Answer::read(long.as_bytes()), None);
    }
}
