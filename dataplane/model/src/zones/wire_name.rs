//! Domain names in wire form: length octets and labels, the root's empty label last (RFC 1035
//! §3.1).

use std::borrow::Borrow;
use std::fmt;

use crate::name::{DomainName, Name};

/// Octets of the longest name, with its length octets and the root's (RFC 1035 §3.1).
const NAME_OCTETS_MAX: usize = 255;

/// A whole name in wire form, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireName(Box<[u8]>);

impl WireName {
    /// A name that was read elsewhere, in lower case from now on; none: it is longer than a name
    /// can be, or its labels do not end where it does.
    pub fn new(octets: &[u8]) -> Option<WireName> {
        let fits = octets.len() <= NAME_OCTETS_MAX && name_length(octets) == Some(octets.len());
        fits.then(|| WireName(lower_case(octets)))
    }

    /// A name in presentation form (RFC 1035 §5.1), whether or not it ends with a dot; none: it is no
    /// name.
    pub fn parse(text: &str) -> Option<WireName> {
        let name = domain::base::Name::vec_from_str(text).ok()?;
        WireName::new(name.as_octets())
    }

    /// The root.
    pub fn root() -> WireName {
        WireName(Box::new([0]))
    }

    /// The name as octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// This name with a label in front; none: it would be too long.
    pub fn child(&self, label: &[u8]) -> Option<WireName> {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        let mut octets = vec![label.len() as u8];
        octets.extend_from_slice(label);
        octets.extend_from_slice(&self.0);
        WireName::new(&octets)
    }
}

impl From<&DomainName> for WireName {
    fn from(name: &DomainName) -> WireName {
        let mut octets = Vec::with_capacity(name.as_str().len() + 2);
        for label in name.as_str().split('.') {
            octets.push(label.len() as u8);
            octets.extend_from_slice(label.as_bytes());
        }
        octets.push(0);
        // A domain name has at most 253 letters and is in lower case.
        WireName(octets.into())
    }
}

/// In presentation form, with its last dot (RFC 1035 §5.1).
impl fmt::Display for WireName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() == 1 {
            return f.write_str(".");
        }
        let starts = std::iter::successors(Some(self.octets()), |name| parent(name));
        for name in starts.filter(|name| name[0] > 0) {
            for &octet in &name[1..=usize::from(name[0])] {
                match octet {
                    b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'*' => {
                        write!(f, "{}", octet as char)?
                    }
                    b'!'..=b'~' => write!(f, "\\{}", octet as char)?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl Borrow<[u8]> for WireName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// One of our names as a label with its length octet.
pub(super) fn label_of(name: &Name) -> Vec<u8> {
    let mut label = vec![name.as_str().len() as u8];
    label.extend_from_slice(name.as_str().as_bytes());
    label
}

/// Where the name ends that `octets` begins with; none: it does not.
fn name_length(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// Octets in lower case, as names are compared (RFC 4343 §3). Length octets are below 64 and stay.
pub fn lower_case(octets: &[u8]) -> Box<[u8]> {
    octets.to_ascii_lowercase().into()
}

/// The name without its first label; none: it is the root.
pub fn parent(name: &[u8]) -> Option<&[u8]> {
    match *name.first()? {
        0 => None,
        length => name.get(1 + usize::from(length)..),
    }
}

/// How many labels a name has, the root's left out.
pub fn labels(name: &[u8]) -> usize {
    std::iter::successors(Some(name), |name| parent(name)).count() - 1
}

/// Whether `name` is `ancestor` or stands below it; both in lower case.
pub fn is_within(name: &[u8], ancestor: &[u8]) -> bool {
    std::iter::successors(Some(name), |name| parent(name)).any(|it| it == ancestor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> WireName {
        WireName::from(&DomainName::parse(text).expect("a name"))
    }

    #[test]
    fn a_name_is_shown_as_it_is_written() {
        assert_eq!(name("lb.Example").to_string(), "lb.example.");
        assert_eq!(WireName::root().to_string(), ".");
        let odd = WireName::new(b"\x04a.\0\\\x01*\0").expect("a name");
        assert_eq!(odd.to_string(), r"a\.\000\\.*.");
    }

    #[test]
    fn a_name_is_labels_and_their_lengths() {
        assert_eq!(name("lb.Example").octets(), b"\x02lb\x07example\0");
        assert_eq!(
            WireName::new(b"\x02LB\x07example\0"),
            Some(name("lb.example"))
        );
        for wrong in [&b""[..], b"\x02lb", b"\x02lb\0x", b"\xc0\x0c", b"\x40a\0"] {
            assert_eq!(WireName::new(wrong), None, "{wrong:?}");
        }
        assert_eq!(WireName::parse("LB.example."), Some(name("lb.example")));
        assert_eq!(WireName::parse("lb.example"), Some(name("lb.example")));
        let odd = WireName::parse(r"a\.\000\\.*.").expect("a name");
        assert_eq!(odd.octets(), b"\x04a.\0\\\x01*\0");
        for wrong in ["a..b", ".a", &"a".repeat(64)] {
            assert_eq!(WireName::parse(wrong), None, "{wrong:?}");
        }
        let long = vec![[&b"\x3f"[..], &[b'a'; 63]].concat(); 4].concat();
        assert_eq!(WireName::new(&[&long[..], b"\0"].concat()), None);
        assert!(WireName::new(&[&long[2..], b"\0"].concat()).is_none());
    }

    #[test]
    fn names_stand_in_a_tree() {
        let apex = name("example.net");
        let below = apex.child(b"WWW").expect("short enough");
        assert_eq!(below, name("www.example.net"));
        assert_eq!(parent(below.octets()), Some(apex.octets()));
        assert_eq!(labels(below.octets()), 3);
        assert_eq!((labels(b"\0"), parent(b"\0")), (0, None));
        assert!(is_within(below.octets(), apex.octets()));
        assert!(is_within(apex.octets(), b"\0"));
        // As octets it ends like it, and as a name it does not.
        assert!(!is_within(name("xexample.net").octets(), apex.octets()));
        assert_eq!(apex.child(&[b'a'; 64]), None);
        assert_eq!(apex.child(b""), None);
    }
}
