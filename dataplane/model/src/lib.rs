//! dataplane/model
