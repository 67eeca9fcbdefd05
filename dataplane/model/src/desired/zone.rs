//! Zones that the hosts are authoritative for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Owner;
use crate::name::{DomainName, Malformed, Name};

/// A zone with the operator's own records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Who may change it.
    pub owner: Owner,
    /// Its apex.
    pub name: DomainName,
    /// Hosts that serve it.
    pub nameservers: Vec<Name>,
    /// TTL of service names, in seconds.
    pub ttl: u32,
    /// MINIMUM and TTL of the SOA (RFC 2308), in seconds.
    pub negative_ttl: u32,
    /// RNAME of the SOA; none means `hostmaster.` and the zone.
    pub contact: Option<DomainName>,
    /// The site whose service name the apex is.
    pub apex: Option<SiteName>,
    /// Static records, in the order of the file.
    pub records: Vec<Record>,
}

/// A static record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Relative to the zone; `@` is its apex.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: RecordType,
    /// In seconds; none means the zone's.
    pub ttl: Option<u32>,
    /// In presentation form, as in a zone file.
    pub data: String,
}

/// Types of static records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)] // each is the type of that name in the IANA registry
pub enum RecordType {
    A,
    Aaaa,
    Caa,
    Cname,
    Https,
    Mx,
    Ns,
    Srv,
    Txt,
}

/// The full name of a site, `tenant/site`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SiteName {
    /// The tenant.
    pub tenant: Name,
    /// The site within its tenant.
    pub site: Name,
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.site)
    }
}

impl From<SiteName> for String {
    fn from(name: SiteName) -> String {
        name.to_string()
    }
}

impl TryFrom<String> for SiteName {
    type Error = Malformed;

    fn try_from(text: String) -> Result<SiteName, Malformed> {
        let Some((tenant, site)) = text.split_once('/') else {
            return Err(Malformed {
                what: format!("{text:?} is not the full name of a site"),
                hint: String::from("write \"tenant/site\""),
            });
        };
        Ok(SiteName {
            tenant: Name::parse(tenant)?,
            site: Name::parse(site)?,
        })
    }
}
