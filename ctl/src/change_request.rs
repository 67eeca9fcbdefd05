//! From what was asked to a change of the desired state: who owns what, and what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_model::availability::{has_certificates, unavailable};
use meridian_model::certificate::CertificateContent;
use meridian_model::change::{Change, Object, ObjectName};
use meridian_model::desired::{Certificate, Owner, Pool, Site, SiteName, Tenant};
use meridian_model::name::Name;
use meridian_model::quota::OverQuota;
use meridian_model::snapshot::CertificateId;
use meridian_model::{Desired, Local, Manifest, Packed, Problem, Problems};
use serde_json::{Value, json};

use crate::certificates::showing;
use crate::delegation::{self, Delegated};
use crate::failure::Exit;
use crate::store::Store;
use crate::suspending;
use crate::up::clash_problems;

/// What stands for the text of a call in problems.
const CALL: &str = "set";

/// Why a change is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The exit code that it means.
    pub(crate) exit: Exit,
    /// In words.
    pub(crate) message: String,
    /// What is wrong with the input.
    pub(crate) problems: Option<Problems>,
}

impl Refusal {
    /// What was asked for does not compile.
    pub(crate) fn wrong(problems: Problems) -> Refusal {
        Refusal {
            exit: Exit::Input,
            message: "nothing was changed".to_string(),
            problems: Some(problems),
        }
    }

    /// It is right and can not be written.
    pub(crate) fn unwritten(error: &std::io::Error) -> Refusal {
        Refusal {
            exit: Exit::Input,
            message: format!(
                "nothing was changed, for it can not be written to the state directory: {error}"
            ),
            problems: None,
        }
    }

    /// Somebody else's decision stands against it.
    pub(crate) fn conflict(message: String) -> Refusal {
        Refusal {
            exit: Exit::Refused,
            message,
            problems: None,
        }
    }

    fn input(message: String) -> Refusal {
        Refusal {
            exit: Exit::Input,
            message,
            problems: None,
        }
    }

    pub(crate) fn call(message: String) -> Refusal {
        Refusal {
            exit: Exit::Call,
            message,
            problems: None,
        }
    }
}

/// Everything of the manifest's owner as the manifest has it.
pub(crate) fn apply(store: &Store, local: &Local, declared: Desired) -> Result<Change, Refusal> {
    let owner = Owner::Manifest(local.manifest.clone());
    let desired = store.desired().unpack();
    desired
        .change_by_owner(&owner, declared, store.next_revision())
        .map_err(|clashes| Refusal {
            exit: Exit::Refused,
            message: format!("nothing was changed: {owner} may not change what belongs to others"),
            problems: Some(clash_problems(&clashes)),
        })
}

/// Refuses to claim what sites of other owners have: only these can give a hostname up.
pub(crate) fn leave_hostnames_of_others(store: &Store, change: &Change) -> Result<(), Refusal> {
    let mut problems = Vec::new();
    for object in &change.puts {
        let Object::Site(site) = object else {
            continue;
        };
        for hostname in &site.hostnames {
            let of_other = store
                .desired()
                .claimant(hostname.as_str())
                .filter(|it| it.owner != site.owner);
            if let Some(other) = of_other {
                let (tenant, name, owner) = (&other.tenant, &other.name, &other.owner);
                problems.push(Problem {
                    file: String::new(),
                    line: None,
                    key: format!("{}/{}: hostname {hostname}", site.tenant, site.name),
                    what: format!("is claimed by {tenant}/{name}, which belongs to {owner}"),
                    hint: "take it from that site there first, or use another".to_string(),
                });
            }
        }
    }
    Problems::refuse_any(problems).map_err(|problems| Refusal {
        exit: Exit::Refused,
        message: "nothing was changed".to_string(),
        problems: Some(problems),
    })
}

/// Refuses what would give a tenant more sites than it may have.
pub(crate) fn keep_quotas(store: &Store, change: &Change) -> Result<(), Refusal> {
    quota_problems(store.desired().over_quota(change)).map_err(|problems| Refusal {
        exit: Exit::Refused,
        message: "nothing was changed".to_string(),
        problems: Some(problems),
    })
}

/// The tenants that a change would give more sites than they may have, as problems.
pub(crate) fn quota_problems(over: Vec<OverQuota>) -> Result<(), Problems> {
    let problems = over.into_iter().map(|over| {
        let (tenant, sites, sites_max) = (&over.tenant, over.sites, over.sites_max);
        Problem {
            file: String::new(),
            line: None,
            key: format!("{tenant}: tenant.limits.sites"),
            what: format!("would have {sites} sites and may have {sites_max}"),
            hint: "raise it, or delete sites first; those of all owners count".to_string(),
        }
    });
    Problems::refuse_any(problems.collect())
}

