//! The classes of tenants in the run queue and among the sockets: one for each tenant that has a site
//! here, and those that are gone are given to others.

use meridian_model::snapshot::TenantId;
use meridian_sys::{ClassId, Runtime};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Classes(Rc<RefCell<Known>>);

#[derive(Debug, Default)]
struct Known {
    by_tenant: HashMap<TenantId, Weak<TenantClass>>,
    /// Those of tenants that are gone. Connections of theirs may still be open.
    left: Vec<ClassId>,
}

/// A tenant's class, for as long as this is held by one of its sites.
#[derive(Debug)]
pub(crate) struct TenantClass {
    tenant: TenantId,
    id: ClassId,
    known: Rc<RefCell<Known>>,
}

impl Classes {
    /// The class of a tenant: the one that it has, or one that nobody has, or a new one.
    pub(crate) fn of(&self, tenant: TenantId, runtime: &Runtime) -> Rc<TenantClass> {
        let known = self
            .0
            .borrow()
            .by_tenant
            .get(&tenant)
            .and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let mut known = self.0.borrow_mut();
            // What an earlier tenant's last connections use would be counted to this one.
            let is_free = |&id: &ClassId| runtime.sockets_of(id) == 0;
            let id = match known.left.iter().position(is_free) {
                Some(place) => known.left.swap_remove(place),
                None => runtime.add_class(),
            };
            let class = Rc::new(TenantClass {
                tenant,
                id,
                known: Rc::clone(&self.0),
            });
            known.by_tenant.insert(tenant, Rc::downgrade(&class));
            class
        })
    }
}

impl TenantClass {
    /// What the runtime calls it.
    pub(crate) fn id(&self) -> ClassId {
        self.id
    }
}

impl Drop for TenantClass {
    fn drop(&mut self) {
        let mut known = self.known.borrow_mut();
        known.by_tenant.remove(&self.tenant);
        known.left.push(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_sys::RuntimeConfig;

    #[test]
    fn a_class_is_another_tenants_once_nothing_is_left_of_the_first() {
        let runtime = Runtime::new(RuntimeConfig::default()).expect("io_uring is there");
        let classes = Classes::default();
        let tenant = |number| TenantId(number);
        let one = classes.of(tenant(1), &runtime);
        let same = classes.of(tenant(1), &runtime);
        assert!(Rc::ptr_eq(&one, &same));
        let first = one.id();
        let open = runtime.promise(first);
        drop(one);
        assert_eq!(
            classes.of(tenant(1), &runtime).id(),
            first,
            "a site is left"
        );
        drop(same);
        // A connection of its is open.
        let two = classes.of(tenant(2), &runtime);
        assert_ne!(two.id(), first);
        drop(open);
        let three = classes.of(tenant(3), &runtime);
        assert_eq!(three.id(), first);
        for number in 4..1000 {
            let id = classes.of(tenant(number), &runtime).id();
            assert!(id != first && id != two.id());
        }
        assert_eq!(classes.0.borrow().left.len(), 1);
        assert_eq!(classes.0.borrow().by_tenant.len(), 2);
    }
}
