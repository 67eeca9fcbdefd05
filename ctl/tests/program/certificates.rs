//! Certificates from files: everything that is wrong with them is said at once, each with its line,
//! its file and what to do.

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};

use crate::authority::{Authority, openssl};
use crate::host::{Ended, Host};

/// A host whose site shows the certificate of `web.pem` and `web.key`.
pub(crate) fn host_with_certificate() -> Host {
    let host = Host::new();
    host.write_manifest(&manifest(&host, "web.pem", "web.key"));
    host
}

pub(crate) fn manifest(host: &Host, chain: &str, key: &str) -> String {
    host.manifest().replace(
        "hostnames = [\"shop.example.com\", \"*.shop.example.com\"]",
        "hostnames = [\"shop.example.com\", \"*.shop.example.com\"]\ncertificates = [\"web\"]",
    ) + &format!(
        "\n[[certificate]]\ntenant = \"acme\"\nname = \"web\"\nchain = {chain:?}\nkey = {key:?}\n"
    )
}

const NAMES: &[&str] = &["shop.example.com", "*.shop.example.com"];

fn check(host: &Host) -> Ended {
    host.run(&["check", "-f", "h1.toml"])
}

/// The line of the manifest that begins with `text`.
fn line(host: &Host, text: &str) -> usize {
    let manifest = std::fs::read_to_string(host.path("h1.toml")).unwrap();
    let line = manifest.lines().position(|line| line.starts_with(text));
    line.unwrap() + 1
}

#[test]
fn certificates_of_every_kind_of_key_are_right() {
    let host = host_with_certificate();
    let authority = Authority::new("test");
    for kind in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
        &PKCS_RSA_SHA256,
    ] {
        let leaf = authority.leaf_by(NAMES, kind, (2020, 2099));
        for chain in [
            leaf.pem.clone(),
            authority.chain(&leaf),
            authority.chain(&leaf) + &authority.root_pem,
        ] {
            std::fs::write(host.path("web.pem"), chain).unwrap();
            std::fs::write(host.path("web.key"), &leaf.key).unwrap();
            check(&host).expect(0, &[]);
        }
    }
    // Both in one file, and keys as older versions of openssl write them.
    let directory = host.path("");
    let leaf = authority.leaf(NAMES);
    std::fs::write(
        host.path("web.pem"),
        leaf.key.clone() + &authority.chain(&leaf),
    )
    .unwrap();
    host.write_manifest(&manifest(&host, "web.pem", "web.pem"));
    let json = host.run(&["check", "-f", "h1.toml", "--format", "json"]);
    assert_eq!(json.expect(0, &[]).json()["certificates"], 1);
    std::fs::write(host.path("new.key"), &leaf.key).unwrap();
    openssl(&directory, &["ec", "-in", "new.key", "-out", "web.key"]);
    host.write_manifest(&manifest(&host, "web.pem", "web.key"));
    std::fs::write(host.path("web.pem"), authority.chain(&leaf)).unwrap();
    let key = std::fs::read_to_string(host.path("web.key")).unwrap();
    assert!(key.contains("BEGIN EC PRIVATE KEY"), "{key}");
    check(&host).expect(0, &[]);
}