/// The paths of local settings in which a manifest differs from what `up` was started with.
pub(crate) fn restart_keys(running: &Local, asked: &Local) -> Vec<String> {
    let mut keys = Vec::new();
    compare("", &json!(running), &json!(asked), &mut keys);
    keys
}

fn compare(path: &str, one: &Value, other: &Value, keys: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(ones), Value::Object(others)) => {
            let names = ones
                .keys()
                .chain(others.keys().filter(|key| !ones.contains_key(*key)));
            for name in names {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                let nothing = &Value::Null;
                let of = |map: &'_ serde_json::Map<String, Value>| map.get(name).cloned();
                let (one, other) = (of(ones), of(others));
                compare(
                    &path,
                    one.as_ref().unwrap_or(nothing),
                    other.as_ref().unwrap_or(nothing),
                    keys,
                );
            }
        }
        (one, other) if one != other => {
            // A duration is an object of seconds and nanoseconds.
            let parts = [".secs", ".nanos"];
            let whole = parts.iter().find_map(|part| path.strip_suffix(part));
            let key = whole.unwrap_or(path).to_string();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        _ => {}
    }
}

/// Makes or replaces one object of the API's.
pub(crate) fn set(
    store: &Store,
    kind: &str,
    name: &str,
    keys: &[String],
) -> Result<Change, Refusal> {
    let desired = store.desired();
    let object = match kind {
        "tenant" => Object::Tenant(tenant(store, name, keys)?),
        "site" => Object::Site(Arc::new(site(store, &site_name(name)?, keys)?)),
        "backend" => Object::Site(Arc::new(with_backend(store, name, keys)?)),
        _ => return Err(unknown_kind(kind, "tenant, site, backend")),
    };
    may_change(desired, &object.name())?;
    Ok(desired.change_of(object, store.next_revision()))
}

/// Makes or replaces one certificate of the API's. Its content is known where it was sent.
pub(crate) fn set_certificate(
    store: &Store,
    name: &str,
    content: Option<CertificateContent>,
) -> Result<Change, Refusal> {
    if !has_certificates() {
        return Err(Refusal::input(
            "certificates are not available in this version".to_string(),
        ));
    }
    let SiteName { tenant, site: name } = site_name(name)?;
    let desired = store.desired();
    let owner = ObjectName::Tenant(tenant.clone());
    if desired.owner(&owner).is_none() {
        return Err(Refusal::input(format!(
            "there is no {owner}; make it first: meridianctl set tenant {tenant}"
        )));
    }
    let content = content.ok_or_else(|| {
        let what = "what the certificate is to hold was not sent; do the same again";
        Refusal::conflict(what.to_string())
    })?;
    let object = Object::Certificate(Certificate {
        id: CertificateId(0),
        owner: Owner::Api,
        tenant,
        name,
        content,
    });
    may_change(desired, &object.name())?;
    Ok(desired.change_of(object, store.next_revision()))
}

/// The sites that use a certificate, towards clients or backends.
pub(crate) fn users(desired: &Packed, tenant: &Name, certificate: &Name) -> Vec<String> {
    let sites = desired.all_sites_of(tenant).into_iter();
    let using = sites.filter(|site| uses(site, certificate));
    using
        .map(|site| format!("{}/{}", site.tenant, site.name))
        .collect()
}

fn uses(site: &Site, certificate: &Name) -> bool {
    let to_backends = site.pools.iter().filter_map(|pool| pool.tls.as_deref());
    let mut to_backends = to_backends.filter_map(|tls| tls.certificate.as_ref());
    site.certificates.contains(certificate) || to_backends.any(|it| it == certificate)
}

