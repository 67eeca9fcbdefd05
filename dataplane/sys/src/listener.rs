//! Listening sockets: bound here, or adopted from whoever started the process.

use crate::datagram::DatagramSocket;
use crate::limits::{BACKLOG, UNSENT_BYTES_MAX};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor that a supervisor passes (sd_listen_fds(3)).
const FIRST_PASSED: RawFd = 3;

pub(crate) fn to_storage(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: sockaddr_storage is plain data for which all zeroes is a valid value.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let bytes = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is larger than and aligned for every socket address.
            unsafe {
                std::ptr::from_mut(&mut storage)
                    .cast::<libc::sockaddr_in>()
                    .write(raw)
            };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe {
                std::ptr::from_mut(&mut storage)
                    .cast::<libc::sockaddr_in6>()
                    .write(raw)
            };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, bytes as libc::socklen_t)
}

pub(crate) fn from_storage(storage: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that a sockaddr_in stands there.
            let raw = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddr::new(IpAddr::V4(ip), u16::from_be(raw.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that a sockaddr_in6 stands there.
            let raw = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            Ok(SocketAddr::new(IpAddr::V6(ip), u16::from_be(raw.sin6_port)))
        }
        family => Err(io::Error::other(format!(
            "not an internet address (family {family})"
        ))),
    }
}

/// A socket address in the form that the kernel wants, and its length.
pub(crate) fn boxed_storage(address: SocketAddr) -> (Box<libc::sockaddr_storage>, libc::socklen_t) {
    let (storage, bytes) = to_storage(address);
    (Box::new(storage), bytes)
}

/// The addresses of this host's interfaces, loopback among them.
pub fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the list is written to a pointer of ours and freed below.
    if unsafe { libc::getifaddrs(&mut first) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = first;
    while !next.is_null() {
        // SAFETY: `next` is an entry of the list, which is not freed before the loop ends.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        if entry.ifa_addr.is_null() {
            continue;
        }
        // SAFETY: every socket address begins with its family.
        let family = i32::from(unsafe { (*entry.ifa_addr).sa_family });
        let bytes = match family {
            libc::AF_INET => size_of::<libc::sockaddr_in>(),
            libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
            _ => continue,
        };
        // SAFETY: all zeroes is a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        // SAFETY: an address of this family has `bytes` octets and storage has room for more.
        unsafe {
            std::ptr::copy_nonoverlapping(
                entry.ifa_addr.cast::<u8>(),
                std::ptr::from_mut(&mut storage).cast::<u8>(),
                bytes,
            )
        };
        addresses.push(from_storage(&storage)?.ip());
    }
    // SAFETY: the list came from getifaddrs and nothing refers to it any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

type NameCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn name_of(fd: RawFd, call: NameCall) -> io::Result<SocketAddr> {
    // SAFETY: all zeroes is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut bytes = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: storage and its length are ours and outlive the call.
    let result = unsafe { call(fd, std::ptr::from_mut(&mut storage).cast(), &mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    from_storage(&storage)
}

pub(crate) fn peer_address(fd: RawFd) -> io::Result<SocketAddr> {
    name_of(fd, libc::getpeername)
}

pub(crate) fn local_address(fd: RawFd) -> io::Result<SocketAddr> {
    name_of(fd, libc::getsockname)
}

pub(crate) fn unacknowledged_bytes(fd: RawFd) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (the number of TIOCOUTQ) writes one int, which outlives the call.
    if unsafe { libc::ioctl(fd, libc::TIOCOUTQ, std::ptr::from_mut(&mut bytes)) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(bytes.max(0) as u32)
}

pub(crate) fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the option value is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// What every connection of ours is set to; those that a listener accepts inherit it.
pub(crate) fn set_stream_options(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    // By itself the kernel takes megabytes for a reader that does not read.
    set_option(
        fd,
        libc::IPPROTO_TCP,
        libc::TCP_NOTSENT_LOWAT,
        UNSENT_BYTES_MAX,
    )
}

/// A blocking stream socket, closed on exec. io_uring wants blocking sockets: on others it
/// answers EAGAIN instead of waiting.
pub(crate) fn stream_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    internet_socket(address, libc::SOCK_STREAM)
}

/// A blocking socket of the family of `address`, closed on exec.
pub(crate) fn internet_socket(address: SocketAddr, kind: libc::c_int) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds a TCP listener that shares its address with the other workers (SO_REUSEPORT).
pub fn bind(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = stream_socket(address)?;
    let fd = socket.as_raw_fd();
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    set_stream_options(fd)?;
    if address.is_ipv6() {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    let (storage, bytes) = to_storage(address);
    // SAFETY: the address outlives the call and its length is right.
    if unsafe { libc::bind(fd, std::ptr::from_ref(&storage).cast(), bytes) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: listen(2) takes no pointers.
    if unsafe { libc::listen(fd, BACKLOG) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// The address that a listener is bound to.
pub fn address_of(listener: &OwnedFd) -> io::Result<SocketAddr> {
    local_address(listener.as_raw_fd())
}

/// A socket that was passed to this process.
#[derive(Debug)]
pub enum PassedSocket {
    /// A listening TCP socket, with what every connection of ours is set to.
    Listener(OwnedFd),
    /// A bound UDP socket.
    Datagrams(DatagramSocket),
}

/// Takes over `count` descriptors that the process was started with (LISTEN_FDS, from 3 on).
///
/// Call it first of all: descriptors are taken on trust of their numbers. Each is checked to be
/// a listening TCP socket or a bound UDP socket; it is made blocking and closed on exec. A second
/// call is an error, for the descriptors have an owner by then.
pub fn adopt_passed(count: u32) -> io::Result<Vec<PassedSocket>> {
    static ADOPTED: AtomicBool = AtomicBool::new(false);
    if ADOPTED.swap(true, Ordering::Relaxed) {
        return Err(io::Error::other("the passed listeners are taken already"));
    }
    (FIRST_PASSED..).take(count as usize).map(adopt).collect()
}

fn adopt(fd: RawFd) -> io::Result<PassedSocket> {
    let refused = |why: &dyn std::fmt::Display| {
        io::Error::other(format!("passed descriptor {fd} is not a listener: {why}"))
    };
    let kind = option(fd, libc::SO_TYPE).map_err(|error| refused(&error))?;
    let is_datagram = kind == libc::SOCK_DGRAM;
    if !is_datagram && option(fd, libc::SO_ACCEPTCONN).map_err(|error| refused(&error))? == 0 {
        return Err(refused(&"it does not listen"));
    }
    // SAFETY: fcntl with these commands takes and gives integers only.
    let done = unsafe {
        libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) >= 0
            && libc::fcntl(
                fd,
                libc::F_SETFL,
                libc::fcntl(fd, libc::F_GETFL) & !libc::O_NONBLOCK,
            ) >= 0
    };
    if !done {
        return Err(io::Error::last_os_error());
    }
    if !is_datagram {
        set_stream_options(fd)?;
    }
    // SAFETY: the descriptor was passed to this process for it to own, and it is taken once.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    match is_datagram {
        true => DatagramSocket::new(socket).map(PassedSocket::Datagrams),
        false => Ok(PassedSocket::Listener(socket)),
    }
}

/// A number that SOL_SOCKET knows of a socket.
fn option(fd: RawFd, name: libc::c_int) -> io::Result<i32> {
    let mut value: i32 = 0;
    let mut bytes = size_of::<i32>() as libc::socklen_t;
    // SAFETY: value and length are ours and outlive the call.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            name,
            std::ptr::from_mut(&mut value).cast(),
            &mut bytes,
        )
    };
    match result {
        0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}