#[test]
fn files_that_hold_something_else_are_named() {
    let host = host_with_certificate();
    let authority = Authority::new("test");
    let (chain, key) = (line(&host, "chain ="), line(&host, "key ="));
    let path = |name: &str| host.path(name).display().to_string();
    let (pem, key_file) = (path("web.pem"), path("web.key"));
    let at_chain = format!("h1.toml:{chain}: certificate.chain: {pem}: ");
    let at_key = format!("h1.toml:{key}: certificate.key: {key_file}: ");
    check(&host).expect(
        1,
        &[
            &format!("{at_chain}No such file"),
            &format!("{at_key}No such file"),
            "a relative path begins where the manifest is",
        ],
    );
    authority.write(&host.path(""), "web", NAMES);
    let good = std::fs::read_to_string(&pem).unwrap();
    let good_key = std::fs::read_to_string(&key_file).unwrap();
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "",
            &good_key,
            &[&at_chain, "holds no certificate", "BEGIN CERTIFICATE"],
        ),
        (&good[..300], &good_key, &[&at_chain, "cut off"]),
        (
            &good.replace("MII", "?II"),
            &good_key,
            &[&at_chain, "not base64"],
        ),
        (
            &good.replace("MII", "AII"),
            &good_key,
            &[&at_chain, "no X.509 certificate"],
        ),
        (
            &good,
            "",
            &[&at_key, "holds no private key", "BEGIN PRIVATE KEY"],
        ),
        (&good, &good, &[&at_key, "holds no private key"]),
        (
            &good,
            &good_key.replace("MIG", "AIG"),
            &[&at_key, "can not be read"],
        ),
        (
            &good,
            &good_key.repeat(2),
            &[&at_key, "holds 2 private keys"],
        ),
        ("x", "y", &[&at_chain, &at_key]),
    ];
    for (chain, key, said) in cases {
        std::fs::write(&pem, chain).unwrap();
        std::fs::write(&key_file, key).unwrap();
        let ended = check(&host).expect(1, said);
        // Nothing of a key is ever repeated.
        let secret = good_key.lines().nth(1).unwrap();
        assert!(!ended.stderr.contains(secret), "{ended:?}");
    }
    std::fs::write(&pem, &good).unwrap();
    std::fs::write(host.path("plain.key"), &good_key).unwrap();
    let encrypt = [
        "pkey",
        "-in",
        "plain.key",
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        "web.key",
    ];
    openssl(&host.path(""), &encrypt);
    check(&host).expect(
        1,
        &[&at_key, "encrypted with a passphrase", "openssl pkey -in"],
    );
    openssl(
        &host.path(""),
        &[
            "pkey",
            "-in",
            "plain.key",
            "-outform",
            "der",
            "-out",
            "web.key",
        ],
    );
    openssl(
        &host.path(""),
        &[
            "x509", "-in", "web.pem", "-outform", "der", "-out", "web.pem",
        ],
    );
    check(&host).expect(1, &["openssl x509 -inform der", "openssl pkey -inform der"]);
}

#[test]
fn a_chain_in_disorder_and_a_foreign_key_are_told_apart() {
    let host = host_with_certificate();
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let (leaf, foreign) = (one.leaf(NAMES), other.leaf(NAMES));
    let cases: &[(String, &str, &[&str])] = &[
        (
            one.chain(&leaf),
            &foreign.key,
            &["certificate.key", "the key is not the certificate's"],
        ),
        (
            format!("{}{}", one.pem, leaf.pem),
            &leaf.key,
            &[
                "certificate.chain",
                "the key is that of certificate 2 of the chain",
                "put that one first",
            ],
        ),
        (
            format!("{}{}", leaf.pem, other.pem),
            &leaf.key,
            &[
                "certificate 2 of the chain did not sign the one before it",
                "get that of CN=one",
            ],
        ),
        (
            format!("{}{}{}", leaf.pem, one.root_pem, one.pem),
            &leaf.key,
            &[
                "certificate 2 of the chain did not sign",
                "certificate 3 of the chain did; order them",
            ],
        ),
        // Of the same name as the one that signed, and with another key.
        (
            format!("{}{}", leaf.pem, Authority::new("one").pem),
            &leaf.key,
            &["certificate 2 of the chain did not sign the one before it"],
        ),
    ];
    for (chain, key, said) in cases {
        std::fs::write(host.path("web.pem"), chain).unwrap();
        std::fs::write(host.path("web.key"), key).unwrap();
        check(&host).expect(1, said);
    }
}

