//! UDP sockets of a server, and batches of datagrams: recvmmsg(2), sendmmsg(2).
//!
//! The ring tells when a socket has datagrams ([`crate::Runtime::watch`]); a [`Batch`] drains it. Nearly all
//! of the cost is the kernel's way through UDP, and a batch shares what is left of it.

use crate::limits::{DATAGRAM_BYTES_MAX, DATAGRAM_SOCKET_BYTES, DATAGRAMS_MAX};
use crate::listener::{from_storage, internet_socket, local_address, set_option, to_storage};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// Octets of control messages of one datagram: the address that it was sent to, in either family.
const CONTROL_BYTES: usize = 64;

/// A bound UDP socket.
#[derive(Debug)]
pub struct DatagramSocket {
    fd: OwnedFd,
    address: SocketAddr,
}

impl DatagramSocket {
    /// Binds one that shares its address with the other workers (SO_REUSEPORT).
    pub fn bind(address: SocketAddr) -> io::Result<DatagramSocket> {
        let fd = internet_socket(address, libc::SOCK_DGRAM)?;
        set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        if address.is_ipv6() {
            set_option(fd.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        }
        let (storage, bytes) = to_storage(address);
        // SAFETY: the address outlives the call and its length is right.
        let result =
            unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&storage).cast(), bytes) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        DatagramSocket::new(fd)
    }

    /// One that was bound by somebody else.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<DatagramSocket> {
        let raw = fd.as_raw_fd();
        let address = local_address(raw)?;
        for name in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
            set_option(raw, libc::SOL_SOCKET, name, DATAGRAM_SOCKET_BYTES)?;
        }
        // What a path is told to take is not believed, so that nobody can have answers cut into
        // fragments of his choice; and which address was asked is to be known where there are many.
        let (level, discover, told) = match address {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PKTINFO),
            SocketAddr::V6(_) => (
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_RECVPKTINFO,
            ),
        };
        set_option(raw, level, discover, libc::IP_PMTUDISC_OMIT)?;
        if address.ip().is_unspecified() {
            set_option(raw, level, told, 1)?;
        }
        Ok(DatagramSocket { fd, address })
    }

    /// What it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// What became of the replies of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// The kernel took them.
    pub sent: usize,
    /// It did not: there was no room, or no way there.
    pub failed: usize,
}

/// The control messages of a datagram, aligned as the kernel wants them.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Room for at most [`DATAGRAMS_MAX`] datagrams and a reply to each.
///
/// It holds pointers into its own boxes, which do not move with it.
pub struct Batch {
    received: Box<[libc::mmsghdr]>,
    /// How many of these may say what the kernel wrote, and not what there is room for.
    used: usize,
    replies: Box<[libc::mmsghdr]>,
    /// Of a reply: the datagram that it belongs to is found by the place of its address.
    reply_count: usize,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    queries: Box<[u8]>,
    texts: Box<[u8]>,
    reply_bytes: usize,
    _received_parts: Box<[libc::iovec]>,
    reply_parts: Box<[libc::iovec]>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch")
    }
}

impl Batch {
    /// One whose replies have at most `reply_bytes` octets each.
    pub fn new(reply_bytes: usize) -> Batch {
        // SAFETY: both are plain data for which all zeroes is a valid value.
        let (header, storage): (libc::mmsghdr, libc::sockaddr_storage) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        let mut addresses = vec![storage; DATAGRAMS_MAX].into_boxed_slice();
        let mut controls = vec![Control([0; CONTROL_BYTES]); DATAGRAMS_MAX].into_boxed_slice();
        let mut queries = vec![0; DATAGRAMS_MAX * DATAGRAM_BYTES_MAX].into_boxed_slice();
        let mut received_parts = vec![empty; DATAGRAMS_MAX].into_boxed_slice();
        let mut reply_parts = vec![empty; DATAGRAMS_MAX].into_boxed_slice();
        let mut received = vec![header; DATAGRAMS_MAX].into_boxed_slice();
        let mut replies = vec![header; DATAGRAMS_MAX].into_boxed_slice();
        let rooms = queries.chunks_exact_mut(DATAGRAM_BYTES_MAX);
        for (at, room) in rooms.enumerate() {
            received_parts[at] = libc::iovec {
                iov_base: room.as_mut_ptr().cast(),
                iov_len: room.len(),
            };
            let header = &mut received[at].msg_hdr;
            header.msg_name = std::ptr::from_mut(&mut addresses[at]).cast();
            header.msg_control = std::ptr::from_mut(&mut controls[at]).cast();
            header.msg_iov = std::ptr::from_mut(&mut received_parts[at]);
            header.msg_iovlen = 1;
            let header = &mut replies[at].msg_hdr;
            header.msg_iov = std::ptr::from_mut(&mut reply_parts[at]);
            header.msg_iovlen = 1;
        }
        Batch {
            received,
            used: DATAGRAMS_MAX,
            replies,
            reply_count: 0,
            addresses,
            controls,
            queries,
            texts: vec![0; DATAGRAMS_MAX * reply_bytes].into_boxed_slice(),
            reply_bytes,
            _received_parts: received_parts,
            reply_parts,
        }
    }

