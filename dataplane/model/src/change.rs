//! The difference between two revisions of the desired state: what a journal carries.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::desired::{
    Certificate, Desired, Group, IdCounters, Owner, Peer, Site, SiteName, Suspension, Tenant, Zone,
};
use crate::ids::WithIds;
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
    Suspension(Suspension),
    Site(Arc<Site>),
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
    Suspension(Suspension),
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
            ObjectName::Suspension(of) => write!(f, "suspension of {of}"),
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
            Object::Suspension(it) => Listed::name(it),
            Object::Site(it) => Listed::name(it),
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
            Object::Suspension(it) => Listed::owner(it),
            Object::Site(it) => &it.owner,
        }
    }
}

/// The owner of what no manifest can have.
static OF_NO_MANIFEST: Owner = Owner::Api;

/// Edits of a list that are made one by one; more of them are merged into it in one pass.
const EDITS_ONE_BY_ONE: usize = 16;

/// An object that stands in a list of [`Desired`], ordered by its name.
trait Listed: Clone + PartialEq + WithIds {
    fn list(desired: &mut Desired) -> &mut Vec<Self>;
    /// How its name stands to `other`.
    fn order(&self, other: &ObjectName) -> Ordering;
    /// How its name stands to that of `other`.
    fn order_of(&self, other: &Self) -> Ordering;
    fn object(self) -> Object;
    fn name(&self) -> ObjectName;
    fn owner(&self) -> &Owner;
    /// Whether it is the same in every way.
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }
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

            fn order_of(&self, other: &Self) -> Ordering {
                self.name.cmp(&other.name)
            }

            fn object(self) -> Object {
                Object::$kind(self)
            }

            fn name(&self) -> ObjectName {
                ObjectName::$kind(self.name.clone())
            }

            fn owner(&self) -> &Owner {
                &self.owner
            }
        }
    };
}

listed_by_name!(Tenant, tenants);
listed_by_name!(Group, groups);
listed_by_name!(Peer, peers);
listed_by_name!(Zone, zones);

impl Listed for Certificate {
    fn list(desired: &mut Desired) -> &mut Vec<Self> {
        &mut desired.certificates
    }

    fn order(&self, other: &ObjectName) -> Ordering {
        match other {
            ObjectName::Certificate { tenant, name } => {
                (&self.tenant, &self.name).cmp(&(tenant, name))
            }
            _ => unreachable!("a list holds one kind"),
        }
    }

    fn order_of(&self, other: &Self) -> Ordering {
        (&self.tenant, &self.name).cmp(&(&other.tenant, &other.name))
    }

    fn object(self) -> Object {
        Object::Certificate(self)
    }