#[test]
fn what_does_not_hold_now_is_refused_and_what_will_not_soon_is_told() {
    let host = host_with_certificate();
    let authority = Authority::new("test");
    let write = |years| {
        let leaf = authority.leaf_by(NAMES, &PKCS_ECDSA_P256_SHA256, years);
        std::fs::write(host.path("web.pem"), authority.chain(&leaf)).unwrap();
        std::fs::write(host.path("web.key"), &leaf.key).unwrap();
    };
    write((2019, 2021));
    check(&host).expect(
        1,
        &[
            "certificate.chain",
            "expired on 2021-01-01T00:00:00Z",
            "renew it",
        ],
    );
    write((2090, 2095));
    check(&host).expect(1, &["holds only from 2090-01-01T00:00:00Z on", "clock"]);
    let directory = host.path("");
    let config = "[v]\nsubjectAltName = DNS:shop.example.com, DNS:*.shop.example.com\n";
    std::fs::write(host.path("v.cnf"), config).unwrap();
    let request = [
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let request = [
        &request[..],
        &["-keyout", "web.key", "-out", "web.csr", "-subj", "/CN=x"],
    ]
    .concat();
    openssl(&directory, &request);
    let sign = |days: &str| {
        let sign = [
            "x509", "-req", "-in", "web.csr", "-signkey", "web.key", "-out", "web.pem",
        ];
        let more = ["-extfile", "v.cnf", "-extensions", "v", "-days", days];
        openssl(&directory, &[&sign[..], &more].concat());
    };
    sign("29");
    check(&host).expect(0, &["certificate acme/web expires on ", "renew it"]);
    let json = host
        .run(&["check", "-f", "h1.toml", "--format", "json"])
        .json();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
    sign("31");
    let ended = check(&host).expect(0, &[]);
    assert!(!ended.stderr.contains("expires"), "{ended:?}");
}

#[test]
fn keys_that_nobody_can_use_are_refused() {
    let host = host_with_certificate();
    let directory = host.path("");
    let config = "[req]\ndistinguished_name = n\n[n]\n[v]\nsubjectAltName = DNS:shop.example.com, DNS:*.shop.example.com\n";
    std::fs::write(host.path("v.cnf"), config).unwrap();
    let make = |kind: &[&str]| {
        let request = [
            "req",
            "-x509",
            "-nodes",
            "-config",
            "v.cnf",
            "-extensions",
            "v",
        ];
        let more = [
            "-subj", "/CN=x", "-keyout", "web.key", "-out", "web.pem", "-newkey",
        ];
        openssl(&directory, &[&request[..], &more, kind].concat());
    };
    make(&["rsa:1024"]);
    check(&host).expect(
        1,
        &[
            "certificate.chain",
            "RSA with 1024 bits",
            "use a key on P-256",
        ],
    );
    make(&["ec", "-pkeyopt", "ec_paramgen_curve:secp521r1"]);
    check(&host).expect(1, &["on a curve that clients do not take"]);
    make(&["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"]);
    check(&host).expect(1, &["on a curve that clients do not take", "P-384"]);
    make(&["rsa:2048"]);
    check(&host).expect(0, &[]);
}

#[test]
fn every_hostname_of_a_site_wants_a_certificate() {
    let host = host_with_certificate();
    let authority = Authority::new("test");
    let hostnames = line(&host, "hostnames =");
    authority.write(
        &host.path(""),
        "web",
        &["shop.example.com", "www.shop.example.com"],
    );
    check(&host).expect(
        1,
        &[&format!(
            "h1.toml:{hostnames}: site.hostnames: none of the site's certificates is good for \
             \"*.shop.example.com\""
        )],
    );
    authority.write(&host.path(""), "web", &["other.example.com"]);
    let shown = line(&host, "certificates =");
    check(&host).expect(
        1,
        &[
            "is good for \"shop.example.com\"",
            "is good for \"*.shop.example.com\"",
            &format!("h1.toml:{shown}: site.certificates: \"web\" is good for none"),
            "but for other.example.com",
        ],
    );
    // A name in the subject is no name.
    authority.write(&host.path(""), "web", &[]);
    check(&host).expect(1, &["names no DNS name in its subjectAltName"]);
    // Two certificates that are good for one hostname each are right together.
    authority.write(&host.path(""), "web", &["shop.example.com"]);
    authority.write(&host.path(""), "more", &["*.shop.example.com"]);
    let two = manifest(&host, "web.pem", "web.key").replace("[\"web\"]", "[\"web\", \"more\"]")
        + "\n[[certificate]]\ntenant = \"acme\"\nname = \"more\"\nchain = \"more.pem\"\nkey = \"more.key\"\n";
    host.write_manifest(&two);
    check(&host).expect(0, &[]);
}
