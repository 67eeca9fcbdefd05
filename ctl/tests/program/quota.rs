//! How many sites a tenant may have, whoever makes them, and limits that hold at once.

use crate::host::{Host, Running};
use crate::live::{served, up};

/// A manifest of tenant acme with one site and this for its limits.
fn start(limits: &str) -> (Host, Running) {
    let host = Host::new();
    write(&host, limits, &["shop"]);
    let running = up(&host);
    (host, running)
}

fn write(host: &Host, limits: &str, sites: &[&str]) {
    let manifest = host.manifest();
    let (before, _) = manifest.split_once("[[tenant]]").expect("a tenant");
    let mut text = format!("{before}[[tenant]]\nname = \"acme\"\n{limits}\n");
    for site in sites {
        text.push_str(&format!(
            "[[site]]\ntenant = \"acme\"\nname = \"{site}\"\nhostnames = [\"{site}.test\"]\n\
             route = [{{ match = {{ path = \"/\" }}, respond = {{ body = \"{site}\" }} }}]\n"
        ));
    }
    host.write_manifest(&text);
}

fn set_site<'a>(name: &'a str, host: &'a str) -> [&'a str; 4] {
    ["set", "site", name, host]
}

#[test]
fn a_tenant_has_no_more_sites_than_it_may_whoever_makes_them() {
    let (host, running) = start("limits = { sites = 2 }");
    host.run(&set_site("acme/api", "hostnames=[\"api.test\"]"))
        .expect(0, &[]);
    // Of another owner than the tenant, and one too many.
    let more = set_site("acme/more", "hostnames=[\"more.test\"]");
    let would = "acme: tenant.limits.sites: would have 3 sites and may have 2";
    host.run(&more).expect(4, &["nothing was changed", would]);
    // What is there can be changed.
    host.run(&set_site("acme/api", "hostnames=[\"api.test\",\"b.test\"]"))
        .expect(0, &[]);
    // The manifest fits by itself, and not beside what the API made.
    write(&host, "limits = { sites = 2 }", &["shop", "blog"]);
    host.run(&["apply", "-f", "h1.toml"]).expect(4, &[would]);
    host.run(&["apply", "-f", "h1.toml", "--dry-run"])
        .expect(4, &[would]);
    write(&host, "limits = { sites = 1 }", &["shop"]);
    host.run(&["apply", "-f", "h1.toml"]).expect(
        4,
        &["acme: tenant.limits.sites: would have 2 sites and may have 1"],
    );
    // One for another is no site more.
    write(&host, "limits = { sites = 2 }", &["blog"]);
    host.run(&["apply", "-f", "h1.toml"]).expect(0, &[]);
    assert_eq!(served(&host, "blog.test").0, 200);
    write(&host, "limits = { sites = 3 }", &["shop", "blog"]);
    host.run(&["apply", "-f", "h1.toml"]).expect(0, &[]);
    host.run(&["delete", "site", "acme/api"]).expect(0, &[]);
    host.run(&more).expect(0, &[]);
    running.stop();
    // A start is told the same, and serves what it had.
    write(&host, "limits = { sites = 2 }", &["shop", "blog"]);
    let running = up(&host);
    assert!(running.stderr().contains(would), "{}", running.stderr());
    assert_eq!(served(&host, "shop.test").0, 200);
    running.stop();
}

#[test]
fn a_limit_holds_when_apply_returns_and_ends_with_it() {
    let (host, running) = start("");
    let statuses = |host: &Host| [(); 4].map(|()| served(host, "shop.test").0);
    assert_eq!(statuses(&host), [200; 4]);
    write(
        &host,
        "limits = { requests_per_second = 1, burst = 1 }",
        &["shop"],
    );
    host.run(&["apply", "-f", "h1.toml"]).expect(0, &[]);
    assert!(statuses(&host).contains(&429));
    write(&host, "", &["shop"]);
    host.run(&["apply", "-f", "h1.toml"]).expect(0, &[]);
    assert_eq!(statuses(&host), [200; 4]);
    running.stop();
}