    /// Receives what is there, at most [`DATAGRAMS_MAX`] datagrams, without waiting for any. Of
    /// each the first [`DATAGRAM_BYTES_MAX`] octets are kept.
    ///
    /// # Errors
    ///
    /// Of recvmmsg(2), but that nothing is there.
    pub fn receive(&mut self, socket: &DatagramSocket) -> io::Result<usize> {
        for header in &mut self.received[..self.used] {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_BYTES;
        }
        // SAFETY: every header points to an address, control messages and octets of ours, of the
        // lengths that it names, which live as long as `self`.
        let count = unsafe {
            libc::recvmmsg(
                socket.descriptor(),
                self.received.as_mut_ptr(),
                DATAGRAMS_MAX as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        self.used = count.max(0) as usize;
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        Ok(count as usize)
    }

    /// Hands the first `count` datagrams that were received to `reply`, each with its sender and
    /// the room for its reply, of which `reply` gives the length; none: it gets none.
    pub fn answer(
        &mut self,
        count: usize,
        mut reply: impl FnMut(SocketAddr, &[u8], &mut [u8]) -> Option<usize>,
    ) {
        self.reply_count = 0;
        let queries = self.queries.chunks_exact(DATAGRAM_BYTES_MAX);
        let rooms = self.texts.chunks_exact_mut(self.reply_bytes);
        for (at, (query, room)) in queries.zip(rooms).take(count).enumerate() {
            let received = &self.received[at];
            // A sender is always one of ours: the socket has a family.
            let Ok(source) = from_storage(&self.addresses[at]) else {
                continue;
            };
            let bytes = (received.msg_len as usize).min(DATAGRAM_BYTES_MAX);
            let text = room.as_mut_ptr();
            let Some(length) = reply(source, &query[..bytes], room) else {
                continue;
            };
            let control_bytes = received.msg_hdr.msg_controllen.min(CONTROL_BYTES);
            keep_source(&mut self.controls[at], control_bytes);
            self.reply_parts[self.reply_count] = libc::iovec {
                iov_base: text.cast(),
                iov_len: length.min(self.reply_bytes),
            };
            let header = &mut self.replies[self.reply_count].msg_hdr;
            header.msg_name = std::ptr::from_mut(&mut self.addresses[at]).cast();
            header.msg_namelen = received.msg_hdr.msg_namelen;
            header.msg_control = std::ptr::from_mut(&mut self.controls[at]).cast();
            header.msg_controllen = control_bytes;
            self.reply_count += 1;
        }
    }

    /// Sends the replies, without waiting for room, to who was answered, from the address that was
    /// asked.
    pub fn send(&mut self, socket: &DatagramSocket) -> Sent {
        let mut sent = Sent::default();
        let mut next = 0;
        while next < self.reply_count {
            let rest = &mut self.replies[next..self.reply_count];
            // SAFETY: every header points to an address, control messages and octets of ours, of
            // the lengths that it names, which live as long as `self`.
            let count = unsafe {
                libc::sendmmsg(
                    socket.descriptor(),
                    rest.as_mut_ptr(),
                    rest.len() as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            if count > 0 {
                sent.sent += count as usize;
                next += count as usize;
                continue;
            }
            // It is the first of the rest that could not be sent.
            match io::Error::last_os_error().kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => {
                    sent.failed += rest.len();
                    break;
                }
                _ => {
                    sent.failed += 1;
                    next += 1;
                }
            }
        }
        self.reply_count = 0;
        sent
    }
}

/// Makes of where a datagram came to where its reply comes from: the address, by whatever
/// interface the routes say (ip(7): ipi_spec_dst; RFC 3542 §6.2).
fn keep_source(control: &mut Control, bytes: usize) {
    let header_bytes = size_of::<libc::cmsghdr>();
    if bytes < header_bytes {
        return;
    }
    // SAFETY: the kernel wrote that many octets, a header first; the room is aligned for it.
    let header = unsafe { &*control.0.as_ptr().cast::<libc::cmsghdr>() };
    let interface_at = match (header.cmsg_level, header.cmsg_type) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            header_bytes + std::mem::offset_of!(libc::in_pktinfo, ipi_ifindex)
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let address = &control.0[header_bytes..];
            // An address of one link says nothing without its interface.
            if address[0] == 0xfe && address[1] & 0xc0 == 0x80 {
                return;
            }
            header_bytes + std::mem::offset_of!(libc::in6_pktinfo, ipi6_ifindex)
        }
        _ => return,
    };
    control.0[interface_at..interface_at + 4].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    /// Receives until `count` datagrams were answered with themselves, turned round.
    fn echo(batch: &mut Batch, socket: &DatagramSocket, count: usize) -> Sent {
        let mut sent = Sent::default();
        while sent.sent + sent.failed < count {
            let received = batch.receive(socket).expect("it can be read");
            if received == 0 {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            batch.answer(received, |_, query, room| {
                let reply = &mut room[..query.len()];
                reply.copy_from_slice(query);
                reply.reverse();
                (query != b"no").then_some(query.len())
            });
            let these = batch.send(socket);
            sent.sent += these.sent;
            sent.failed += these.failed;
        }
        sent
    }

    fn client(address: &str) -> UdpSocket {
        let client = UdpSocket::bind(address).expect("it binds");
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("it is set");
        client
    }

    #[test]
    fn each_gets_its_own_reply() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let socket = DatagramSocket::bind(host.parse().expect("one")).expect("it binds");
            let clients: Vec<UdpSocket> = (0..5).map(|_| client(host)).collect();
            for (n, client) in clients.iter().enumerate() {
                for m in 0..30 {
                    let text = format!("{n} {m}");
                    client
                        .send_to(text.as_bytes(), socket.address())
                        .expect("it goes");
                    client.send_to(b"no", socket.address()).expect("it goes");
                }
            }
            let mut batch = Batch::new(64);
            assert_eq!(
                echo(&mut batch, &socket, 150),
                Sent {
                    sent: 150,
                    failed: 0
                }
            );
            for (n, client) in clients.iter().enumerate() {
                for m in 0..30 {
                    let mut got = [0; 64];
                    let (length, from) = client.recv_from(&mut got).expect("it is answered");
                    let reply: String = format!("{n} {m}").chars().rev().collect();
                    assert_eq!((&got[..length], from), (reply.as_bytes(), socket.address()));
                }
            }
        }
    }

