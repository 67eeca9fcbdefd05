//! What compiling refuses, and what it works out from host, tenant and site together.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use meridian_model::availability::unavailable;
use meridian_model::certificate::Digest;
use meridian_model::config_log::{FORMAT, Header, encode};
use meridian_model::desired::{FieldRules, HealthKind, Match, Outcome, Owner, Route, Site};
use meridian_model::name::{Hostname, Name};
use meridian_model::snapshot::{
    self, Algorithm, Allowance, Backend, BackendKey, HashInput, Rate, TlsVersion,
};
use meridian_model::{Compiled, Desired, Local, Manifest, Packed, compile};

const SMALL: &str = r#"
[host]
name = "ams-1"
backend_networks = ["127.0.0.0/8", "10.0.0.0/8"]
timeouts = { head = "5s", first_byte = "20s" }

[listen]
http = ["127.0.0.1:8080"]

[[tenant]]
name = "acme"

[[site]]
tenant = "acme"
name = "shop"
hostnames = ["shop.example.com"]
timeouts = { first_byte = "7s" }

[[site.backend]]
address = "127.0.0.1:9001"

[[site]]
tenant = "acme"
name = "blog"
hostnames = ["blog.example.com"]
"#;

fn parts(text: &str) -> (Local, Desired) {
    let manifest = Manifest::parse(text, "ams.toml").unwrap_or_else(|all| panic!("{all}"));
    let (local, mut desired) = manifest.into_parts();
    desired.assign_ids(None);
    (local, desired)
}

fn refusals(local: &Local, desired: &Desired) -> String {
    compile(local, desired, 1)
        .expect_err("it is to be refused")
        .to_string()
}

#[test]
fn timeouts_of_the_site_stand_on_the_hosts_and_those_on_the_defaults() {
    let (local, desired) = parts(SMALL);
    let snapshot = compile(&local, &desired, 3).unwrap();
    assert_eq!(snapshot.timeouts.head, Duration::from_secs(5));
    assert_eq!(snapshot.timeouts.first_byte, Duration::from_secs(20));
    let shop = snapshot.hostnames.find(b"shop.example.com").unwrap();
    assert_eq!(shop.timeouts.head, Duration::from_secs(5));
    assert_eq!(shop.timeouts.first_byte, Duration::from_secs(7));
    assert_eq!(shop.timeouts.connect, Duration::from_secs(3));
    let blog = snapshot.hostnames.find(b"blog.example.com").unwrap();
    assert_eq!(*blog.timeouts, snapshot.timeouts);
    // Without a backend the pool and its first tier are there, and empty.
    assert_eq!(&*blog.pools[0].name, "default");
    assert!(blog.pools[0].tiers[0].backends.is_empty());
    assert_eq!(snapshot.sites.len(), 2);
    assert_eq!(snapshot.revision, 3);
}

#[test]
fn a_tenants_networks_are_a_part_of_the_hosts() {
    let networks = |change: fn(&mut Desired)| -> Vec<String> {
        let (local, mut desired) = parts(SMALL);
        change(&mut desired);
        let snapshot = compile(&local, &desired, 1).unwrap();
        let of_site = snapshot.sites_by_name()[0].backend_networks.iter();
        of_site.map(IpNet::to_string).collect()
    };
    assert_eq!(networks(|_| ()), ["10.0.0.0/8", "127.0.0.0/8"]);
    assert_eq!(
        networks(|desired| desired.tenants[0].owner = Owner::Api),
        [""; 0]
    );
    let narrowed = networks(|desired| {
        let listed = ["10.7.0.0/16", "192.168.0.0/16"].map(|text| text.parse().unwrap());
        desired.tenants[0].backend_networks = Some(listed.to_vec());
        desired.tenants[0].owner = Owner::Api;
    });
    assert_eq!(narrowed, ["10.7.0.0/16"]);
    let nothing = networks(|desired| desired.tenants[0].backend_networks = Some(Vec::new()));
    assert_eq!(nothing, [""; 0]);
}

