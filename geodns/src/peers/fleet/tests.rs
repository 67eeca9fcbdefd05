//! A fleet in which hosts, proxies, responders and links fail, played through with a clock of its
//! own: each responder probes each host in its own rhythm and hears what others see.

use super::*;
use proptest::prelude::*;

/// Steps of the clock in an interval.
const STEPS: u64 = 12;

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The machine.
    Host(usize),
    /// Its proxy alone.
    Proxy(usize),
    /// Its responder alone.
    Responder(usize),
    /// Between two hosts, both ways.
    Link(usize, usize),
    /// From one host to the other.
    OneWay(usize, usize),
    /// Between the hosts of the mask and the others.
    Partition(u8),
}

/// From a step on, for so many.
#[derive(Debug, Clone, Copy)]
struct Fault {
    kind: Kind,
    from: u64,
    steps: u64,
}

impl Fault {
    fn is_on(self, now: u64) -> bool {
        (self.from..self.from + self.steps).contains(&now)
    }
}

#[derive(Debug, Clone)]
struct Setting {
    hosts: usize,
    rise: u32,
    fall: u32,
    /// In steps, up to an interval.
    timeout: u64,
    /// When in the interval each responder probes each host, in steps.
    phases: Vec<u64>,
    /// A probe that fails fails at once.
    refuses: bool,
}

impl Setting {
    fn rules(&self) -> Rules {
        Rules {
            interval: Duration::from_millis(STEPS),
            rise: self.rise,
            fall: self.fall,
        }
    }

    /// In which a dead host must leave the answers (DESIGN §7), and a step.
    fn leaves_within(&self) -> u64 {
        (u64::from(self.fall) + 2) * STEPS + self.timeout + 1
    }
}

/// A probe that is under way.
#[derive(Debug, Clone, Copy)]
struct Probe {
    by: usize,
    of: usize,
    ends: u64,
    passes: bool,
}

struct Responder {
    fleet: Fleet,
    changes: Vec<(u64, Change)>,
}

/// See the module.
struct World {
    setting: Setting,
    faults: Vec<Fault>,
    now: u64,
    responders: Vec<Option<Responder>>,
    /// What the proxy of each host was told by its responder last.
    told: Vec<Option<Heard>>,
    under_way: Vec<Probe>,
    /// Of responders that have ended, too.
    changes: Vec<(usize, u64, Change)>,
}

fn name(host: usize) -> HostName {
    format!("h{host}").into()
}

impl World {
    fn new(setting: Setting, faults: Vec<Fault>) -> World {
        let hosts = setting.hosts;
        World {
            setting,
            faults,
            now: 0,
            responders: (0..hosts).map(|_| None).collect(),
            told: vec![None; hosts],
            under_way: Vec::new(),
            changes: Vec::new(),
        }
    }

