//! The corpora of the fuzz targets, through the checks of the fuzz targets: what
//! libFuzzer once found is found again by every run of the tests.

#[path = "../fuzz/src/chunked_body.rs"]
pub mod chunked_body;
#[path = "../fuzz/src/name_message.rs"]
pub mod name_message;
#[path = "../fuzz/src/proxy_protocol.rs"]
pub mod proxy_protocol;
#[path = "../fuzz/src/request_head.rs"]
pub mod request_head;
#[path = "../fuzz/src/response_head.rs"]
pub mod response_head;

use std::fs;
use std::path::Path;

fn for_each_sample(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&directory).expect("the corpus is part of the sources") {
        let path = entry.expect("an entry").path();
        let sample = fs::read(&path).expect("a readable sample");
        // A panic tells where; this tells which sample, for it is shown on failure.
        println!("{}", path.display());
        check(&sample);
        count += 1;
    }
    assert!(count >= 10, "{} has too few samples", directory.display());
}

#[test]
fn request_heads() {
    for_each_sample("request_head", request_head::check);
}

#[test]
fn response_heads() {
    for_each_sample("response_head", response_head::check);
}

#[test]
fn chunked_bodies() {
    for_each_sample("chunked_body", chunked_body::check);
}

#[test]
fn proxy_headers() {
    for_each_sample("proxy_protocol", proxy_protocol::check);
}

#[test]
fn name_messages() {
    for_each_sample("name_message", name_message::check);
}
