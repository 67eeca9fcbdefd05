//! dataplane

pub mod http;
