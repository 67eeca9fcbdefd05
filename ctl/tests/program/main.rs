//! `meridianctl` from outside: its calls, exit codes, words, files and signals.

mod authority;
mod backend_tls;
mod billing;
mod browser;
mod call;
mod certificates;
mod check;
mod delegation;
mod dns;
mod draining;
mod failures;
mod host;
mod https;
mod kept_certificates;
mod last_good;
mod live;
mod metrics;
mod quota;
mod scanners;
mod status;
mod supervision;
mod suspending;
mod up;
mod usage;