    fn name(&self) -> ObjectName {
        ObjectName::Certificate {
            tenant: self.tenant.clone(),
            name: self.name.clone(),
        }
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl Listed for Suspension {
    fn list(desired: &mut Desired) -> &mut Vec<Self> {
        &mut desired.suspensions
    }

    fn order(&self, other: &ObjectName) -> Ordering {
        match other {
            ObjectName::Suspension(other) => self.cmp(other),
            _ => unreachable!("a list holds one kind"),
        }
    }

    fn order_of(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }

    fn object(self) -> Object {
        Object::Suspension(self)
    }

    fn name(&self) -> ObjectName {
        ObjectName::Suspension(self.clone())
    }

    fn owner(&self) -> &Owner {
        &OF_NO_MANIFEST
    }
}

impl Listed for Arc<Site> {
    fn list(desired: &mut Desired) -> &mut Vec<Self> {
        &mut desired.sites
    }

    fn order(&self, other: &ObjectName) -> Ordering {
        match other {
            ObjectName::Site { tenant, name } => (&self.tenant, &self.name).cmp(&(tenant, name)),
            _ => unreachable!("a list holds one kind"),
        }
    }

    fn order_of(&self, other: &Self) -> Ordering {
        (&self.tenant, &self.name).cmp(&(&other.tenant, &other.name))
    }

    fn object(self) -> Object {
        Object::Site(self)
    }

    fn name(&self) -> ObjectName {
        ObjectName::Site {
            tenant: self.tenant.clone(),
            name: self.name.clone(),
        }
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self, other) || self == other
    }
}

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

/// Merges `puts`, in any order, into a list: each in the place of the one of its name.
fn merge<T: Listed>(desired: &mut Desired, mut puts: Vec<T>) {
    if puts.is_empty() {
        return;
    }
    puts.sort_by(T::order_of);
    let list = T::list(desired);
    if list.is_empty() {
        *list = puts;
        return;
    }
    let before = std::mem::take(list);
    list.reserve_exact(before.len() + puts.len());
    let (mut before, mut puts) = (before.into_iter().peekable(), puts.into_iter().peekable());
    loop {
        let order = match (before.peek(), puts.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.order_of(new),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { puts.next() } else { None };
        list.extend(new.or(old));
    }
}

impl Desired {
    /// Makes the change. What it deletes need not be there.
    pub fn apply(&mut self, change: Change) {
        if change.deletes.len() > EDITS_ONE_BY_ONE {
            self.delete_many(&change.deletes);
        } else {
            change.deletes.iter().for_each(|name| self.delete(name));
        }
        if change.puts.len() > EDITS_ONE_BY_ONE {
            self.put_many(change.puts);
        } else {
            change.puts.into_iter().for_each(|object| self.put(object));
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
            Object::Suspension(it) => put(self, &name, it),
            Object::Site(it) => put(self, &name, it),
        }
    }

    fn put_many(&mut self, objects: Vec<Object>) {
        let mut puts = Desired::default();
        for object in objects {
            match object {
                Object::Tenant(it) => puts.tenants.push(it),
                Object::Group(it) => puts.groups.push(it),
                Object::Peer(it) => puts.peers.push(it),
                Object::Zone(it) => puts.zones.push(it),
                Object::Certificate(it) => puts.certificates.push(it),
                Object::Suspension(it) => puts.suspensions.push(it),
                Object::Site(it) => puts.sites.push(it),
            }
        }
        merge(self, puts.tenants);
        merge(self, puts.groups);
        merge(self, puts.peers);
        merge(self, puts.zones);
        merge(self, puts.certificates);
        merge(self, puts.suspensions);
        merge(self, puts.sites);
    }

    pub(crate) fn delete(&mut self, name: &ObjectName) {
        match name {
            ObjectName::Tenant(_) => delete::<Tenant>(self, name),
            ObjectName::Group(_) => delete::<Group>(self, name),
            ObjectName::Peer(_) => delete::<Peer>(self, name),
            ObjectName::Zone(_) => delete::<Zone>(self, name),
            ObjectName::Certificate { .. } => delete::<Certificate>(self, name),
            ObjectName::Suspension(_) => delete::<Suspension>(self, name),
            ObjectName::Site { .. } => delete::<Arc<Site>>(self, name),
        }
    }

    fn delete_many(&mut self, names: &[ObjectName]) {
        let names: HashSet<&ObjectName> = names.iter().collect();
        self.tenants.retain(|it| !names.contains(&it.name()));
        self.groups.retain(|it| !names.contains(&it.name()));
        self.peers.retain(|it| !names.contains(&it.name()));
        self.zones.retain(|it| !names.contains(&it.name()));
        self.certificates.retain(|it| !names.contains(&it.name()));
        self.suspensions.retain(|it| !names.contains(&it.name()));
        self.sites.retain(|it| !names.contains(&it.name()));
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
            ObjectName::Suspension(_) => get(&self.suspensions, name).cloned().map(Listed::object),
            ObjectName::Site { .. } => get(&self.sites, name).cloned().map(Listed::object),
        }
    }

    /// Whose the object of this name is, where there is one.
    pub fn owner(&self, name: &ObjectName) -> Option<&Owner> {
        match name {
            ObjectName::Tenant(_) => get(&self.tenants, name).map(Listed::owner),
            ObjectName::Group(_) => get(&self.groups, name).map(Listed::owner),
            ObjectName::Peer(_) => get(&self.peers, name).map(Listed::owner),
            ObjectName::Zone(_) => get(&self.zones, name).map(Listed::owner),
            ObjectName::Certificate { .. } => get(&self.certificates, name).map(Listed::owner),
            ObjectName::Suspension(_) => get(&self.suspensions, name).map(Listed::owner),
            ObjectName::Site { .. } => get(&self.sites, name).map(Listed::owner),
        }
    }

    /// The site of this name.
    pub fn site(&self, site: &SiteName) -> Option<&Arc<Site>> {
        let order = |it: &Arc<Site>| (&it.tenant, &it.name).cmp(&(&site.tenant, &site.site));
        let place = self.sites.binary_search_by(order).ok()?;
        Some(&self.sites[place])
    }

    /// A site of this tenant.
    pub fn site_of(&self, tenant: &Name) -> Option<&Arc<Site>> {
        self.sites_of(tenant).first()
    }

    /// The sites of this tenant.
    pub fn sites_of(&self, tenant: &Name) -> &[Arc<Site>] {
        let first = self.sites.partition_point(|it| it.tenant < *tenant);
        let behind = self.sites.partition_point(|it| it.tenant <= *tenant);
        &self.sites[first..behind]
    }

    /// What leads from here to where everything of `owner` is as `declared` has it, as revision
    /// `revision`: what that owner has here and not there is gone, and what belongs to others
    /// stays. Ids are kept and minted.
    ///
    /// # Errors
    ///
    /// Every object of `declared` that belongs to another owner here, with that owner.
    pub fn change_by_owner(
        &self,
        owner: &Owner,
        mut declared: Desired,
        revision: u64,
    ) -> Result<Change, Vec<(ObjectName, Owner)>> {
        declared.sort();
        let Desired {
            ids,
            tenants,
            groups,
            peers,
            zones,
            certificates,
            suspensions: _, // no manifest's, so they stay as they are
            sites,
        } = declared;
        let mut declaring = Declaring {
            owner,
            change: Change {
                revision,
                ids: ids.highest(self.ids),
                puts: Vec::new(),
                deletes: Vec::new(),
            },
            clashes: Vec::new(),
        };
        declaring.list(&self.tenants, tenants);
        declaring.list(&self.groups, groups);
        declaring.list(&self.peers, peers);
        declaring.list(&self.zones, zones);
        declaring.list(&self.certificates, certificates);
        declaring.list(&self.sites, sites);
        if declaring.clashes.is_empty() {
            Ok(declaring.change)
        } else {
            Err(declaring.clashes)
        }
    }

    /// What puts one object in the place of the one of its name, as revision `revision`, with the
    /// ids of that one or new ones. Costs what the object costs.
    pub fn change_of(&self, object: Object, revision: u64) -> Change {
        let mut change = Change {
            revision,
            ids: self.ids,
            puts: Vec::new(),
            deletes: Vec::new(),
        };
        match object {
            Object::Tenant(it) => change.set(&self.tenants, it),
            Object::Group(it) => change.set(&self.groups, it),
            Object::Peer(it) => change.set(&self.peers, it),
            Object::Zone(it) => change.set(&self.zones, it),
            Object::Certificate(it) => change.set(&self.certificates, it),
            Object::Suspension(it) => change.set(&self.suspensions, it),
            Object::Site(it) => change.set(&self.sites, it),
        }
        change
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
        compare(&self.suspensions, &next.suspensions, &mut change);
        compare(&self.sites, &next.sites, &mut change);
        change
    }
}

impl Change {
    /// Whether it changes no object.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    fn set<T: Listed>(&mut self, list: &[T], mut new: T) {
        let old = get(list, &new.name());
        new.take_ids(old, &mut self.ids);
        if old.is_none_or(|old| !old.is_same(&new)) {
            self.puts.push(new.object());
        }
    }
}