#[test]
fn a_hosts_own_listener_is_no_backend_at_connect_either() {
    let (local, desired) = parts(SMALL);
    let snapshot = compile(&local, &desired, 1).unwrap();
    let networks = &snapshot.sites_by_name()[0].backend_networks;
    let check = |address: &str| snapshot.policy.check(networks, address.parse().unwrap());
    assert!(check("127.0.0.1:9001").is_ok());
    assert!(check("127.0.0.1:8080").is_err());
    assert!(check("192.168.0.1:80").is_err());
}

/// Nothing that a site may say is left out of what is built.
#[test]
fn all_that_a_site_may_say_compiles() {
    let text = include_str!("fixtures/every_key.toml");
    let manifest = Manifest::parse(text, "every_key.toml").unwrap();
    let of_sites = |key: &str| key.starts_with("site.");
    let named: BTreeSet<String> = unavailable(&manifest)
        .into_iter()
        .map(|problem| problem.key)
        .filter(|key| of_sites(key))
        .collect();
    let (local, mut desired) = parts(text);
    read_certificate(&mut desired, 1, &["shop.example.com", "*.shop.example.com"]);
    let site = Arc::make_mut(&mut desired.sites[0]);
    if let Some(clients) = &mut site.client_certificates {
        clients.authorities = String::from("read");
    }
    let pools = site.pools.iter_mut();
    for tls in pools.filter_map(|pool| pool.tls.as_mut()) {
        tls.authorities = Some(String::from("read"));
    }
    assert_eq!(named, BTreeSet::new());
    compile(&local, &desired, 1).unwrap_or_else(|all| panic!("{all}"));
}

/// A backend by TLS is to be what it is known by, unless its pool says otherwise; and what a handshake is
/// made with tells backends apart.
#[test]
fn backends_by_tls_have_names() {
    let with = |tls: &str| {
        let text = format!(
            "{SMALL}pool = {{ tls = {{ {tls} }} }}\n[[site.backend]]\naddress = \"127.0.0.1:9443\"\n\
             [[site.backend]]\naddress = \"app.internal:9443\"\n"
        );
        let (local, desired) = parts(&text);
        compile(&local, &desired, 1).unwrap_or_else(|all| panic!("{all}"))
    };
    let names = |tls: &str| {
        let snapshot = with(tls);
        let blog = snapshot.hostnames.find(b"blog.example.com").unwrap();
        let address = "127.0.0.1:9443".parse().unwrap();
        let site = blog.with_addresses(|_| vec![address]);
        let backends = site.pools[0].tiers[0].backends.iter();
        let named = backends.filter(|it| it.address() == address);
        let keys: Vec<BackendKey> = named.map(|it| it.key.clone()).collect();
        assert_eq!(keys.len(), 2);
        let name = |key: &BackendKey| key.tls().unwrap().name.as_deref().map(String::from);
        (keys.iter().map(name).collect::<Vec<_>>(), keys)
    };
    let (by_default, keys) = names("");
    assert_eq!(by_default, [None, Some(String::from("app.internal"))]);
    let own = Some(String::from("api.test"));
    let (named, others) = names("name = \"api.test\"");
    assert_eq!(named, [own.clone(), own]);
    assert!(keys.iter().zip(&others).all(|(one, other)| one != other));
    let (_, unverified) = names("verify = false");
    assert!(
        keys.iter()
            .zip(&unverified)
            .all(|(one, other)| one != other)
    );
    assert_eq!(keys, names("").1);
}

/// The first certificate as its files would have it.
fn read_certificate(desired: &mut Desired, content: u8, names: &[&str]) {
    let names = names.iter().map(|name| Hostname::parse(name).unwrap());
    let mut names: Vec<Hostname> = names.collect();
    names.sort();
    let certificate = &mut desired.certificates[0].content;
    certificate.digest = Digest([content; 32]);
    certificate.names = names.into();
}