/// Removes one object of the API's.
pub(crate) fn delete(store: &Store, kind: &str, name: &str) -> Result<Change, Refusal> {
    let desired = store.desired();
    let mut change = Change {
        revision: store.next_revision(),
        ids: desired.others().ids,
        puts: Vec::new(),
        deletes: Vec::new(),
    };
    match kind {
        "tenant" => {
            let tenant = plain_name(name)?;
            if let Some(site) = desired.site_of(&tenant) {
                return Err(Refusal::conflict(format!(
                    "tenant {tenant} still has sites, such as {tenant}/{}; delete them first",
                    site.name
                )));
            }
            if let Some(certificate) = desired.others().certificates_of(&tenant).first() {
                return Err(Refusal::conflict(format!(
                    "tenant {tenant} still has certificates, such as {tenant}/{}; delete them first",
                    certificate.name
                )));
            }
            change.deletes.push(ObjectName::Tenant(tenant));
        }
        "site" => {
            let SiteName { tenant, site: name } = site_name(name)?;
            change.deletes.push(ObjectName::Site { tenant, name });
        }
        "certificate" => {
            let SiteName { tenant, site: name } = site_name(name)?;
            let users = users(desired, &tenant, &name);
            if !users.is_empty() {
                return Err(Refusal::conflict(format!(
                    "certificate {tenant}/{name} is used by {}; take it from there first",
                    some_of(&users)
                )));
            }
            change
                .deletes
                .push(ObjectName::Certificate { tenant, name });
        }
        "backend" => {
            let (mut site, pool, backend) = find_pool(desired, name)?;
            let backends = &mut site.pools[pool].backends;
            let place = backends.iter().position(|it| it.name.as_str() == backend);
            backends.remove(place.ok_or_else(|| none_such(kind, name))?);
            let object = Object::Site(Arc::new(site));
            may_change(desired, &object.name())?;
            change.puts.push(object);
            return Ok(change);
        }
        _ => return Err(unknown_kind(kind, "tenant, site, certificate, backend")),
    }
    for name in &change.deletes {
        if desired.owner(name).is_none() {
            return Err(Refusal::input(format!("there is no {name}")));
        }
        may_change(desired, name)?;
    }
    Ok(change)
}

/// Objects of a kind: one, or all.
pub(crate) fn get(
    local: &Local,
    desired: &Packed,
    kind: &str,
    name: Option<&str>,
) -> Result<Vec<Value>, Refusal> {
    let others = desired.others();
    let tenants = || {
        others
            .tenants
            .iter()
            .map(|it| (it.name.to_string(), json!(it)))
    };
    let sites = || {
        let named = |it: &Arc<Site>| (format!("{}/{}", it.tenant, it.name), json!(**it));
        let sites = desired.unpack().sites;
        sites.iter().map(named).collect()
    };
    let groups = || {
        others
            .groups
            .iter()
            .map(|it| (it.name.to_string(), json!(it)))
    };
    let peers = || {
        others
            .peers
            .iter()
            .map(|it| (it.name.to_string(), json!(it)))
    };
    let all: Vec<(String, Value)> = match (kind, name) {
        ("tenant", _) => tenants().collect(),
        // One of many is not looked for among all.
        ("site", Some(name)) => {
            let site = desired.site(&site_name(name)?);
            site.map(|it| (name.to_string(), json!(*it)))
                .into_iter()
                .collect()
        }
        ("site", None) => sites(),
        ("backend", Some(name)) => {
            let site = find_pool(desired, name).map(|(site, _, _)| backends(&site));
            site.into_iter().flatten().collect()
        }
        ("backend", None) => {
            let sites = desired.unpack().sites;
            sites.iter().flat_map(|it| backends(it)).collect()
        }
        ("group", _) => groups().collect(),
        ("peer", _) => peers().collect(),
        ("zone", _) => zones(local, others),
        ("certificate", _) => showing::certificates(desired, name)?,
        _ => {
            let kinds = "tenant, site, certificate, backend, group, peer, zone";
            return Err(unknown_kind(kind, kinds));
        }
    };
    let wanted = |(full, value): (String, Value)| {
        let mut value = value;
        value["full_name"] = json!(full);
        name.is_none_or(|name| name == full).then_some(value)
    };
    let mut found: Vec<Value> = all.into_iter().filter_map(wanted).collect();
    for value in &mut found {
        suspending::mark(others, kind, value);
    }
    match name {
        Some(name) if found.is_empty() => Err(none_such(kind, name)),
        _ => Ok(found),
    }
}

/// Zones, each with what the zone above has to hold for it.
fn zones(local: &Local, others: &Desired) -> Vec<(String, Value)> {
    let mut delegated: BTreeMap<String, Vec<Delegated>> =
        delegation::records(local, others).into_iter().collect();
    let zones = others.zones.iter().map(|zone| {
        let mut value = json!(zone);
        value["delegation"] = json!(delegated.remove(&format!("{}.", zone.name)));
        (zone.name.to_string(), value)
    });
    zones.collect()
}

fn backends(site: &Site) -> Vec<(String, Value)> {
    let of_pool = |pool: &Pool| {
        let prefix = format!("{}/{}/{}", site.tenant, site.name, pool.name);
        let full = pool.backends.iter().map(move |backend| {
            let mut value = json!(backend);
            value["owner"] = json!(site.owner);
            (format!("{prefix}/{}", backend.name), value)
        });
        full.collect::<Vec<_>>()
    };
    site.pools.iter().flat_map(of_pool).collect()
}

