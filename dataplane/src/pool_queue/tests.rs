//! Who is given a place, and who is woken for it.

use super::*;
use meridian_model::snapshot::ProxyProtocol;
use meridian_model::{Manifest, compile};
use meridian_sys::{Runtime, RuntimeConfig};

/// A pool with two backends, `b1` and `b2`, of one request each.
struct Bed {
    site: Arc<Site>,
    queue: PoolQueue,
    calls: Arc<Calls>,
    task: TaskId,
}

impl Bed {
    fn new() -> Bed {
        let text = "[host]\nname = \"a\"\nbackend_networks = [\"127.0.0.0/8\"]\n\
             [listen]\nhttp = [\"127.0.0.1:80\"]\n[fleet]\nname = \"f\"\n\
             [[tenant]]\nname = \"t\"\n\
             [[site]]\ntenant = \"t\"\nname = \"s\"\nhostnames = [\"s.test\"]\n\
             [[site.backend]]\nname = \"b1\"\naddress = \"127.0.0.1:1\"\nconnections = 1\n\
             [[site.backend]]\nname = \"b2\"\naddress = \"127.0.0.1:2\"\nconnections = 1\n";
        let manifest = Manifest::parse(text, "test").unwrap_or_else(|all| panic!("{all}"));
        let (local, mut desired) = manifest.into_parts();
        desired.assign_ids(None);
        let snapshot = compile(&local, &desired, 1).expect("it compiles");
        let site = snapshot.hostnames.find(b"s.test").expect("it is served");
        let runtime = Runtime::new(RuntimeConfig::default()).expect("io_uring is there");
        Bed {
            site: Arc::clone(site),
            queue: PoolQueue::default(),
            calls: Calls::new(runtime.notifier()),
            task: runtime.current_task(),
        }
    }

    fn key(&self, place: usize) -> BackendKey {
        self.site.pools[0].tiers[0].backends[place].key.clone()
    }

    fn any(&self, tried: &[BackendKey]) -> Wish {
        Wish::Any(OneOf {
            of: TierOf {
                site: Arc::clone(&self.site),
                tier: (0, 0),
            },
            tried: tried.into(),
        })
    }

    fn enter(&self, wish: Wish) -> Option<Arc<Waiter>> {
        self.queue.enter(wish, u32::MAX, self.caller())
    }

    fn caller(&self) -> Caller {
        Caller {
            task: self.task,
            calls: Arc::clone(&self.calls),
        }
    }

    /// A request has ended at this one.
    fn end(&self, place: usize) -> BackendKey {
        let state = BackendState::new(false);
        state.limit(Some(1));
        self.queue.pass_on(&self.key(place), &state);
        self.key(place)
    }

    /// How many are woken.
    fn called(&self) -> usize {
        std::iter::from_fn(|| self.calls.take()).count()
    }
}

#[test]
fn of_a_long_line_only_who_is_given_a_place_is_woken() {
    let bed = Bed::new();
    let enter = |_| bed.enter(bed.any(&[])).expect("there is room");
    let line: Vec<_> = (0..1000).map(enter).collect();
    assert_eq!(bed.called(), 0);
    for (at, waiter) in line.iter().enumerate().take(10) {
        assert!(waiter.is_first() && !line[at + 1].is_first());
        let key = bed.end(at % 2);
        assert_eq!(bed.called(), 1);
        assert_eq!(bed.queue.leave(waiter), Some(key));
        assert_eq!(bed.called(), 0);
    }
    // Who leaves without a place has the first look, however often.
    for waiter in &line[500..600] {
        assert_eq!(bed.queue.leave(waiter), None);
    }
    assert_eq!(bed.called(), 1);
    assert!(line[10].is_first() && bed.queue.is_used());
    line[10..].iter().for_each(|it| drop(bed.queue.leave(it)));
    assert!(!bed.queue.is_used() && !bed.queue.has_like(&bed.any(&[])));
}