/// Nobody is let in by authorities that were not read, and who signs clients stays who it is when a certificate
/// is renewed.
#[test]
fn clients_are_verified_by_what_was_read_and_by_https_alone() {
    let asks = "client_certificates = { authorities = \"ca.pem\" }\n";
    let (local, desired) = parts(&format!("{SMALL}{asks}"));
    let problems = compile(&local, &desired, 1).unwrap_err().to_string();
    for part in [
        "acme/blog: site.client_certificates: clients show a certificate in a handshake",
        "acme/blog: site.client_certificates.authorities: was never read",
    ] {
        assert!(problems.contains(part), "{problems}");
    }
    let text = format!(
        "{SMALL}certificates = [\"web\"]\n{asks}[[certificate]]\ntenant = \"acme\"\nname = \"web\"\n\
         chain = \"web.pem\"\nkey = \"web.key\"\n"
    );
    let (local, mut desired) = parts(&text);
    read_certificate(&mut desired, 1, &["*.example.com"]);
    let site = Arc::make_mut(&mut desired.sites[0]);
    let clients = site.client_certificates.as_mut().unwrap();
    clients.authorities = String::from("read");
    let mut compiled = Compiled::new(&local, &desired, 1).unwrap();
    let rules = |compiled: &Compiled| {
        let (_, site) = compiled.snapshot().sites.iter().next().unwrap();
        site.tls.as_ref().unwrap().rules.clients.clone().unwrap()
    };
    let before = rules(&compiled);
    assert_eq!((before.required, &*before.authorities), (true, "read"));
    let mut next = desired.clone();
    read_certificate(&mut next, 2, &["*.example.com"]);
    let change = desired.change_to(&next, 2);
    assert_eq!(compiled.apply(&local, &change).unwrap().unwrap().len(), 1);
    assert_eq!(rules(&compiled), before);
}

/// A site has the certificates that it names, and they are good for its hostnames.
#[test]
fn certificates_are_shown_by_the_sites_that_name_them() {
    let text = format!(
        "{SMALL}certificates = [\"web\"]\nminimum_tls = \"1.3\"\n[[certificate]]\ntenant = \"acme\"\n\
         name = \"web\"\nchain = \"web.pem\"\nkey = \"web.key\"\n"
    );
    let (local, mut desired) = parts(&text);
    let said = |desired: &Desired| compile(&local, desired, 1).unwrap_err().to_string();
    assert!(said(&desired).contains("site.certificates: web was never read"));
    read_certificate(&mut desired, 1, &["other.example.com"]);
    let problems = said(&desired);
    for part in [
        "acme/blog: hostname blog.example.com: none of the site's certificates is good for it",
        "acme/blog: site.certificates: web is good for none of the site's hostnames",
    ] {
        assert!(problems.contains(part), "{problems}");
    }
    read_certificate(&mut desired, 1, &["*.example.com"]);
    let snapshot = compile(&local, &desired, 1).unwrap_or_else(|all| panic!("{all}"));
    let blog = snapshot.hostnames.find(b"blog.example.com").unwrap();
    assert_eq!(blog.certificates()[0].digest, Digest([1; 32]));
    assert_eq!(blog.tls.as_ref().unwrap().rules.minimum, TlsVersion::V1_3);
    assert_eq!(snapshot.certificates.len(), 1);
    let mut without = desired.clone();
    without.certificates.clear();
    assert!(said(&without).contains("there is no certificate web of its tenant"));

    // And a change of the content alone reaches the site.
    let mut compiled = Compiled::new(&local, &desired, 1).unwrap();
    let mut next = desired.clone();
    read_certificate(&mut next, 2, &["*.example.com"]);
    let change = desired.change_to(&next, 2);
    let changed = compiled.apply(&local, &change).unwrap().unwrap();
    assert_eq!(changed, [blog.id]);
    let renewed = compiled.snapshot().sites.get(blog.id).unwrap();
    assert_eq!(renewed.certificates()[0].digest, Digest([2; 32]));
    assert_eq!(blog.certificates()[0].digest, Digest([1; 32]));
    // What does not fit, or is gone, is refused and changes nothing.
    let packed = |desired: &Desired| {
        let header = Header {
            format: FORMAT,
            store: String::new(),
            revision: 1,
            generation: 1,
        };
        Packed::new(desired, Arc::new(encode(&header, desired)))
    };
    let held = packed(&next);
    let mut misfit = next.clone();
    read_certificate(&mut misfit, 3, &["*.example.net"]);
    without.sites.clone_from(&next.sites);
    for wrong in [&misfit, &without] {
        let change = next.change_to(wrong, 3);
        let said = compiled.apply(&local, &change).unwrap_err().to_string();
        assert!(said.contains("acme/blog: "), "{said}");
        assert_eq!(held.check(&local, &change).unwrap_err().to_string(), said);
        assert_eq!(compiled.revision(), 2);
    }
    held.check(&local, &next.change_to(&desired, 3)).unwrap();
    let users = held.all_sites_of(&Name::parse("acme").unwrap());
    assert_eq!(users.len(), desired.sites.len());
}

