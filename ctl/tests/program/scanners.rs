//! What programs find that look for what is wrong with a server's TLS: testssl.sh and sslyze.
//!
//! Each has a site with a certificate on P-256 and one of RSA beside it. Whatever they find above `LOW` is
//! a fault of ours but for what stands in the lists here, which is the tests' authority's, or the
//! scanner's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::Value;

use crate::authority::Authority;
use crate::https::{NAMES, SITE, Serving};

/// Of the tests' authority: it has no list of what it revoked, nor anybody to ask; and nobody's root
/// store has it, which testssl.sh is told to do without.
const OF_THE_AUTHORITY: &[&str] = &["cert_revocation", "cert_chain_of_trust", "cert_trust"];
/// What testssl.sh says of itself and of the openssl that it runs: that this has no engine for GOST; that
/// it could not try renegotiation, which sslyze does; and whether a ticket came before that openssl had
/// seen that nothing is typed into it, which is up to the machine. `https` has openssl wait for one.
const OF_TESTSSL: &[&str] = &[
    "engine_problem",
    "secure_renego",
    "sessionresumption_ticket",
];

const SUITES_1_2: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];
const SUITES_1_3: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

/// A site with certificates as a public authority would sign them.
fn serving() -> Serving {
    Serving::with(Authority::new("test"), |host, authority, text| {
        for (name, kind) in [("web", &PKCS_ECDSA_P256_SHA256), ("rsa", &PKCS_RSA_SHA256)] {
            let leaf = authority.leaf_by_the_rules(NAMES, kind);
            let chain = authority.chain(&leaf);
            std::fs::write(host.path(&format!("{name}.pem")), chain).unwrap();
            std::fs::write(host.path(&format!("{name}.key")), leaf.key).unwrap();
        }
        text.replace("[\"web\"]", "[\"web\", \"rsa\"]")
            + "[[certificate]]\ntenant = \"acme\"\nname = \"rsa\"\nchain = \"rsa.pem\"\nkey = \"rsa.key\"\n"
    })
}

/// The findings of testssl.sh by id, with how bad each is. None: it is not installed.
fn testssl(serving: &Serving) -> Option<Vec<(String, String, String)>> {
    let found = serving.host.path("testssl.json");
    let ended = Command::new("testssl")
        .args(["--quiet", "--color", "0", "--warnings", "off"])
        // Protocols, forward secrecy, the server's choices, what it shows, and known holes.
        .args(["-p", "-f", "-P", "-S", "-U"])
        .args(["--ip", "127.0.0.1", "--add-ca"])
        .arg(serving.host.path("root.pem"))
        .arg("--jsonfile")
        .arg(&found)
        .arg(format!("https://{SITE}:{}/", serving.https.port()))
        .stdin(Stdio::null())
        .output();
    let Ok(ended) = ended else {
        eprintln!("SKIPPED: testssl is not installed (testssl.sh)");
        return None;
    };
    let said = String::from_utf8_lossy(&ended.stdout);
    let text = std::fs::read_to_string(found).unwrap_or_else(|_| panic!("{said}"));
    let found: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{said}"));
    let of = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = found.as_array().unwrap().iter().map(|finding| {
        // With several certificates an id says of which it is.
        let id = of(finding, "id");
        let id = id.split_whitespace().next().unwrap_or_default();
        (
            id.to_owned(),
            of(finding, "severity"),
            of(finding, "finding"),
        )
    });
    Some(findings.collect())
}

#[test]
fn testssl_finds_nothing_that_is_ours() {
    let serving = serving();
    let Some(findings) = testssl(&serving) else {
        serving.up.stop();
        return;
    };
    let is_known = |id: &str| OF_THE_AUTHORITY.contains(&id) || OF_TESTSSL.contains(&id);
    let bad: Vec<_> = (findings.iter())
        .filter(|(id, severity, _)| {
            !["OK", "INFO", "LOW"].contains(&severity.as_str()) && !is_known(id)
        })
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    // It has looked.
    for (id, finding) in [
        ("SSLv3", "not offered"),
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
        ("TLS1_2", "offered"),
        ("TLS1_3", "offered with final"),
        ("ALPN", "http/1.1"),
        ("secure_client_renego", "not vulnerable"),
        ("heartbleed", "not vulnerable, no heartbeat extension"),
        ("LUCKY13", "not vulnerable"),
        ("cert_numbers", "2"),
    ] {
        let wanted = (id, finding);
        let is_found = findings
            .iter()
            .any(|(id, _, finding)| wanted == (id, finding));
        assert!(is_found, "{wanted:?} is not in {findings:#?}");
    }
    serving.up.stop();
}

/// Where scripts/setup puts it, or else whatever is on the path.
fn sslyze() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_meridianctl"));
    let target = built.ancestors().nth(2).expect("it stands in target/debug");
    let own = target.join("sslyze/bin/sslyze");
    if own.is_file() { own } else { "sslyze".into() }
}