#[test]
fn a_place_goes_to_the_first_who_may_have_it() {
    let bed = Bed::new();
    let (one, two) = (bed.key(0), bed.key(1));
    let wishes = [
        bed.any(std::slice::from_ref(&one)),
        Wish::Only(two.clone()),
        bed.any(&[]),
        Wish::Only(one.clone()),
        bed.any(std::slice::from_ref(&two)),
    ];
    let line = wishes.map(|wish| bed.enter(wish).expect("there is room"));
    assert!(line.iter().all(|it| it.is_first()), "each of its kind");
    for (ends, taker) in [(0, 2), (0, 3), (1, 0), (0, 4), (1, 1)] {
        let granted = || line.iter().filter(|it| it.is_granted()).count();
        let before = granted();
        bed.end(ends);
        assert!(
            line[taker].is_granted() && granted() == before + 1,
            "{taker}"
        );
        assert_eq!(bed.queue.leave(&line[taker]), Some(bed.key(ends)));
        assert_eq!(bed.called(), 1);
    }
    assert!(!bed.queue.is_used());
    bed.end(0);
    assert_eq!(bed.called(), 0);
}

#[test]
fn a_backend_that_may_not_be_used_is_its_visitors_unless_it_is_down() {
    let bed = Bed::new();
    let visitor = bed.enter(Wish::Only(bed.key(0))).expect("there is room");
    let other = bed.enter(bed.any(&[])).expect("there is room");
    let state = BackendState::new(true);
    state.limit(Some(1));
    state.set_health(Health::Down, "refused");
    bed.queue.pass_on(&bed.key(0), &state);
    assert!(!visitor.is_granted() && !other.is_granted());
    state.set_health(Health::Up, "connected");
    bed.queue.pass_on(&bed.key(0), &state);
    assert!(visitor.is_granted() && !other.is_granted());
    // It drains, and has one already.
    bed.queue.pass_on(&bed.key(0), &state);
    assert!(!other.is_granted());
}

#[test]
fn who_waits_for_something_else_has_come_no_later() {
    let bed = Bed::new();
    let tried = [bed.key(0)];
    let first = bed.enter(bed.any(&tried)).expect("there is room");
    let second = bed.enter(bed.any(&[])).expect("there is room");
    assert_eq!(bed.queue.leave(&first), None);
    let again = bed
        .queue
        .enter_again(bed.any(&[]), Some(&first), bed.caller());
    let again = again.expect("there is room");
    assert!(again.is_first() && !second.is_first());
    bed.end(0);
    assert!(again.is_granted() && second.is_first());
    assert!(!second.is_granted());
}

#[test]
fn few_different_things_are_waited_for() {
    let bed = Bed::new();
    let tried = |number: usize| {
        let address = "127.0.0.1:9".parse().expect("it is an address");
        let name = format!("x{number}").into();
        BackendKey::new(
            bed.site.id,
            "default".into(),
            name,
            address,
            ProxyProtocol::Off.into(),
        )
    };
    let kinds: Vec<_> = (0..QUEUE_KINDS_MAX)
        .map(|number| bed.enter(bed.any(&[tried(number)])))
        .collect();
    assert!(kinds.iter().all(Option::is_some));
    assert!(bed.enter(bed.any(&[])).is_none());
    // What is waited for already is no other thing, and one backend's visitors find each other.
    assert!(bed.enter(bed.any(&[tried(7)])).is_some());
    let visitor = bed.enter(Wish::Only(bed.key(0))).expect("there is room");
    // Nor does anybody come to wait for one more by changing his mind.
    assert_eq!(bed.queue.leave(&visitor), None);
    let change = |wish| (bed.queue).enter_again(wish, Some(&visitor), bed.caller());
    assert!(change(bed.any(&[])).is_none());
    assert!(change(bed.any(&[tried(7)])).is_some());
    // What nobody waits for any more has left its room.
    let gone = kinds[0].as_ref().expect("there was room");
    assert_eq!(bed.queue.leave(gone), None);
    assert!(change(bed.any(&[])).is_some());
    assert!(bed.enter(bed.any(&[tried(0)])).is_none());
}