fn may_change(desired: &Packed, name: &ObjectName) -> Result<(), Refusal> {
    match desired.owner(name) {
        Some(owner @ Owner::Manifest(_)) => Err(Refusal::conflict(format!(
            "{name} belongs to {owner}; change it there and apply that"
        ))),
        Some(Owner::Api) | None => Ok(()),
    }
}

fn tenant(store: &Store, name: &str, keys: &[String]) -> Result<Tenant, Refusal> {
    let name = plain_name(name)?;
    let text = format!("[[tenant]]\nname = \"{name}\"\n{}", lines(keys)?);
    let mut parsed = parse(store, &text)?;
    let mut tenant = parsed.tenants.pop().ok_or_else(|| unreadable(&text))?;
    tenant.owner = Owner::Api;
    Ok(tenant)
}

fn site(store: &Store, name: &SiteName, keys: &[String]) -> Result<Site, Refusal> {
    let tenant = ObjectName::Tenant(name.tenant.clone());
    let Some(Object::Tenant(tenant)) = store.desired().object(&tenant) else {
        return Err(Refusal::input(format!(
            "there is no {tenant}; make it first: meridianctl set tenant {}",
            name.tenant
        )));
    };
    let text = format!(
        "{}{}[[site]]\ntenant = \"{}\"\nname = \"{}\"\n{}",
        tenant_text(store.local(), &tenant),
        certificates_text(store.desired(), &name.tenant),
        name.tenant,
        name.site,
        lines(keys)?
    );
    let mut parsed = parse(store, &text)?;
    let site = parsed.sites.pop().ok_or_else(|| unreadable(&text))?;
    let mut site = Arc::unwrap_or_clone(site);
    site.owner = Owner::Api;
    Ok(site)
}

/// The site of a backend, with that backend as the keys say.
fn with_backend(store: &Store, full: &str, keys: &[String]) -> Result<Site, Refusal> {
    let (mut site, pool, backend) = find_pool(store.desired(), full)?;
    let text = |pool: &str| -> Result<String, Refusal> {
        let mut keys = keys.to_vec();
        keys.push(format!("name={backend:?}"));
        let inline = entries(&keys)?.join(", ");
        Ok(match pool {
            "default" => format!("backend=[{{ {inline} }}]"),
            _ => format!("backend=[{{ pool = {pool:?}, {inline} }}]"),
        })
    };
    let name = SiteName {
        tenant: site.tenant.clone(),
        site: site.name.clone(),
    };
    let pool_name = site.pools[pool].name.to_string();
    // Read as part of a site of its own, by the rules for all of them.
    let mut keys = vec!["hostnames=[\"set.invalid\"]".to_string(), text(&pool_name)?];
    if pool_name != "default" {
        keys.push(format!("pool=[{{ name = {pool_name:?} }}]"));
    }
    let read = self::site(store, &name, &keys)?;
    let mut backends = read.pools.into_iter().flat_map(|pool| pool.backends);
    let backend = backends.next().ok_or_else(|| unreadable(full))?;
    let pool = &mut site.pools[pool];
    pool.backends.retain(|it| it.name != backend.name);
    pool.backends.push(backend);
    pool.backends.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(site)
}

fn find_pool(desired: &Packed, full: &str) -> Result<(Site, usize, String), Refusal> {
    let parts: Vec<&str> = full.split('/').collect();
    let [tenant, site, pool, backend] = parts[..] else {
        return Err(Refusal::call(format!(
            "{full:?} is not the full name of a backend; write tenant/site/pool/backend, such as \
             acme/shop/default/a1"
        )));
    };
    let name = site_name(&format!("{tenant}/{site}"))?;
    let found = desired
        .site(&name)
        .ok_or_else(|| none_such("site", &name.to_string()))?;
    let place = found.pools.iter().position(|it| it.name.as_str() == pool);
    let place = place.ok_or_else(|| Refusal::input(format!("site {name} has no pool {pool}")))?;
    Ok((Arc::unwrap_or_clone(found), place, backend.to_string()))
}