    fn is_any(&self, now: u64, is: impl Fn(Kind) -> bool) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|fault| fault.is_on(now) && is(fault.kind))
    }

    fn has_proxy(&self, host: usize, now: u64) -> bool {
        !self.is_any(now, |kind| {
            kind == Kind::Host(host) || kind == Kind::Proxy(host)
        })
    }

    fn has_responder(&self, host: usize, now: u64) -> bool {
        !self.is_any(now, |kind| {
            kind == Kind::Host(host) || kind == Kind::Responder(host)
        })
    }

    fn reaches(&self, from: usize, to: usize, now: u64) -> bool {
        let is_cut = |kind| match kind {
            Kind::Link(one, other) => [(one, other), (other, one)].contains(&(from, to)),
            Kind::OneWay(one, other) => (one, other) == (from, to),
            Kind::Partition(mask) => (mask >> from ^ mask >> to) & 1 == 1,
            Kind::Host(_) | Kind::Proxy(_) | Kind::Responder(_) => false,
        };
        self.has_proxy(to, now) && (from == to || !self.is_any(now, is_cut))
    }

    fn step(&mut self) {
        let now = self.now;
        for host in 0..self.setting.hosts {
            self.live_or_die(host);
        }
        self.begin_probes();
        self.end_probes();
        for host in 0..self.setting.hosts {
            let has_proxy = self.has_proxy(host, now);
            if let Some(responder) = &mut self.responders[host] {
                let at = Duration::from_millis(now);
                for change in responder.fleet.decide(at) {
                    self.changes.push((host, now, change.clone()));
                    responder.changes.push((now, change));
                }
                if has_proxy && now.is_multiple_of(STEPS / 4) {
                    self.told[host] = Some(view(&responder.fleet, now));
                }
            }
        }
        self.now += 1;
    }

    fn live_or_die(&mut self, host: usize) {
        let has_responder = self.has_responder(host, self.now);
        if !has_responder {
            self.responders[host] = None;
        } else if self.responders[host].is_none() {
            let mut fleet = Fleet::new(self.setting.rules(), name(host));
            fleet.set_hosts((0..self.setting.hosts).map(|host| (name(host), true)));
            self.responders[host] = Some(Responder {
                fleet,
                changes: Vec::new(),
            });
        }
        if !self.has_proxy(host, self.now) {
            self.told[host] = None;
        }
    }

    fn begin_probes(&mut self) {
        let hosts = self.setting.hosts;
        for by in (0..hosts).filter(|&by| self.responders[by].is_some()) {
            for of in 0..hosts {
                let phase = self.setting.phases[by * 6 + of];
                if self.now % STEPS != phase % STEPS {
                    continue;
                }
                let passes = self.reaches(by, of, self.now);
                let takes = match (passes, self.setting.refuses) {
                    (true, _) => phase % (self.setting.timeout + 1),
                    (false, true) => 0,
                    (false, false) => self.setting.timeout,
                };
                self.under_way.push(Probe {
                    by,
                    of,
                    ends: self.now + takes,
                    passes,
                });
            }
        }
    }

    fn end_probes(&mut self) {
        let now = self.now;
        let (ended, under_way) = self.under_way.iter().partition(|probe| probe.ends <= now);
        self.under_way = under_way;
        let ended: Vec<Probe> = ended;
        for probe in ended {
            let Some(responder) = &mut self.responders[probe.by] else {
                continue;
            };
            let before: Vec<_> = responder.fleet.seen(Sight::Down).cloned().collect();
            responder.fleet.probed(&name(probe.of), probe.passes);
            if let (true, Some(told)) = (probe.passes, &self.told[probe.of]) {
                responder.fleet.heard(&name(probe.of), told.clone());
            }
            // What changes is handed over at once.
            let changed = !responder.fleet.seen(Sight::Down).eq(&before);
            let view = view(&responder.fleet, now);
            if changed && self.has_proxy(probe.by, now) {
                self.told[probe.by] = Some(view);
            }
        }
    }

    fn run(&mut self, until: u64) {
        while self.now < until {
            self.step();
        }
    }

    fn is_withdrawn(&self, by: usize, host: usize) -> bool {
        let responder = self.responders[by].as_ref();
        responder.is_some_and(|it| it.fleet.is_withdrawn(&name(host)))
    }

    /// How often a responder withdrew a host, and had it return.
    fn times(&self, by: usize, host: usize) -> (usize, usize) {
        let of = self.changes.iter();
        let of = of.filter(|(it, _, change)| *it == by && change.host == name(host));
        let withdrawn = of.clone().filter(|(_, _, change)| change.is_withdrawn);
        let count = withdrawn.count();
        (count, of.count() - count)
    }

    /// A responder that sees nobody names everybody, unless there is but one other.
    fn check_isolated(&self) -> Result<(), TestCaseError> {
        for (by, responder) in self.responders.iter().enumerate() {
            let Some(responder) = responder else { continue };
            let fleet = &responder.fleet;
            let withdrawn = (0..self.setting.hosts).filter(|&it| self.is_withdrawn(by, it));
            let withdrawn: Vec<usize> = withdrawn.collect();
            if fleet.is_isolated() && self.setting.hosts > 2 {
                prop_assert!(withdrawn.is_empty(), "{by} is isolated, at {}", self.now);
            }
            if self.setting.hosts == 2 {
                prop_assert!(withdrawn.len() < 2 || self.reaches_any(by, self.now));
            }
        }
        Ok(())
    }

    fn reaches_any(&self, by: usize, now: u64) -> bool {
        (0..self.setting.hosts).any(|host| {
            let back = now.saturating_sub(self.setting.leaves_within())..=now;
            host != by && back.into_iter().any(|at| self.reaches(by, host, at))
        })
    }
}

fn view(fleet: &Fleet, now: u64) -> Heard {
    Heard {
        at: Duration::from_millis(now),
        down: fleet.seen(Sight::Down).cloned().collect(),
    }
}

