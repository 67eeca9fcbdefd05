//! A site as the log has it: what is as it is without being said is left out.
//!
//! A log has a line for each site, and most sites set little: written in full a line is four
//! times as long, and it is read at each start. What is left out here has its default when it is
//! read, in `desired::Site` and below. Everything is taken apart in full, so that a new key can
//! not be forgotten.

use serde::Serialize;

use crate::desired::{Backend, Pool, Site};

/// Appends the JSON of a site.
pub(super) fn write_site(text: &mut Vec<u8>, site: &Site) {
    let Site {
        id,
        owner,
        tenant,
        name,
        hostnames,
        suspended,
        certificates,
        minimum_tls,
        client_certificates,
        redirect_to_https,
        hsts,
        steering,
        timeouts,
        limits,
        trusted_networks,
        deny_networks,
        access_log,
        retry,
        pools,
        encoded_slashes,
        request_headers,
        response_headers,
        routes,
    } = site;
    let mut object = Object::begin(text);
    object.field("id", id);
    object.field("owner", owner);
    object.field("tenant", tenant);
    object.field("name", name);
    object.field("hostnames", hostnames);
    object.set("suspended", suspended);
    object.set("certificates", certificates);
    object.set("minimum_tls", minimum_tls);
    object.set("client_certificates", client_certificates);
    object.set("redirect_to_https", redirect_to_https);
    object.set("hsts", hsts);
    object.set("steering", steering);
    object.set("timeouts", timeouts);
    object.set("limits", limits);
    object.set("trusted_networks", trusted_networks);
    object.set("deny_networks", deny_networks);
    object.set("access_log", access_log);
    object.set("retry", retry);
    object.list("pools", pools, write_pool);
    object.set("encoded_slashes", encoded_slashes);
    object.set("request_headers", request_headers);
    object.set("response_headers", response_headers);
    object.set("routes", routes);
    object.end();
}

fn write_pool(text: &mut Vec<u8>, pool: &Pool) {
    let Pool {
        id,
        name,
        algorithm,
        health,
        sticky,
        tls,
        proxy_protocol,
        slow_start,
        queue,
        backends,
    } = pool;
    let mut object = Object::begin(text);
    object.field("id", id);
    object.field("name", name);
    object.set("algorithm", algorithm);
    object.set("health", health);
    object.set("sticky", sticky);
    object.set("tls", tls);
    object.set("proxy_protocol", proxy_protocol);
    object.set("slow_start", slow_start);
    object.set("queue", queue);
    object.list("backends", backends, write_backend);
    object.end();
}

fn write_backend(text: &mut Vec<u8>, backend: &Backend) {
    let Backend {
        name,
        address,
        group,
        weight,
        connections,
        backup,
    } = backend;
    let mut object = Object::begin(text);
    object.field("name", name);
    object.field("address", address);
    object.set("group", group);
    if *weight != Backend::WEIGHT_DEFAULT {
        object.field("weight", weight);
    }
    object.set("connections", connections);
    object.set("backup", backup);
    object.end();
}

/// An object that is being written.
struct Object<'a> {
    text: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    fn begin(text: &'a mut Vec<u8>) -> Object<'a> {
        text.push(b'{');
        Object {
            text,
            is_empty: true,
        }
    }

    fn field(&mut self, key: &str, value: &impl Serialize) {
        self.key(key);
        serde_json::to_writer(&mut *self.text, value).expect("plain values have a JSON form");
    }

    /// A field that is left out where it has its default.
    fn set<T: Serialize + Default + PartialEq>(&mut self, key: &str, value: &T) {
        if *value != T::default() {
            self.field(key, value);
        }
    }

    fn list<T>(&mut self, key: &str, items: &[T], write: fn(&mut Vec<u8>, &T)) {
        self.key(key);
        self.text.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.text.push(b',');
            }
            write(self.text, item);
        }
        self.text.push(b']');
    }

    fn end(self) {
        self.text.push(b'}');
    }

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.is_empty) {
            self.text.push(b',');
        }
        self.text.push(b'"');
        self.text.extend_from_slice(key.as_bytes());
        self.text.extend_from_slice(b"\":");
    }
}