    /// Where the socket has every address of the host, the reply comes from the one that was asked.
    #[test]
    fn replies_come_from_the_address_that_was_asked() {
        let socket = DatagramSocket::bind("0.0.0.0:0".parse().expect("one")).expect("it binds");
        let asked = SocketAddr::new("127.0.0.3".parse().expect("one"), socket.address().port());
        let client = client("127.0.0.2:0");
        client.send_to(b"who", asked).expect("it goes");
        echo(&mut Batch::new(64), &socket, 1);
        let mut got = [0; 64];
        assert_eq!(client.recv_from(&mut got).expect("it is answered").1, asked);
    }

    #[test]
    fn a_long_datagram_is_cut_and_a_long_reply_too() {
        let socket = DatagramSocket::bind("127.0.0.1:0".parse().expect("one")).expect("it binds");
        let client = client("127.0.0.1:0");
        client
            .send_to(&[7; DATAGRAM_BYTES_MAX + 9], socket.address())
            .expect("it goes");
        let mut batch = Batch::new(10);
        let received = loop {
            match batch.receive(&socket).expect("it can be read") {
                0 => std::thread::sleep(Duration::from_millis(1)),
                received => break received,
            }
        };
        assert_eq!(received, 1);
        batch.answer(1, |_, query, room| {
            assert_eq!((query.len(), room.len()), (DATAGRAM_BYTES_MAX, 10));
            Some(11)
        });
        assert_eq!(batch.send(&socket).sent, 1);
        let mut got = [0; 64];
        assert_eq!(client.recv_from(&mut got).expect("it is answered").0, 10);
    }

    #[test]
    fn a_reply_that_goes_nowhere_keeps_no_other_back() {
        let socket = DatagramSocket::bind("127.0.0.1:0".parse().expect("one")).expect("it binds");
        let client = client("127.0.0.1:0");
        for text in [b"a", b"b"] {
            client.send_to(text, socket.address()).expect("it goes");
        }
        let mut batch = Batch::new(10);
        let mut received = 0;
        while received < 2 {
            received = batch.receive(&socket).expect("it can be read");
            assert_ne!(received, 1, "the kernel gives both, which were there first");
        }
        // A port that nobody can be asked at.
        // SAFETY: the storage holds a sockaddr_in.
        unsafe {
            let first = std::ptr::from_mut(&mut batch.addresses[0]).cast::<libc::sockaddr_in>();
            (*first).sin_port = 0;
        }
        batch.answer(2, |_, _, _| Some(1));
        assert_eq!(batch.send(&socket), Sent { sent: 1, failed: 1 });
    }
}