/// What the grammar refuses does not come in by the log either.
#[test]
fn a_check_asks_for_no_name_that_is_none() {
    let checked_as = |host: &str| {
        let text = format!("{SMALL}pool = {{ health = {{ kind = \"tls\" }} }}\n");
        let (local, mut desired) = parts(&text);
        let pools = desired
            .sites
            .iter_mut()
            .flat_map(|site| &mut Arc::make_mut(site).pools);
        for health in pools.filter_map(|pool| pool.health.as_mut()) {
            health.kind = HealthKind::Tls {
                host: Some(Hostname::parse(host).unwrap()),
            };
        }
        compile(&local, &desired, 1).map(|_| ())
    };
    checked_as("a.test").unwrap();
    let refused = checked_as("192.0.2.1").unwrap_err();
    let keys: Vec<&str> = refused.iter().map(|problem| &*problem.key).collect();
    assert_eq!(keys, ["acme/blog: site.pool.health.host"]);
}

#[test]
fn every_algorithm_is_compiled() {
    let algorithm = |words: &str| {
        let text = format!("{SMALL}pool = {{ {words} }}\n");
        let manifest = Manifest::parse(&text, "ams.toml").unwrap();
        assert_eq!(unavailable(&manifest), []);
        let (local, desired) = parts(&text);
        let snapshot = compile(&local, &desired, 1).unwrap();
        let site = snapshot.sites_by_name()[0];
        site.pools[0].algorithm
    };
    use HashInput::{Source, Uri};
    for (words, expected) in [
        ("", Algorithm::RoundRobin),
        ("algorithm = \"round-robin\"", Algorithm::RoundRobin),
        (
            "algorithm = \"least-connections\"",
            Algorithm::LeastConnections,
        ),
        ("algorithm = \"random\"", Algorithm::Random),
        ("algorithm = \"source-hash\"", Algorithm::Hash(Source)),
        ("algorithm = \"uri-hash\"", Algorithm::Hash(Uri)),
        (
            "algorithm = \"consistent-hash\"",
            Algorithm::ConsistentHash(Uri),
        ),
        (
            "algorithm = \"consistent-hash\", hash = \"source\"",
            Algorithm::ConsistentHash(Source),
        ),
        ("algorithm = \"peak-ewma\"", Algorithm::PeakEwma),
    ] {
        assert_eq!(algorithm(words), expected, "{words}");
    }
}

