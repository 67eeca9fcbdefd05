//! Routes, and what is changed of fields.

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::rare::Usual;

/// Requests that do not go to the default pool, or not as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// What a request must be like.
    #[serde(rename = "match")]
    pub matching: Match,
    /// What happens to it.
    pub outcome: Outcome,
    /// What the backend gets in place of the path's prefix that was matched.
    #[serde(default)]
    pub rewrite_prefix: Option<String>,
    /// What is changed of a request, on top of what the site changes.
    #[serde(default)]
    pub request_headers: FieldRules,
    /// What is changed of a response, on top of what the site changes.
    #[serde(default)]
    pub response_headers: FieldRules,
}

/// What a request must be like: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The path is exactly this; not with `path_prefix`.
    pub path: Option<String>,
    /// The path is this or below it, by whole segments.
    pub path_prefix: Option<String>,
    /// The method is one of these; none given means any.
    pub methods: Vec<String>,
    /// Fields, in lower case, with their values; by name.
    pub headers: Vec<(String, String)>,
    /// Parameters of the query with their values; by name.
    pub query: Vec<(String, String)>,
}

/// What happens to a request that matches a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// It goes to this pool.
    Pool(Name),
    /// It is sent elsewhere.
    Redirect(Redirect),
    /// It is answered here.
    Respond(Respond),
}

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// The Location field, or its beginning.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// What follows the matched prefix in the path, and the query, stand behind `to`.
    #[serde(default)]
    pub keep_path: bool,
}

/// An answer of our own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Its body; may be empty.
    pub body: String,
    /// Its media type.
    pub content_type: String,
}

/// What is changed of the fields of a message. No name stands in two of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldRules {
    /// Fields that take the place of all of their name; by name.
    pub set: Vec<(String, String)>,
    /// Fields that come to those of their name; by name.
    pub add: Vec<(String, String)>,
    /// Names of fields that are dropped, in lower case; by name.
    pub remove: Vec<String>,
}

impl Usual for FieldRules {
    const USUAL: &'static FieldRules = &FieldRules {
        set: Vec::new(),
        add: Vec::new(),
        remove: Vec::new(),
    };
}

impl FieldRules {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}
