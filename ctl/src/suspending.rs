//! `meridianctl suspend` and `resume`: what the provider orders of tenants and sites, whoever owns
//! them.

use meridian_model::Desired;
use meridian_model::change::{Change, Object, ObjectName};
use meridian_model::desired::{Owner, Suspension};
use meridian_model::name::Name;
use serde_json::{Value, json};

use crate::change_request::{Refusal, none_such, plain_name, site_name, unknown_kind};
use crate::store::Store;

/// Begins a suspension.
pub(crate) fn suspend(store: &Store, kind: &str, name: &str) -> Result<Change, Refusal> {
    let suspension = suspension(kind, name)?;
    let desired = store.desired();
    // A name that was mistyped would suspend nobody, and say that it had.
    if desired.object(&subject(&suspension)).is_none() {
        return Err(none_such(kind, name));
    }
    let mut change = no_change(store);
    let before = desired.object(&ObjectName::Suspension(suspension.clone()));
    if before.is_none() {
        change.puts.push(Object::Suspension(suspension));
    }
    Ok(change)
}

/// Ends a suspension. What it was about need not be there any more.
pub(crate) fn resume(store: &Store, kind: &str, name: &str) -> Result<Change, Refusal> {
    let suspension = suspension(kind, name)?;
    let desired = store.desired();
    let mut change = no_change(store);
    let order = ObjectName::Suspension(suspension.clone());
    if desired.object(&order).is_some() {
        change.deletes.push(order);
        return Ok(change);
    }
    let object = desired.object(&subject(&suspension));
    let object = object.ok_or_else(|| none_such(kind, name))?;
    match reason(desired, &object) {
        None => Ok(change),
        Some(reason) => Err(Refusal::conflict(format!("{} {reason}", object.name()))),
    }
}

/// Adds to what is shown of a tenant or a site whether it is suspended, for whatever reason.
pub(crate) fn mark(desired: &Desired, kind: &str, shown: &mut Value) {
    let name = shown["full_name"].as_str().unwrap_or_default();
    let Ok(suspension) = suspension(kind, name) else {
        return;
    };
    let by_owner = shown["suspended"] == true;
    let with_tenant = suspension.site.is_some() && is_suspended(desired, &suspension.tenant);
    let by_order = desired.suspensions.binary_search(&suspension).is_ok();
    shown["suspended"] = json!(by_owner || with_tenant || by_order);
}

fn is_suspended(desired: &Desired, tenant: &Name) -> bool {
    let order = Suspension {
        tenant: tenant.clone(),
        site: None,
    };
    let place = desired.tenants.binary_search_by(|it| it.name.cmp(tenant));
    desired.suspensions.binary_search(&order).is_ok()
        || place.is_ok_and(|place| desired.tenants[place].suspended)
}

fn suspension(kind: &str, name: &str) -> Result<Suspension, Refusal> {
    match kind {
        "tenant" => Ok(Suspension {
            tenant: plain_name(name)?,
            site: None,
        }),
        "site" => site_name(name).map(|name| Suspension {
            tenant: name.tenant,
            site: Some(name.site),
        }),
        _ => Err(unknown_kind(kind, "tenant, site")),
    }
}

/// What a suspension is about.
fn subject(suspension: &Suspension) -> ObjectName {
    let Suspension { tenant, site } = suspension.clone();
    match site {
        None => ObjectName::Tenant(tenant),
        Some(name) => ObjectName::Site { tenant, name },
    }
}

/// What keeps an object from being served beside a suspension of its own.
fn reason(desired: &Desired, object: &Object) -> Option<String> {
    let by_owner = |owner: &Owner| match owner {
        Owner::Api => String::from("is suspended by its key `suspended`; set it anew without"),
        owner @ Owner::Manifest(_) => format!("is suspended by {owner}; change it there"),
    };
    match object {
        Object::Tenant(tenant) if tenant.suspended => Some(by_owner(&tenant.owner)),
        Object::Site(site) if site.suspended => Some(by_owner(&site.owner)),
        Object::Site(site) if is_suspended(desired, &site.tenant) => Some(format!(
            "is suspended with its tenant; resume tenant {}",
            site.tenant
        )),
        _ => None,
    }
}

fn no_change(store: &Store) -> Change {
    Change {
        revision: store.next_revision(),
        ids: store.desired().ids,
        puts: Vec::new(),
        deletes: Vec::new(),
    }
}