/// Reads a piece of a manifest as if it stood in one of this host's.
fn parse(store: &Store, text: &str) -> Result<Desired, Refusal> {
    let local = store.local();
    let networks: Vec<String> = local
        .host
        .backend_networks
        .iter()
        .map(|it| it.to_string())
        .collect();
    let listen: Vec<String> = local.listen.http.iter().map(|it| it.to_string()).collect();
    let mut whole = format!(
        "[host]\nname = \"{}\"\nbackend_networks = {networks:?}\n[listen]\nhttp = {listen:?}\n",
        local.host.name
    );
    let names = local
        .host
        .group
        .iter()
        .chain(store.desired().others().groups.iter().map(|it| &it.name));
    let mut groups: Vec<&Name> = names.collect();
    groups.sort();
    groups.dedup();
    for group in groups {
        whole.push_str(&format!("[[group]]\nname = \"{group}\"\n"));
    }
    whole.push_str(text);
    let manifest = Manifest::parse(&whole, CALL).map_err(|all| of_call(&all))?;
    Problems::refuse_any(unavailable(&manifest)).map_err(|all| of_call(&all))?;
    let (_, desired) = manifest.into_parts();
    let policy = local.address_policy(&store.desired().others().peers);
    for site in &desired.sites {
        for backend in site.pools.iter().flat_map(|pool| &pool.backends) {
            if let meridian_model::desired::BackendAddress::Ip(address) = &backend.address
                && let Err(refusal) = policy.check(&local.host.backend_networks, *address)
            {
                return Err(Refusal::wrong(Problems::from(Problem {
                    file: String::new(),
                    line: None,
                    key: "site.backend.address".to_string(),
                    what: format!("{address}: {refusal}"),
                    hint: "see \"Where a backend may be\" in docs/manifest.md".to_string(),
                })));
            }
        }
    }
    Ok(desired)
}

/// A tenant as a manifest would have to write it to mean the same.
fn tenant_text(local: &Local, tenant: &Tenant) -> String {
    let networks = match (&tenant.backend_networks, &tenant.owner) {
        (Some(networks), _) => networks.clone(),
        (None, Owner::Manifest(_)) => local.host.backend_networks.clone(),
        (None, Owner::Api) => Vec::new(),
    };
    let networks: Vec<String> = networks.iter().map(|it| it.to_string()).collect();
    format!(
        "[[tenant]]\nname = \"{}\"\nbackend_networks = {networks:?}\n",
        tenant.name
    )
}

/// The certificates of a tenant, so that a site may name them.
fn certificates_text(desired: &Packed, tenant: &Name) -> String {
    let certificates = desired.others().certificates_of(tenant).iter();
    let text = |it: &Certificate| {
        format!(
            "[[certificate]]\ntenant = \"{tenant}\"\nname = \"{}\"\nchain = \"-\"\nkey = \"-\"\n",
            it.name
        )
    };
    certificates.map(text).collect()
}

/// Problems without the file and the lines that the asker never saw.
fn of_call(problems: &Problems) -> Refusal {
    let problems = problems.iter().cloned().map(|problem| Problem {
        file: String::new(),
        line: None,
        ..problem
    });
    match Problems::refuse_any(problems.collect()) {
        Err(problems) => Refusal::wrong(problems),
        Ok(()) => Refusal::input("the keys are not understood".to_string()),
    }
}

fn lines(keys: &[String]) -> Result<String, Refusal> {
    Ok(entries(keys)?
        .iter()
        .map(|line| format!("{line}\n"))
        .collect())
}

/// Each `key=value` as TOML; a value that is none is a string.
fn entries(keys: &[String]) -> Result<Vec<String>, Refusal> {
    let entry = |text: &String| {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Refusal::call(format!(
                "{text:?}: write KEY=VALUE, with the keys of a manifest"
            ))
        })?;
        let (key, value) = (key.trim(), value.trim());
        let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if key.is_empty() || !key.bytes().all(is_key) {
            return Err(Refusal::call(format!("{key:?} is not a key of a manifest")));
        }
        let line = format!("{key} = {value}");
        if !value.contains('\n') && line.parse::<toml::Table>().is_ok() {
            return Ok(line);
        }
        Ok(format!(
            "{key} = {}",
            toml::Value::String(value.to_string())
        ))
    };
    keys.iter().map(entry).collect()
}

pub(crate) fn site_name(name: &str) -> Result<SiteName, Refusal> {
    SiteName::try_from(name.to_string())
        .map_err(|malformed| Refusal::call(format!("{}; {}", malformed.what, malformed.hint)))
}

pub(crate) fn plain_name(name: &str) -> Result<Name, Refusal> {
    Name::parse(name)
        .map_err(|malformed| Refusal::call(format!("{}; {}", malformed.what, malformed.hint)))
}

pub(crate) fn none_such(kind: &str, name: &str) -> Refusal {
    Refusal::input(format!("there is no {kind} {name}"))
}

pub(crate) fn unknown_kind(kind: &str, kinds: &str) -> Refusal {
    Refusal::call(format!("{kind:?} is none of the kinds: {kinds}"))
}

/// Some of many names.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

fn unreadable(what: &str) -> Refusal {
    Refusal::input(format!("not understood: {what}"))
}
