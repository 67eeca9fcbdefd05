//! What a site's routes are compiled to: bytes that are ready to be compared and sent.

use crate::path::EncodedSlashes;

/// How the paths of a site are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathReading {
    /// No route looks at a path: it goes to a backend as it came.
    AsReceived,
    /// In the form of [`crate::path::normal_form`], which is also what a backend gets.
    Normal(EncodedSlashes),
}

/// Requests of a site that something of their own happens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What a request must be like.
    pub matching: Match,
    /// What happens to it.
    pub outcome: Outcome,
}

/// What a request must be like: all of it must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Its path.
    pub path: PathMatch,
    /// Its method is one of these; none means any.
    pub methods: Box<[Box<str>]>,
    /// For each of these, one of its fields that go on to a backend has this name, in lower case,
    /// and this value.
    pub headers: Box<[Pair]>,
    /// For each of these, one parameter of its query has this name and value, once decoded.
    pub query: Box<[Pair]>,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: Box<[u8]>,
    /// The value.
    pub value: Box<[u8]>,
}

/// What a path must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// It does not matter.
    Any,
    /// It is this.
    At(Box<[u8]>),
    /// It is this, which has no slash at its end, or below it.
    Below(Box<[u8]>),
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes to a backend, in the way of this place in [`super::Site::forwards`].
    Forward(usize),
    /// It is answered here.
    Answer(Answer),
}

/// A way to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The place of its pool in [`super::Site::pools`].
    pub pool: usize,
    /// What the backend is asked for.
    pub rewrite: Rewrite,
    /// What stands in Host.
    pub host: HostField,
    /// What is changed of the request's fields.
    pub request_fields: FieldChange,
    /// What is changed of the response's.
    pub response_fields: FieldChange,
}

/// What becomes of a path on its way to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing.
    Kept,
    /// This stands in place of the prefix that was matched.
    Prefix(Base),
}

/// A path, or a URL up to one, that the rest of another path is put behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// All of it, for where there is no rest.
    pub whole: Box<[u8]>,
    /// Without a slash at its end, for a rest that begins with one.
    pub stem: Box<[u8]>,
}

/// What stands in the Host field of a request to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostField {
    /// What the client asked for.
    Asked,
    /// This.
    Fixed(Box<[u8]>),
}

/// What is changed of the fields of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldChange {
    /// Names of fields that do not pass.
    pub dropped: Box<[Box<[u8]>]>,
    /// Whole lines that are added, each with its CRLF.
    pub added: Box<[u8]>,
}

impl FieldChange {
    /// Whether fields of this name do not pass. Underscores are read as hyphens, as gateways read
    /// them that turn names into variables (RFC 3875 §4.1.18).
    pub fn drops(&self, name: &[u8]) -> bool {
        self.dropped.iter().any(|dropped| reads_as(dropped, name))
    }
}

fn reads_as(one: &[u8], other: &[u8]) -> bool {
    let fold = |byte: u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    let mut bytes = one.iter().zip(other);
    one.len() == other.len() && bytes.all(|(&one, &other)| fold(one) == fold(other))
}

/// An answer of our own that a route gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its Location.
    pub location: Location,
    /// Its other fields as whole lines, but for those of every answer of ours and its length.
    pub fields: Box<[u8]>,
    /// Its body.
    pub body: Box<[u8]>,
}

/// The Location field of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// There is none.
    Absent,
    /// This.
    Fixed(Box<[u8]>),
    /// This, with what follows the matched prefix in the path, and the query.
    Kept(Base),
}
