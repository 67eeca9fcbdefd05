//! Who counts as one client, and that a handshake that ended is forgotten.

use super::*;

fn under_way() -> RefCell<UnderWay> {
    RefCell::default()
}

#[test]
fn a_network_of_ipv6_is_one_client() {
    let client = |text: &str| one_client(text.parse().expect("it is an address"));
    assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:0:0:1"));
    assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
    assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
}

#[test]
fn what_ended_leaves_nothing_behind() {
    let under_way = under_way();
    let enter = |client: &str| {
        let client = one_client(client.parse().expect("it is an address"));
        let mut all = under_way.borrow_mut();
        all.all += 1;
        *all.by_client.entry(client).or_default() += 1;
        Entered {
            under_way: &under_way,
            client,
        }
    };
    let (first, second) = (enter("192.0.2.1"), enter("192.0.2.1"));
    let other = enter("192.0.2.2");
    drop(first);
    assert_eq!(under_way.borrow().by_client.len(), 2);
    drop((second, other));
    let left = under_way.borrow();
    assert!(left.all == 0 && left.by_client.is_empty());
}