fn settings(hosts: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Setting> {
    let phases = proptest::collection::vec(0..STEPS, 36);
    let counts = (hosts, 1..=4_u32, 1..=4_u32);
    (counts, 0..=STEPS, phases, any::<bool>()).prop_map(
        |((hosts, rise, fall), timeout, phases, refuses)| Setting {
            hosts,
            rise,
            fall,
            timeout,
            phases,
            refuses,
        },
    )
}

fn kinds() -> impl Strategy<Value = Kind> {
    let host = 0..6_usize;
    prop_oneof![
        host.clone().prop_map(Kind::Host),
        host.clone().prop_map(Kind::Proxy),
        host.clone().prop_map(Kind::Responder),
        (host.clone(), host.clone()).prop_map(|(one, other)| Kind::Link(one, other)),
        (host.clone(), host).prop_map(|(one, other)| Kind::OneWay(one, other)),
        any::<u8>().prop_map(Kind::Partition),
    ]
}

/// Everybody knows everybody by then.
const WARM: u64 = 12 * STEPS;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A host or its proxy dies and comes back: every responder that is left withdraws it in time,
    /// once, and nobody else; and has it return once.
    #[test]
    fn a_dead_host_leaves_in_time_and_returns_once(
        setting in settings(2..=6),
        dead in 0..6_usize,
        is_proxy in any::<bool>(),
        from in 0..STEPS,
        intervals in 0..20_u64,
    ) {
        let dead = dead % setting.hosts;
        let kind = if is_proxy { Kind::Proxy(dead) } else { Kind::Host(dead) };
        let fault = Fault { kind, from: WARM + from, steps: intervals * STEPS + from };
        let (within, ends) = (setting.leaves_within(), fault.from + fault.steps);
        let back_by = ends + (u64::from(setting.rise) + 6) * STEPS + 2 * setting.timeout;
        let mut world = World::new(setting, vec![fault]);
        while world.now < back_by + 10 * STEPS {
            world.step();
            world.check_isolated()?;
            let now = world.now;
            for by in 0..world.setting.hosts {
                let is_left = by != dead || is_proxy;
                if is_left && fault.is_on(now) && now > fault.from + within {
                    prop_assert!(world.is_withdrawn(by, dead), "{by} names {dead} at {now}");
                }
                if now > back_by {
                    prop_assert!(!world.is_withdrawn(by, dead), "{by} at {now}");
                }
            }
        }
        for by in 0..world.setting.hosts {
            for host in 0..world.setting.hosts {
                let (withdrawn, returned) = world.times(by, host);
                prop_assert!(withdrawn <= usize::from(host == dead), "{by} of {host}");
                prop_assert!(returned <= withdrawn);
            }
        }
    }

    /// Whatever fails, alone: nobody is withdrawn twice for it, nor returns twice, and everybody is
    /// named again in the end.
    #[test]
    fn a_fault_withdraws_once(
        setting in settings(2..=6),
        kind in kinds(),
        from in 0..STEPS,
        steps in 0..30 * STEPS,
    ) {
        let fault = Fault { kind, from: WARM + from, steps };
        let end = fault.from + steps + (u64::from(setting.rise + setting.fall) + 16) * STEPS;
        let mut world = World::new(setting, vec![fault]);
        while world.now < end {
            world.step();
            world.check_isolated()?;
        }
        for by in 0..world.setting.hosts {
            for host in 0..world.setting.hosts {
                let (withdrawn, returned) = world.times(by, host);
                prop_assert!(withdrawn <= 1 && returned <= 1, "{by} of {host}: {:?}", world.changes);
                prop_assert!(!world.is_withdrawn(by, host), "{by} of {host}: {:?}", world.changes);
            }
        }
    }

    /// One host cut off from all others names everybody as long as it is, and is withdrawn by them.
    #[test]
    fn who_is_cut_off_keeps_answering(
        setting in settings(3..=6),
        alone in 0..6_usize,
        from in 0..STEPS,
    ) {
        let alone = alone % setting.hosts;
        let fault = Fault { kind: Kind::Partition(1 << alone), from: WARM + from, steps: 40 * STEPS };
        let within = setting.leaves_within();
        // With a fall of one a view can be too old before it is known that nobody is reached.
        let is_steady = setting.fall > 1;
        let mut world = World::new(setting, vec![fault]);
        world.run(fault.from);
        while fault.is_on(world.now) {
            world.step();
            for host in (0..world.setting.hosts).filter(|&host| host != alone) {
                let is_late = world.now > fault.from + within;
                if is_steady || is_late {
                    prop_assert!(!world.is_withdrawn(alone, host), "{host} at {}", world.now);
                }
                if is_late {
                    prop_assert!(world.is_withdrawn(host, alone), "by {host} at {}", world.now);
                }
            }
        }
    }

    /// Whatever fails, one over the other: once all is as it is for as long as it takes, no responder that
    /// reaches another names a dead host.
    #[test]
    fn many_faults_hide_no_dead_host(
        setting in settings(2..=6),
        faults in proptest::collection::vec((kinds(), 0..60 * STEPS, 0..30 * STEPS), 1..6),
    ) {
        let faults: Vec<Fault> = faults
            .into_iter()
            .map(|(kind, from, steps)| Fault { kind, from: WARM + from, steps })
            .collect();
        let ends = faults.iter().map(|fault| fault.from + fault.steps);
        let until = ends.clone().max().unwrap_or(0) + 20 * STEPS;
        let events: Vec<u64> = faults.iter().map(|fault| fault.from).chain(ends).collect();
        // Who was isolated sees that it is not any more, and begins anew then.
        let settles = setting.leaves_within() + (u64::from(setting.rise) + 1) * STEPS + setting.timeout;
        let mut world = World::new(setting, faults);
        while world.now < until {
            world.step();
            world.check_isolated()?;
            let now = world.now - 1;
            let last = events.iter().filter(|&&at| at <= now).max().copied().unwrap_or(0);
            if now < last + settles || now < WARM {
                continue;
            }
            for by in 0..world.setting.hosts {
                let live = (0..world.setting.hosts).any(|host| host != by && world.reaches(by, host, now));
                let knows = live || (world.setting.hosts == 2 && world.has_proxy(by, now));
                if world.responders[by].is_none() || !knows {
                    continue;
                }
                for host in 0..world.setting.hosts {
                    if !world.has_proxy(host, now) {
                        prop_assert!(world.is_withdrawn(by, host), "{by} names {host} at {now}");
                    }
                }
            }
        }
        for by in 0..world.setting.hosts {
            for host in 0..world.setting.hosts {
                let (withdrawn, _) = world.times(by, host);
                prop_assert!(withdrawn <= events.len(), "{by} of {host}: {:?}", world.changes);
            }
        }
    }
}