/// sslyze writes a modulus of RSA as one number, which no type of ours holds; nobody looks at it.
fn without_long_numbers(text: &str) -> String {
    let parts = text.split_inclusive(|letter: char| !letter.is_ascii_digit());
    let short = parts.map(|part| match part.len() > 19 {
        true => format!(
            "0{}",
            part.trim_start_matches(|it: char| it.is_ascii_digit())
        ),
        false => part.to_owned(),
    });
    short.collect()
}

/// What sslyze found out, by the name of the scan. None: it is not installed. It is not asked for
/// resumption: it takes a session as resumed where the ticket stays the same, and ours is another
/// each time (RFC 5077 §3.3 allows both).
fn scanned(serving: &Serving) -> Option<Value> {
    let found = serving.host.path("sslyze.json");
    let ended = Command::new(sslyze())
        .args(["--mozilla_config", "disable", "--certinfo"])
        .args([
            "--sslv2",
            "--sslv3",
            "--tlsv1",
            "--tlsv1_1",
            "--tlsv1_2",
            "--tlsv1_3",
        ])
        .args([
            "--openssl_ccs",
            "--heartbleed",
            "--fallback",
            "--robot",
            "--reneg",
        ])
        .args([
            "--elliptic_curves",
            "--ems",
            "--early_data",
            "--compression",
        ])
        .arg("--certinfo_ca_file")
        .arg(serving.host.path("root.pem"))
        .arg("--json_out")
        .arg(&found)
        .arg(format!("{SITE}:{}{{127.0.0.1}}", serving.https.port()))
        .stdin(Stdio::null())
        .output();
    let Ok(ended) = ended else {
        eprintln!("SKIPPED: sslyze is not installed (scripts/setup)");
        return None;
    };
    let said = String::from_utf8_lossy(&ended.stdout);
    let text = std::fs::read_to_string(found).unwrap_or_else(|_| panic!("{said} {ended:?}"));
    let found: Value = serde_json::from_str(&without_long_numbers(&text)).unwrap();
    Some(found["server_scan_results"][0]["scan_result"].clone())
}

#[test]
fn sslyze_finds_the_versions_and_ciphers_that_are_meant_and_no_hole() {
    let serving = serving();
    let Some(found) = scanned(&serving) else {
        serving.up.stop();
        return;
    };
    let of = |scan: &str, pointer: &str| {
        let one = &found[scan];
        assert_eq!(one["status"], "COMPLETED", "{scan}: {one}");
        let value = one["result"].pointer(pointer);
        value
            .unwrap_or_else(|| panic!("{scan} has no {pointer}: {one}"))
            .clone()
    };
    let suites = |version: &str| {
        let accepted = of(
            &format!("{version}_cipher_suites"),
            "/accepted_cipher_suites",
        );
        let names = accepted.as_array().unwrap().iter();
        let mut names: Vec<String> = names
            .map(|it| it["cipher_suite"]["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort_unstable();
        names
    };
    for version in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        assert!(
            suites(version).is_empty(),
            "{version}: {:?}",
            suites(version)
        );
    }
    assert_eq!(suites("tls_1_2"), SUITES_1_2);
    assert_eq!(suites("tls_1_3"), SUITES_1_3);
    for (scan, pointer, wanted) in [
        (
            "tls_compression",
            "/supports_compression",
            Value::Bool(false),
        ),
        (
            "tls_1_3_early_data",
            "/supports_early_data",
            Value::Bool(false),
        ),
        (
            "openssl_ccs_injection",
            "/is_vulnerable_to_ccs_injection",
            Value::Bool(false),
        ),
        (
            "tls_fallback_scsv",
            "/supports_fallback_scsv",
            Value::Bool(true),
        ),
        (
            "heartbleed",
            "/is_vulnerable_to_heartbleed",
            Value::Bool(false),
        ),
        (
            "robot",
            "/robot_result",
            "NOT_VULNERABLE_RSA_NOT_SUPPORTED".into(),
        ),
        (
            "session_renegotiation",
            "/supports_secure_renegotiation",
            Value::Bool(true),
        ),
        (
            "session_renegotiation",
            "/is_vulnerable_to_client_renegotiation_dos",
            Value::Bool(false),
        ),
        (
            "tls_extended_master_secret",
            "/supports_ems_extension",
            Value::Bool(true),
        ),
    ] {
        assert_eq!(of(scan, pointer), wanted, "{scan} {pointer}");
    }
    // Both chains are in order, and good for who knows the authority.
    let chains = of("certificate_info", "/certificate_deployments");
    let chains = chains.as_array().unwrap();
    assert_eq!(chains.len(), 2, "{chains:#?}");
    for chain in chains {
        assert_eq!(chain["received_chain_has_valid_order"], true, "{chain}");
        let stores = chain["path_validation_results"].as_array().unwrap();
        let is_own = |store: &&Value| store["trust_store"]["name"] == "Supplied CA file";
        let own = stores.iter().find(is_own).expect("it was given one");
        assert_eq!(own["was_validation_successful"], true, "{own}");
    }
    serving.up.stop();
}
