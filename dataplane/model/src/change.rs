//! The difference between two revisions of the desired state: what a journal carries.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::desired::{
    Certificate, Desired, Group, IdCounters, Owner, Peer, Site, SiteName, Tenant, Zone,
};
use crate::name::{DomainName, Name};

/// From one revision to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The revision that it leads to; it stands on the one before.
    pub revision: u64,
    /// The highest ids given out by then.
    pub ids: IdCounters,
    /// Objects that are new or were changed, each as it is to be.
    pub puts: Vec<Object>,
    /// Objects that are gone.
    pub deletes: Vec<ObjectName>,
}

/// An object of the desired state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // each is what its value is
pub enum Object {
    Tenant(Tenant),
    Group(Group),
    Peer(Peer),
    Zone(Zone),
    Certificate(Certificate),
    Site(Box<Site>),
}

/// What an object is known by: its kind and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // each is the name of its kind
pub enum ObjectName {
    Tenant(Name),
    Group(Name),
    Peer(Name),
    Zone(DomainName),
    Certificate { tenant: Name, name: Name },
    Site { tenant: Name, name: Name },
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectName::Tenant(name) => write!(f, "tenant {name}"),
            ObjectName::Group(name) => write!(f, "group {name}"),
            ObjectName::Peer(name) => write!(f, "peer {name}"),
            ObjectName::Zone(name) => write!(f, "zone {name}"),
            ObjectName::Certificate { tenant, name } => write!(f, "certificate {tenant}/{name}"),
            ObjectName::Site { tenant, name } => write!(f, "site {tenant}/{name}"),
        }
    }
}

impl Object {
    /// What it is known by.
    pub fn name(&self) -> ObjectName {
        match self {
            Object::Tenant(it) => Listed::name(it),
            Object::Group(it) => Listed::name(it),
            Object::Peer(it) => Listed::name(it),
            Object::Zone(it) => Listed::name(it),
            Object::Certificate(it) => Listed::name(it),
            Object::Site(it) => Listed::name(&**it),
        }
    }

    /// Who may change it.
    pub fn owner(&self) -> &Owner {
        match self {
            Object::Tenant(it) => &it.owner,
            Object::Group(it) => &it.owner,
            Object::Peer(it) => &it.owner,
            Object::Zone(it) => &it.owner,
            Object::Certificate(it) => &it.owner,
            Object::Site(it) => &it.owner,
        }
    }
}

/// An object that stands in a list of [`Desired`], ordered by its name.
trait Listed: Clone + PartialEq {
    fn list(desired: &mut Desired) -> &mut Vec<Self>;
    fn order(&self, other: &ObjectName) -> Ordering;
    fn object(self) -> Object;
    fn name(&self) -> ObjectName;
}

macro_rules! listed_by_name {
    ($kind:ident, $list:ident) => {
        impl Listed for $kind {
            fn list(desired: &mut Desired) -> &mut Vec<Self> {
                &mut desired.$list
            }

            fn order(&self, other: &ObjectName) -> Ordering {
                match other {
                    ObjectName::$kind(name) => self.name.cmp(name),
                    _ => unreachable!("a list holds one kind"),
                }
            }

            fn object(self) -> Object {
                Object::$kind(self.into())
            }

            fn name(&self) -> ObjectName {
                ObjectName::$kind(self.name.clone())
            }
        }
    };
}

macro_rules! listed_by_tenant_and_name {
    ($kind:ident, $list:ident) => {
        impl Listed for $kind {
            fn list(desired: &mut Desired) -> &mut Vec<Self> {
                &mut desired.$list
            }

            fn order(&self, other: &ObjectName) -> Ordering {
                match other {
                    ObjectName::$kind { tenant, name } => {
                        (&self.tenant, &self.name).cmp(&(tenant, name))
                    }
                    _ => unreachable!("a list holds one kind"),
                }
            }

            fn object(self) -> Object {
                Object::$kind(self.into())
            }

            fn name(&self) -> ObjectName {
                ObjectName::$kind {
                    tenant: self.tenant.clone(),
                    name: self.name.clone(),
                }
            }
        }
    };
}

listed_by_name!(Tenant, tenants);
listed_by_name!(Group, groups);
listed_by_name!(Peer, peers);
listed_by_name!(Zone, zones);
listed_by_tenant_and_name!(Certificate, certificates);
listed_by_tenant_and_name!(Site, sites);

fn put<T: Listed>(desired: &mut Desired, name: &ObjectName, value: T) {
    let list = T::list(desired);
    match list.binary_search_by(|it| it.order(name)) {
        Ok(place) => list[place] = value,
        Err(place) => list.insert(place, value),
    }
}

fn delete<T: Listed>(desired: &mut Desired, name: &ObjectName) {
    let list = T::list(desired);
    if let Ok(place) = list.binary_search_by(|it| it.order(name)) {
        list.remove(place);
    }
}

