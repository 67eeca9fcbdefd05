//! The bench driven from outside, as a person or a script drives it.

mod bare_proxy;
mod compare;
mod fairness;
mod health;
mod house;
mod live;
mod load;
mod slow_clients;
