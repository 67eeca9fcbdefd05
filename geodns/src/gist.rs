//! What a response says, in few words: to be counted.

use meridian_model::snapshot::SiteId;
use meridian_model::zones::GroupIndex;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gist {
    /// In a word.
    pub kind: Kind,
    /// The site whose service name was asked for.
    pub site: Option<SiteId>,
    /// The group that was the nearest to the visitor.
    pub group: Option<GroupIndex>,
    /// It was asked with a subnet (RFC 7871).
    pub has_subnet: bool,
    /// Something is missing (TC).
    pub is_truncated: bool,
}

/// Kinds of responses: by their codes, and where the code is NOERROR, by what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Addresses of hosts for a service name.
    Service,
    /// Records of the operator's, or of the zone itself.
    Record,
    /// Somebody else's name servers.
    Referral,
    /// The name has nothing of that type.
    NoData,
    /// NXDOMAIN.
    NoName,
    /// The name of this host.
    Identity,
    /// A cookie and nothing else.
    Cookie,
    /// FORMERR.
    FormErr,
    /// NOTIMP.
    NotImp,
    /// REFUSED.
    Refused,
    /// BADVERS.
    BadVers,
    /// BADCOOKIE.
    BadCookie,
}

impl Kind {
    /// How many there are.
    pub(crate) const COUNT: usize = Kind::ALL.len();

    /// All, in their order.
    pub(crate) const ALL: [Kind; 12] = [
        Kind::Service,
        Kind::Record,
        Kind::Referral,
        Kind::NoData,
        Kind::NoName,
        Kind::Identity,
        Kind::Cookie,
        Kind::FormErr,
        Kind::NotImp,
        Kind::Refused,
        Kind::BadVers,
        Kind::BadCookie,
    ];

    /// The word that it is counted by.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Service => "service",
            Kind::Record => "record",
            Kind::Referral => "referral",
            Kind::NoData => "nodata",
            Kind::NoName => "nxdomain",
            Kind::Identity => "identity",
            Kind::Cookie => "cookie",
            Kind::FormErr => "formerr",
            Kind::NotImp => "notimp",
            Kind::Refused => "refused",
            Kind::BadVers => "badvers",
            Kind::BadCookie => "badcookie",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_in_their_places() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at, "{kind:?}");
        }
    }
}
