//! Nobody's request is hidden in another's, and nobody gets what is another's: requests and
//! responses that two readers could take for different ones, between two tenants on one worker.

mod answers;
mod changes;
mod liar;
mod lies;
mod oddities;
mod recorder;
mod requests;
mod rounds;
mod served;
mod servers;
mod stage;