#[test]
fn backups_stand_behind_the_tier_that_they_are_of() {
    let backends = "backend = [\
        { name = \"far-b\", address = \"10.0.0.1:80\", group = \"nyc\", backup = true }, \
        { name = \"near-b\", address = \"10.0.0.2:80\", backup = true }, \
        { name = \"far\", address = \"10.0.0.3:80\", group = \"nyc\" }, \
        { name = \"farther-b\", address = \"app.internal:80\", group = \"syd\", backup = true }]\n";
    let groups = "[[group]]\nname = \"nyc\"\n[[group]]\nname = \"syd\"\n";
    let text = format!("{SMALL}{backends}{groups}");
    let manifest = Manifest::parse(&text, "ams.toml").unwrap();
    assert_eq!(unavailable(&manifest), []);
    let (local, desired) = parts(&text);
    let snapshot = compile(&local, &desired, 1).unwrap();
    let blog = snapshot.hostnames.find(b"blog.example.com").unwrap();
    let tiers = blog.pools[0].tiers.iter().map(|tier| {
        let names = tier.backends.iter().map(|it| it.name().to_string());
        let named = tier.named.iter().map(|it| it.name.to_string());
        (tier.cross_group, tier.backup, names.chain(named).collect())
    });
    let tiers: Vec<(bool, bool, Vec<String>)> = tiers.collect();
    let tier = |cross_group, backup, name: &str| (cross_group, backup, vec![name.to_owned()]);
    // The first is there, though it has none.
    let expected = [
        (false, false, Vec::new()),
        tier(false, true, "near-b"),
        tier(true, false, "far"),
        tier(true, true, "far-b"),
        tier(true, true, "farther-b"),
    ];
    assert_eq!(tiers, expected);
}

fn route_to(pool: &str) -> Route {
    Route {
        matching: Match::default(),
        outcome: Outcome::Pool(Name::parse(pool).unwrap()),
        rewrite_prefix: None,
        request_headers: FieldRules::default(),
        response_headers: FieldRules::default(),
    }
}

fn site(desired: &mut Desired, index: usize) -> &mut Site {
    Arc::make_mut(&mut desired.sites[index])
}

#[test]
fn a_backend_by_name_becomes_one_for_each_address() {
    let pool = "backend = [{ name = \"m\", address = \"127.0.0.1:9003\" }, { name = \"app\", \
                address = \"App.Internal.:9002\", weight = 7 }]\n";
    let (local, desired) = parts(&format!("{SMALL}{pool}"));
    let snapshot = compile(&local, &desired, 1).unwrap();
    let blog = snapshot.hostnames.find(b"blog.example.com").unwrap();
    let hosts: Vec<&str> = blog.named_backends().map(|it| &*it.host).collect();
    assert_eq!(hosts, ["app.internal"]);
    let served = |addresses: &[&str]| {
        let parsed: Vec<SocketAddr> = addresses.iter().map(|it| it.parse().unwrap()).collect();
        blog.with_addresses(|named| {
            assert_eq!((&*named.host, named.port), ("app.internal", 9002));
            parsed.clone()
        })
    };
    let described = |site: &snapshot::Site| -> Vec<String> {
        let backends = site.pools[0].tiers[0].backends.iter();
        let one = |it: &Backend| {
            assert_eq!(it.key.address(), it.address());
            format!("{} {} {}", it.name(), it.address(), it.weight)
        };
        backends.map(one).collect()
    };
    assert_eq!(described(blog), ["m 127.0.0.1:9003 1"]);
    let both = served(&["10.0.0.2:9002", "10.0.0.1:9002"]);
    let expected = [
        "app 10.0.0.1:9002 7",
        "app 10.0.0.2:9002 7",
        "m 127.0.0.1:9003 1",
    ];
    assert_eq!(described(&both), expected);
    // The state of an address that stays is kept under the same key.
    let one = served(&["10.0.0.2:9002"]);
    let key =
        |site: &snapshot::Site, place: usize| site.pools[0].tiers[0].backends[place].key.clone();
    assert_eq!(key(&both, 1), key(&one, 0));
    assert_ne!(key(&both, 0), key(&one, 0));
    assert_eq!(served(&[]), **blog);
}

