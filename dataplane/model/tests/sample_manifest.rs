//! The manifest of the design, with every section, passes whole.

use meridian_model::Manifest;
use meridian_model::availability::unavailable;
use meridian_model::certificate::Digest;
use meridian_model::desired::{Algorithm, BackendAddress, Outcome, Owner, ProxyProtocol, Steering};

const SAMPLE: &str = include_str!("fixtures/sample.toml");

#[test]
fn every_value_of_the_sample_arrives() {
    let manifest = Manifest::parse(SAMPLE, "sample.toml").unwrap_or_else(|all| panic!("{all}"));
    let files: Vec<_> = manifest
        .certificates()
        .map(|it| (it.chain, it.key))
        .collect();
    assert_eq!(files, [("shop.pem", "shop.key")]);
    let (local, desired) = manifest.into_parts();
    assert_eq!(local.manifest.as_str(), "ams-1");
    assert_eq!(local.host.workers, Some(2));
    assert_eq!(local.host.timeouts.first_byte.as_secs(), 10);
    assert_eq!(local.host.probe, Some("192.0.2.1:80".parse().unwrap()));
    assert_eq!(local.listen.all().len(), 8);
    assert_eq!(local.fleet.secret.as_deref(), Some("fleet.key"));
    assert_eq!(local.probe.timeout.as_millis(), 500);
    assert_eq!(local.geo.overrides[0].group.as_str(), "ams");
    assert_eq!(local.dns.tcp.connections, 10_000);

    assert_eq!(desired.groups[0].location.unwrap().lat, 52.37);
    assert_eq!(desired.peers[0].name.as_str(), "nyc-1");
    assert_eq!(desired.zones[0].records[0].data, "\"hello\"");
    assert_eq!(desired.tenants[0].limits.sites, Some(100));
    assert_eq!(desired.certificates[0].name.as_str(), "shop");
    assert_eq!(desired.certificates[0].content.digest, Digest::default());

    let site = &desired.sites[0];
    assert_eq!(site.owner.to_string(), "manifest:ams-1");
    assert_eq!(site.owner, Owner::Manifest(local.manifest));
    assert_eq!(site.steering, Steering::Geo);
    assert!(site.redirect_to_https);
    let pools: Vec<&str> = site.pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(pools, ["default", "api"]);
    let (default, api) = (&site.pools[0], &site.pools[1]);
    assert_eq!(default.algorithm, Algorithm::LeastConnections);
    assert_eq!(default.backends[0].weight, 10);
    assert_eq!(default.sticky.as_ref().unwrap().cookie, "MSRV");
    assert_eq!(api.algorithm, Algorithm::RoundRobin);
    assert_eq!(api.proxy_protocol, Some(ProxyProtocol::V2));
    assert_eq!(api.backends[0].name, "203.0.113.11:8443");
    let address = BackendAddress::Ip("203.0.113.11:8443".parse().unwrap());
    assert_eq!(api.backends[0].address, address);
    let Outcome::Pool(pool) = &site.routes[0].outcome else {
        panic!("the sample's route names a pool");
    };
    assert_eq!(pool.as_str(), "api");
    assert_eq!(
        site.routes[0].matching.headers,
        [("x-beta".into(), "1".into())]
    );
}

#[test]
fn what_the_sample_uses_and_is_not_built_is_named() {
    let manifest = Manifest::parse(SAMPLE, "sample.toml").unwrap();
    let named: Vec<String> = unavailable(&manifest)
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = include_str!("fixtures/sample.unavailable.txt");
    assert_eq!(named.join("\n") + "\n", expected);
}
