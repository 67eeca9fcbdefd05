//! HTTP/1.1 on the wire: bytes in, values out; values in, bytes out.
//!
//! Nothing here does I/O, waits, or reads a clock, so every rule is tested on
//! plain slices. A message is parsed once, strictly; what goes on to the other
//! side is written anew from the parsed form, so that no byte which two parties
//! could read differently is ever passed on.
//!
//! ```text
//! client bytes  --request::parse-->  RequestHead  --forward::write_request_head-->   bytes for a backend
//! backend bytes --response::parse--> ResponseHead --forward::write_response_head-->  bytes for the client
//! chunked bytes --chunked::Decoder--> payload, trailers
//! ```
//!
//! `httparse` splits heads into tokens with SIMD. It is lax where we are not
//! (bare LF, several empty lines before a request, bytes above 0x7f in a target);
//! [`section`] and [`request`] check what it let through.
//!
//! What is absent: sockets, timeouts, routing, the choice of a backend, and the
//! decision what to do about a [`reject::Reject`].

pub mod answer;
pub mod authority;
pub mod chunked;
pub mod field;
pub mod forward;
mod forwarded_on;
pub mod framing;
pub mod list;
pub mod method;
pub mod query;
pub mod redirect;
pub mod reject;
pub mod request;
pub mod response;
pub mod section;
pub mod status;
pub mod syntax;
pub mod via;

/// The versions of HTTP that we tell apart. A minor version above 1 is served as
/// 1.1 (RFC 9110 §2.5), every other major version is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, no interim responses, closes unless it says otherwise.
    Http10,
    /// HTTP/1.1, and what we serve as such.
    Http11,
}
