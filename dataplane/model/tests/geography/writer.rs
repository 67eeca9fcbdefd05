//! Writes databases in MaxMind's format (MMDB 2.0), as few as tests need: maps, lists, texts and
//! numbers, records of 32 bits, and no pointers.

use ipnet::IpNet;
use serde_json::{Value, json};
use std::net::IpAddr;

/// A tree of `ip_version` with a record for each network. IPv4 stands in ::/96 of a tree of IPv6.
/// A network that is within an earlier one decides for itself.
pub(crate) fn write(ip_version: u16, records: &[(IpNet, Value)]) -> Vec<u8> {
    let mut tree = Tree::new();
    let mut data = Vec::new();
    let mut sorted: Vec<_> = records.iter().collect();
    sorted.sort_by_key(|(network, _)| network.prefix_len() + offset(*network, ip_version));
    for (network, record) in sorted {
        let at = data.len();
        push(&mut data, record);
        tree.add(*network, ip_version, at);
    }
    let mut bytes = tree.bytes();
    bytes.extend([0; 16]);
    bytes.extend(data);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    push_metadata(&mut bytes, ip_version, tree.0.len());
    bytes
}

/// The section of metadata, whose numbers have the widths that the format gives them.
fn push_metadata(bytes: &mut Vec<u8>, ip_version: u16, nodes: usize) {
    let numbers: [(&str, u8, u64); 6] = [
        ("binary_format_major_version", 2, 2),
        ("binary_format_minor_version", 2, 0),
        ("build_epoch", 8, 1_780_000_000),
        ("ip_version", 2, u64::from(ip_version)),
        ("node_count", 4, nodes as u64),
        ("record_size", 2, 32),
    ];
    let others = [
        ("database_type", json!("Test")),
        ("description", json!({})),
        ("languages", json!([])),
    ];
    control(bytes, MAP, numbers.len() + others.len());
    for (key, width, number) in numbers {
        push(bytes, &json!(key));
        push_number(bytes, width, number);
    }
    for (key, value) in others {
        push(bytes, &json!(key));
        push(bytes, &value);
    }
}

fn offset(network: IpNet, ip_version: u16) -> u8 {
    match (network, ip_version) {
        (IpNet::V4(_), 6) => 96,
        _ => 0,
    }
}

#[derive(Clone, Copy)]
enum Slot {
    Empty,
    Node(usize),
    Data(usize),
}

struct Tree(Vec<[Slot; 2]>);

impl Tree {
    fn new() -> Tree {
        Tree(vec![[Slot::Empty; 2]])
    }

    fn add(&mut self, network: IpNet, ip_version: u16, data: usize) {
        let bits = match network.addr() {
            IpAddr::V4(it) if ip_version == 4 => u128::from(u32::from(it)) << 96,
            IpAddr::V4(it) => u128::from(u32::from(it)),
            IpAddr::V6(it) => u128::from(it),
        };
        let length = network.prefix_len() + offset(network, ip_version);
        assert!(length > 0, "a tree has a node at least");
        let mut node = 0;
        for depth in 0..length {
            let side = (bits >> (127 - depth) & 1) as usize;
            if depth + 1 == length {
                self.0[node][side] = Slot::Data(data);
                return;
            }
            node = match self.0[node][side] {
                Slot::Node(next) => next,
                above => {
                    let next = self.0.len();
                    self.0.push([above; 2]);
                    self.0[node][side] = Slot::Node(next);
                    next
                }
            };
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let count = self.0.len();
        let number = |slot: Slot| match slot {
            Slot::Empty => count,
            Slot::Node(node) => node,
            Slot::Data(data) => count + 16 + data,
        };
        let slots = self.0.iter().flatten();
        slots
            .flat_map(|slot| {
                let number = number(*slot);
                (number as u32).to_be_bytes()
            })
            .collect()
    }
}

const TEXT: u8 = 2;
const DOUBLE: u8 = 3;
const UINT16: u8 = 5;
const UINT32: u8 = 6;
const MAP: u8 = 7;
const UINT64: u8 = 9;
const ARRAY: u8 = 11;

fn control(bytes: &mut Vec<u8>, kind: u8, size: usize) {
    assert!(size < 29 + 256);
    let (low, more) = match size {
        0..29 => (size as u8, None),
        _ => (29, Some((size - 29) as u8)),
    };
    match kind {
        0..8 => bytes.push(kind << 5 | low),
        _ => bytes.extend([low, kind - 7]),
    }
    bytes.extend(more);
}

fn push_number(bytes: &mut Vec<u8>, width: u8, number: u64) {
    let kind = match width {
        2 => UINT16,
        4 => UINT32,
        _ => UINT64,
    };
    control(bytes, kind, usize::from(width));
    bytes.extend(&number.to_be_bytes()[8 - usize::from(width)..]);
}

fn push(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) => {
            control(bytes, TEXT, text.len());
            bytes.extend(text.bytes());
        }
        Value::Number(number) => match number.as_u64() {
            Some(number) => push_number(bytes, 4, number),
            None => {
                control(bytes, DOUBLE, 8);
                bytes.extend(number.as_f64().unwrap().to_be_bytes());
            }
        },
        Value::Object(map) => {
            control(bytes, MAP, map.len());
            for (key, value) in map {
                push(bytes, &Value::String(key.clone()));
                push(bytes, value);
            }
        }
        Value::Array(list) => {
            control(bytes, ARRAY, list.len());
            list.iter().for_each(|it| push(bytes, it));
        }
        Value::Bool(_) | Value::Null => panic!("not written here"),
    }
}