#[test]
fn a_log_that_does_not_fit_itself_is_refused() {
    let (local, desired) = parts(SMALL);
    let refused = |change: fn(&mut Desired)| {
        let mut changed = desired.clone();
        change(&mut changed);
        refusals(&local, &changed)
    };
    assert_eq!(
        refused(|it| site(it, 0).id.0 = 0),
        "acme/blog: id: was never assigned"
    );
    assert_eq!(
        refused(|it| site(it, 1).pools[0].id.0 = 0),
        "acme/shop: id: was never assigned"
    );
    assert_eq!(
        refused(|it| it.tenants[0].id.0 = 0),
        "acme/blog: tenant id: was never assigned\nacme/shop: tenant id: was never assigned"
    );
    assert_eq!(
        refused(|it| {
            let claimed = it.sites[1].hostnames.clone();
            site(it, 0).hostnames = claimed;
        }),
        "acme/shop: hostname shop.example.com: is claimed by acme/blog too; leave it to one \
         of them"
    );
    assert_eq!(
        refused(|it| site(it, 0).pools.clear()),
        "acme/blog: pool: the first must be \"default\""
    );
    assert_eq!(
        refused(|it| it.tenants.clear()),
        "acme/blog: tenant: there is no acme\nacme/shop: tenant: there is no acme"
    );
    assert_eq!(
        refused(|it| site(it, 1).routes = vec![route_to("none")]),
        "acme/shop: site.route.pool: there is no pool none"
    );
    // Nothing that comes from a log ends a line of a head.
    let ends_a_line = |it: &mut Desired| {
        let field = |name: &str| (name.to_owned(), String::from("1\r\nx-b: 2"));
        site(it, 1).request_headers = FieldRules {
            set: vec![field("x-a")],
            ..FieldRules::default()
        }
        .into();
        let mut route = route_to("default");
        route.response_headers.add.push(field("x-c"));
        route
            .response_headers
            .set
            .push(("Via".into(), "1.1 a".into()));
        site(it, 1).routes.push(route);
    };
    assert_eq!(
        refused(ends_a_line),
        "acme/shop: x-a: \"1\\r\\nx-b: 2\" can not stand in a field\n\
         acme/shop: Via: can not be set\n\
         acme/shop: x-c: \"1\\r\\nx-b: 2\" can not stand in a field"
    );
}

#[test]
fn limits_of_a_site_come_with_those_of_its_tenant() {
    let text = format!(
        "{SMALL}\n\
         [[tenant]]\nname = \"free\"\n\
         [[site]]\ntenant = \"free\"\nname = \"plain\"\nhostnames = [\"plain.free.test\"]\n\
         [[site]]\ntenant = \"free\"\nname = \"own\"\nhostnames = [\"own.free.test\"]\n\
         limits = {{ requests_per_second = 7 }}\n\
         [[tenant]]\nname = \"paid\"\n\
         limits = {{ sites = 2, connections = 9, requests_per_second = 5, burst = 50, body = \"1KiB\" }}\n\
         [[site]]\ntenant = \"paid\"\nname = \"plain\"\nhostnames = [\"plain.paid.test\"]\n\
         [[site]]\ntenant = \"paid\"\nname = \"own\"\nhostnames = [\"own.paid.test\"]\n\
         limits = {{ connections = 3, head = \"2KiB\", body = \"1MiB\" }}\n"
    );
    let (local, desired) = parts(&text);
    let snapshot = compile(&local, &desired, 1).unwrap();
    let limits = |host: &str| {
        snapshot
            .hostnames
            .find(host.as_bytes())
            .unwrap()
            .limits
            .clone()
    };
    assert_eq!(limits("plain.free.test"), None);
    let rate = |requests_per_second, burst| {
        Some(Rate {
            requests_per_second,
            burst,
        })
    };
    let own = limits("own.free.test").unwrap();
    assert_eq!(own.tenant, Allowance::default());
    assert_eq!((own.site.connections, own.site.rate), (None, rate(7, 7)));
    assert_eq!((own.head_bytes, own.body_bytes), (32 * 1024, u64::MAX));
    let of_tenant = limits("plain.paid.test").unwrap();
    assert_eq!(of_tenant.site, Allowance::default());
    assert_eq!(of_tenant.tenant.connections, Some(9));
    assert_eq!(of_tenant.tenant.rate, rate(5, 50));
    assert_eq!(of_tenant.body_bytes, 1024);
    let both = limits("own.paid.test").unwrap();
    assert_eq!(both.tenant, of_tenant.tenant);
    assert_eq!((both.site.connections, both.site.rate), (Some(3), None));
    assert_eq!((both.head_bytes, both.body_bytes), (2048, 1024));
}

