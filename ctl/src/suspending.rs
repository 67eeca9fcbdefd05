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

/// Ends a suspension. What it was about need not be there any more. Beside the change stands what
/// keeps the object from being served all the same.
pub(crate) fn resume(
    store: &Store,
    kind: &str,
    name: &str,
) -> Result<(Change, Option<String>), Refusal> {
    let suspension = suspension(kind, name)?;
    let desired = store.desired();
    let mut change = no_change(store);
    let object = desired.object(&subject(&suspension));
    let reason = object.as_ref().and_then(|it| reason(desired.others(), it));
    let order = ObjectName::Suspension(suspension);
    if desired.object(&order).is_some() {
        change.deletes.push(order);
        let still = |(object, reason)| format!("{object} is still {reason}");
        let named = object.map(|it| it.name());
        return Ok((change, named.zip(reason).map(still)));
    }
    let object = object.ok_or_else(|| none_such(kind, name))?;
    match reason {
        None => Ok((change, None)),
        Some(reason) => Err(Refusal::conflict(format!("{} is {reason}", object.name()))),
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
    is_ordered(desired, tenant) || owner_suspending(desired, tenant).is_some()
}

fn is_ordered(desired: &Desired, tenant: &Name) -> bool {
    let order = Suspension {
        tenant: tenant.clone(),
        site: None,
    };
    desired.suspensions.binary_search(&order).is_ok()
}

/// The owner of a tenant, where that one suspends it.
fn owner_suspending<'a>(desired: &'a Desired, tenant: &Name) -> Option<&'a Owner> {
    let place = desired.tenants.binary_search_by(|it| it.name.cmp(tenant));
    let tenant = &desired.tenants[place.ok()?];
    tenant.suspended.then_some(&tenant.owner)
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

/// What keeps an object from being served beside a suspension of its own: all of it, each with the
/// remedy.
fn reason(desired: &Desired, object: &Object) -> Option<String> {
    let mut reasons = Vec::new();
    match object {
        Object::Tenant(tenant) if tenant.suspended => reasons.push(by_owner(&tenant.owner)),
        Object::Site(site) => {
            let tenant = &site.tenant;
            if site.suspended {
                reasons.push(by_owner(&site.owner));
            }
            if is_ordered(desired, tenant) {
                let with_tenant = "suspended with its tenant; resume tenant";
                reasons.push(format!("{with_tenant} {tenant}"));
            }
            if let Some(owner) = owner_suspending(desired, tenant) {
                let by_owner = by_owner(owner);
                reasons.push(format!(
                    "suspended with its tenant; tenant {tenant} is {by_owner}"
                ));
            }
        }
        _ => {}
    }
    (!reasons.is_empty()).then(|| reasons.join("; and it is "))
}

fn by_owner(owner: &Owner) -> String {
    match owner {
        Owner::Api => {
            format!("suspended by {owner}, with its key `suspended`; set it anew without")
        }
        Owner::Manifest(_) => format!("suspended by {owner}; change it there"),
    }
}

fn no_change(store: &Store) -> Change {
    Change {
        revision: store.next_revision(),
        ids: store.desired().others().ids,
        puts: Vec::new(),
        deletes: Vec::new(),
    }
}