fn get<'a, T: Listed>(list: &'a [T], name: &ObjectName) -> Option<&'a T> {
    let place = list.binary_search_by(|it| it.order(name)).ok()?;
    Some(&list[place])
}

impl Desired {
    /// Makes the change. What it deletes need not be there.
    pub fn apply(&mut self, change: Change) {
        for name in &change.deletes {
            match name {
                ObjectName::Tenant(_) => delete::<Tenant>(self, name),
                ObjectName::Group(_) => delete::<Group>(self, name),
                ObjectName::Peer(_) => delete::<Peer>(self, name),
                ObjectName::Zone(_) => delete::<Zone>(self, name),
                ObjectName::Certificate { .. } => delete::<Certificate>(self, name),
                ObjectName::Site { .. } => delete::<Site>(self, name),
            }
        }
        for object in change.puts {
            self.put(object);
        }
        self.ids = change.ids;
    }

    /// Adds an object, in the place of the one of its name.
    pub fn put(&mut self, object: Object) {
        let name = object.name();
        match object {
            Object::Tenant(it) => put(self, &name, it),
            Object::Group(it) => put(self, &name, it),
            Object::Peer(it) => put(self, &name, it),
            Object::Zone(it) => put(self, &name, it),
            Object::Certificate(it) => put(self, &name, it),
            Object::Site(it) => put(self, &name, *it),
        }
    }

    /// The object of this name.
    pub fn object(&self, name: &ObjectName) -> Option<Object> {
        match name {
            ObjectName::Tenant(_) => get(&self.tenants, name).cloned().map(Listed::object),
            ObjectName::Group(_) => get(&self.groups, name).cloned().map(Listed::object),
            ObjectName::Peer(_) => get(&self.peers, name).cloned().map(Listed::object),
            ObjectName::Zone(_) => get(&self.zones, name).cloned().map(Listed::object),
            ObjectName::Certificate { .. } => {
                get(&self.certificates, name).cloned().map(Listed::object)
            }
            ObjectName::Site { .. } => get(&self.sites, name).cloned().map(Listed::object),
        }
    }

    /// The site of this name.
    pub fn site(&self, site: &SiteName) -> Option<&Site> {
        let order = |it: &Site| (&it.tenant, &it.name).cmp(&(&site.tenant, &site.site));
        let place = self.sites.binary_search_by(order).ok()?;
        Some(&self.sites[place])
    }

    /// This state with everything of `owner` as `declared` has it: what that owner has here and
    /// not there is gone, and what belongs to others stays. Ids are kept and minted.
    ///
    /// # Errors
    ///
    /// Every object of `declared` that belongs to another owner here, with that owner.
    pub fn with_owned(
        &self,
        owner: &Owner,
        declared: &Desired,
    ) -> Result<Desired, Vec<(ObjectName, Owner)>> {
        let empty = Desired::default();
        let clashes: Vec<(ObjectName, Owner)> = (empty.change_to(declared, 0).puts.iter())
            .filter_map(|object| {
                let before = self.object(&object.name())?;
                (before.owner() != owner).then(|| (object.name(), before.owner().clone()))
            })
            .collect();
        if !clashes.is_empty() {
            return Err(clashes);
        }
        let mut next = self.clone();
        next.tenants.retain(|it| it.owner != *owner);
        next.groups.retain(|it| it.owner != *owner);
        next.peers.retain(|it| it.owner != *owner);
        next.zones.retain(|it| it.owner != *owner);
        next.certificates.retain(|it| it.owner != *owner);
        next.sites.retain(|it| it.owner != *owner);
        let Desired {
            ids: _,
            tenants,
            groups,
            peers,
            zones,
            certificates,
            sites,
        } = declared.clone();
        next.tenants.extend(tenants);
        next.groups.extend(groups);
        next.peers.extend(peers);
        next.zones.extend(zones);
        next.certificates.extend(certificates);
        next.sites.extend(sites);
        next.sort();
        next.assign_ids(Some(self));
        Ok(next)
    }

    /// What leads from here to `next`, as its revision `revision`. Where nothing differs, there
    /// is nothing in it.
    pub fn change_to(&self, next: &Desired, revision: u64) -> Change {
        let mut change = Change {
            revision,
            ids: next.ids,
            puts: Vec::new(),
            deletes: Vec::new(),
        };
        compare(&self.tenants, &next.tenants, &mut change);
        compare(&self.groups, &next.groups, &mut change);
        compare(&self.peers, &next.peers, &mut change);
        compare(&self.zones, &next.zones, &mut change);
        compare(&self.certificates, &next.certificates, &mut change);
        compare(&self.sites, &next.sites, &mut change);
        change
    }
}

impl Change {
    /// Whether it changes no object.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }
}

/// Walks two ordered lists side by side.
fn compare<T: Listed>(before: &[T], after: &[T], change: &mut Change) {
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.order(&new.name()),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        match (old, new) {
            (Some(old), None) => change.deletes.push(old.name()),
            (old, Some(new)) if old != Some(new) => change.puts.push(new.clone().object()),
            _ => {}
        }
    }
}