/// Cookies that other hosts do not take would lose a visitor's session now and then: that is refused
/// where it is written.
#[test]
fn hosts_of_a_fleet_need_a_secret_for_sticky_cookies() {
    let manifest = |fleet: &str, pool: &str| {
        let peer = "[[peer]]\nname = \"nyc-1\"\naddresses = [\"192.0.2.7\"]\n";
        let text = SMALL.replace(
            "timeouts = { first_byte = \"7s\" }\n",
            &format!("pool = {{ {pool} }}\n"),
        );
        let fleet = format!("[fleet]\nname = \"f1\"\n{fleet}\n{peer}");
        let (local, mut desired) = Manifest::parse(&(text + &fleet), "h1.toml")
            .unwrap_or_else(|problems| panic!("{problems}"))
            .into_parts();
        desired.assign_ids(None);
        compile(&local, &desired, 1)
    };
    let sticky = "sticky = { cookie = \"MSRV\", lifetime = \"1h\" }";
    let refused = manifest("", sticky).unwrap_err().to_string();
    assert!(
        refused.contains("acme/shop: site.pool.sticky") && refused.contains("fleet.secret"),
        "{refused}"
    );
    assert!(manifest("", "").is_ok());
    let snapshot = manifest("secret = \"fleet.key\"", sticky).unwrap();
    let sites = snapshot.sites_by_name();
    let pools = sites.iter().flat_map(|site| &site.pools);
    let cookies: Vec<_> = pools.filter_map(|pool| pool.sticky.as_deref()).collect();
    assert_eq!(cookies.len(), 1);
    assert_eq!(&*cookies[0].cookie, "MSRV");
    assert_eq!(cookies[0].lifetime, Some(Duration::from_secs(3600)));
}

#[test]
fn a_limit_of_a_backend_holds_for_each_address_of_its_name() {
    let text = SMALL
        .replace(
            "address = \"127.0.0.1:9001\"\n",
            "address = \"127.0.0.1:9001\"\nconnections = 7\n\n[[site.backend]]\n\
             address = \"app.internal:80\"\nconnections = 9\n",
        )
        .replace(
            "timeouts = { first_byte = \"7s\" }\n",
            "pool = { queue = { timeout = \"3s\" } }\n",
        );
    let (local, desired) = parts(&text);
    let snapshot = compile(&local, &desired, 1).unwrap();
    let sites = snapshot.sites_by_name();
    let shop = sites.iter().find(|site| &*site.name == "shop").unwrap();
    let addresses = ["10.0.0.1:80", "10.0.0.2:80"].map(|it| it.parse().unwrap());
    let shop = shop.with_addresses(|_| addresses.to_vec());
    let pool = &shop.pools[0];
    let limits: Vec<_> = (pool.tiers[0].backends.iter())
        .map(|backend| backend.connections.map(u32::from))
        .collect();
    assert_eq!(limits, [Some(7), Some(9), Some(9)]);
    let queue = pool.queue.as_deref().unwrap();
    assert_eq!(queue.requests, 100);
    assert_eq!(queue.timeout, Duration::from_secs(3));
    // Where none is asked for, none waits.
    let blog = sites.iter().find(|site| &*site.name == "blog").unwrap();
    assert_eq!(blog.pools[0].queue, None);
}