/// A change that is put together from what an owner declares.
struct Declaring<'a> {
    owner: &'a Owner,
    change: Change,
    clashes: Vec<(ObjectName, Owner)>,
}

impl Declaring<'_> {
    fn list<T: Listed>(&mut self, before: &[T], declared: Vec<T>) {
        if before.is_empty() {
            self.change.puts.reserve(declared.len());
        }
        walk(before.iter(), declared.into_iter(), |old, new| {
            let of_other = old.filter(|old| old.owner() != self.owner);
            match (of_other, old, new) {
                (Some(other), _, Some(_)) => {
                    self.clashes.push((other.name(), other.owner().clone()));
                }
                (Some(_), _, None) => {}
                (None, old, Some(mut new)) => {
                    new.take_ids(old, &mut self.change.ids);
                    if old.is_none_or(|old| !old.is_same(&new)) {
                        self.change.puts.push(new.object());
                    }
                }
                (None, Some(old), None) => self.change.deletes.push(old.name()),
                (None, None, None) => {}
            }
        });
    }
}

/// Walks two ordered lists side by side.
fn compare<T: Listed>(before: &[T], after: &[T], change: &mut Change) {
    walk(before.iter(), after.iter(), |old, new| match (old, new) {
        (Some(old), None) => change.deletes.push(old.name()),
        (old, Some(new)) if old.is_none_or(|old| !old.is_same(new)) => {
            change.puts.push(new.clone().object());
        }
        _ => {}
    });
}

/// Gives what stands under each name in two ordered lists.
fn walk<'a, T: Listed + 'a, N: Borrow<T>>(
    before: impl Iterator<Item = &'a T>,
    after: impl Iterator<Item = N>,
    mut see: impl FnMut(Option<&'a T>, Option<N>),
) {
    let (mut before, mut after) = (before.peekable(), after.peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.order_of(new.borrow()),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        see(old, new);
    }
}