#[test]
fn a_tie_is_for_this_responder_to_decide() {
    let rules = Rules {
        interval: Duration::from_secs(1),
        rise: 1,
        fall: 1,
    };
    let now = Duration::from_secs(100);
    for (own_passes, other_says, is_withdrawn) in [
        (false, false, true),
        (true, true, false),
        (false, true, true),
        (true, false, false),
    ] {
        let mut fleet = Fleet::new(rules, name(0));
        fleet.set_hosts((0..3).map(|host| (name(host), true)));
        fleet.probed(&name(0), true);
        fleet.probed(&name(1), true);
        fleet.probed(&name(2), own_passes);
        let down = other_says.then(|| name(2)).into_iter().collect();
        fleet.heard(&name(1), Heard { at: now, down });
        fleet.decide(now);
        assert_eq!(fleet.is_withdrawn(&name(2)), is_withdrawn);
        // Nobody is asked who was silent for three intervals.
        let later = now + Duration::from_secs(3);
        fleet.decide(later);
        assert_eq!(fleet.vote(&name(2), later).voters, 1);
        assert_eq!(fleet.is_withdrawn(&name(2)), !own_passes);
    }
}

#[test]
fn who_is_not_probed_is_not_withdrawn() {
    let rules = Rules {
        interval: Duration::from_secs(1),
        rise: 1,
        fall: 1,
    };
    let mut fleet = Fleet::new(rules, name(0));
    fleet.set_hosts([
        (name(0), true),
        (name(1), true),
        (name(2), true),
        (name(3), false),
    ]);
    fleet.probed(&name(1), true);
    for host in 2..4 {
        fleet.probed(&name(host), false);
    }
    fleet.decide(Duration::from_secs(1));
    assert!(fleet.is_withdrawn(&name(2)) && !fleet.is_withdrawn(&name(3)));
    // What is not probed any more, and who has left.
    fleet.set_hosts([(name(0), true), (name(1), true), (name(2), false)]);
    let changes = fleet.decide(Duration::from_secs(2));
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].is_withdrawn, changes[0].why),
        (false, Why::NotProbed)
    );
    assert!(!fleet.is_withdrawn(&name(3)));
}
