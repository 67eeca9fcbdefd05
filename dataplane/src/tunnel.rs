//! What follows a 101: bytes between a client and a backend, whatever they mean.
//!
//! A tunnel is a task of its own with its two sockets and its counter slot. It holds neither the
//! request nor the site that it came from, so that a revision is freed while its tunnels live on.
//! While nothing passes, no buffer is held; each direction has one on its way at most, and what
//! else a sender has ready waits in its socket: a reader that does not read holds its sender back.

use crate::client;
use crate::counters::{Cause, Cut, SiteCounters};
use crate::limits::Seat;
use crate::record::TunnelRecord;
use crate::site::{Load, LocalSite};
use crate::stall::Stall;
use crate::stream::{BackendStream, Stream, StreamOf};
use crate::tls::Side;
use crate::upstream::Upstream;
use crate::worker::Worker;
use meridian_model::usage::Column;
use meridian_sys::{ClassId, RecvMode};
use std::rc::Rc;
use std::task::Poll;

/// A tunnel as far as the backend's side goes.
#[derive(Debug)]
pub(crate) struct Opening {
    backend: BackendEnd,
    counters: SiteCounters,
    class: ClassId,
    idle_ns: u64,
    write_ns: u64,
}

/// The backend's connection, counted as in use for as long as it is a tunnel.
#[derive(Debug)]
struct BackendEnd {
    stream: BackendStream,
    upstream: Rc<Upstream>,
    /// It counts to that, where its pool looks at it.
    _load: Option<Load>,
}

/// See the module.
#[derive(Debug)]
struct Tunnel {
    client: Stream,
    seat: Option<Seat>,
    backend: BackendEnd,
    worker: Rc<Worker>,
    counters: SiteCounters,
    /// Until its end was told.
    record: Option<TunnelRecord>,
    bytes_in: u64,
    bytes_out: u64,
    idle_ns: u64,
    write_ns: u64,
    up: Direction,
    down: Direction,
}

/// One direction of a tunnel.
#[derive(Debug)]
struct Direction {
    flow: Flow,
    stall: Stall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// The sender may send more.
    Open,
    /// The sender ended its side, and the reader is being told.
    Ending,
    /// The sender ended its side, and so we did towards the reader.
    Ended,
    /// The sender's connection broke.
    Broken,
    /// The reader takes no more.
    Refused,
}

/// Bytes that a direction moved.
#[derive(Debug, Default)]
struct Moved {
    /// From its sender to us.
    received: u64,
    /// From us to the kernel, on their way to the reader.
    sent: u64,
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both sides ended theirs.
    Complete,
    Cut(Cut),
}

impl Opening {
    /// A tunnel to a backend of `site`, over its connection `stream`; its request counted to `load`.
    pub(crate) fn new(
        site: &LocalSite,
        upstream: Rc<Upstream>,
        stream: BackendStream,
        load: Option<Load>,
    ) -> Opening {
        let timeouts = &site.site().timeouts;
        upstream.begin_tunnel();
        Opening {
            backend: BackendEnd {
                stream,
                upstream,
                _load: load,
            },
            counters: site.counters().clone(),
            class: site.class(),
            idle_ns: timeouts.tunnel_idle.as_nanos() as u64,
            write_ns: timeouts.write.as_nanos() as u64,
        }
    }

    /// Lets it run, from `client`, to whom the head of the 101 is on its way.
    /// The client's connection stays one of `seat` as long as it does.
    pub(crate) fn open(
        self,
        worker: Rc<Worker>,
        client: Stream,
        seat: Option<Seat>,
        record: TunnelRecord,
    ) {
        // How much will come nobody knows: whoever reads slowly is to hold the other back at once.
        client.set_mode(RecvMode::OnDemand);
        self.backend.stream.set_mode(RecvMode::OnDemand);
        let now_ns = worker.runtime.now_ns();
        let runtime = worker.runtime.clone();
        let mut tunnel = Tunnel {
            client,
            seat,
            backend: self.backend,
            worker,
            counters: self.counters,
            record: Some(record),
            bytes_in: 0,
            bytes_out: 0,
            idle_ns: self.idle_ns,
            write_ns: self.write_ns,
            up: Direction::new(now_ns),
            down: Direction::new(now_ns),
        };
        // Captured, and not an argument of its own, which the task would have room for twice.
        runtime.spawn(self.class, async move { tunnel.run().await });
    }
}

impl Tunnel {
    async fn run(&mut self) {
        let end = loop {
            match self.pump() {
                Ok(look_ns) => self.worker.runtime.stirred(look_ns).await,
                Err(end) => break end,
            }
        };
        let End::Cut(cut) = end else {
            return self.tell(None);
        };
        self.tell(Some(cut));
        self.counters.add(Column::Cut, 1);
        match cut {
            // It may still send, and a reset would take what the backend said last with it.
            Cut::TunnelReset => client::linger(&self.client, &self.worker.runtime).await,
            // What was on its way is lost.
            Cut::WriteTimeout | Cut::TunnelWriteTimeout => {
                self.client.reset_on_close();
                self.backend.stream.reset_on_close();
            }
            _ if self.client.session().is_some() => {
                client::end_stream(&self.client, &self.worker.runtime).await;
            }
            _ => {}
        }
    }

    /// Counts why it ended, and lets those know who want to.
    fn tell(&mut self, cut: Option<Cut>) {
        let Some(record) = self.record.take() else {
            return;
        };
        let cause = cut.map(Cause::Cut);
        if let Some(cause) = cause {
            self.worker.causes().count(cause);
        }
        let bytes_out = self.bytes_out + self.client.sent_bytes();
        record.end(&self.worker, cause, self.bytes_in, bytes_out);
    }

    /// Moves bytes as far as they go. Gives when to look again, or how the tunnel ended.
    fn pump(&mut self) -> Result<u64, End> {
        let (client, backend) = (&self.client, &self.backend.stream);
        let moved = self.up.pump(client, backend);
        self.counters.add(Column::BytesIn, moved.received);
        self.bytes_in += moved.received;
        let moved = self.down.pump(backend, client);
        self.counters.add(Column::BytesOut, moved.sent);
        self.bytes_out += moved.sent;
        match (self.up.flow, self.down.flow) {
            (Flow::Broken, _) => return Err(End::Cut(Cut::ClientAbort)),
            (_, Flow::Broken) => return Err(End::Cut(Cut::TunnelReset)),
            (Flow::Ended, Flow::Ended) => return Err(End::Complete),
            // The other side of the reader that takes no more may still have something to say.
            (Flow::Open | Flow::Ending, _) | (_, Flow::Open | Flow::Ending) => {}
            (Flow::Refused, _) => return Err(End::Cut(Cut::TunnelReset)),
            (Flow::Ended, Flow::Refused) => return Err(End::Cut(Cut::ClientAbort)),
        }
        self.look_ns().map_err(End::Cut)
    }

    /// When to look again at whoever is waited for; an error when its time is over.
    fn look_ns(&mut self) -> Result<u64, Cut> {
        let now_ns = self.worker.runtime.now_ns();
        let (client, backend) = (&self.client, &self.backend.stream);
        // Whatever is received is sent on at once.
        let moved_ns = client.send_progress_ns().max(backend.send_progress_ns());
        let mut look_ns = moved_ns + self.idle_ns;
        if look_ns <= now_ns {
            return Err(Cut::TunnelIdleTimeout);
        }
        for (reader, direction, cut) in [
            (client.socket(), &mut self.down, Cut::WriteTimeout),
            (backend.socket(), &mut self.up, Cut::TunnelWriteTimeout),
        ] {
            if reader.is_sending() {
                let stall = &mut direction.stall;
                let end_ns = stall.deadline_ns(reader, self.write_ns, now_ns);
                look_ns = look_ns.min(end_ns.ok_or(cut)?);
            }
        }
        Ok(look_ns)
    }
}

impl Direction {
    fn new(now_ns: u64) -> Direction {
        Direction {
            flow: Flow::Open,
            stall: Stall::new(now_ns),
        }
    }

    fn pump(&mut self, sender: &StreamOf<impl Side>, reader: &StreamOf<impl Side>) -> Moved {
        let mut moved = Moved::default();
        while self.flow == Flow::Open {
            match reader.poll_sent() {
                Poll::Pending => break,
                Poll::Ready(Ok(sent)) => moved.sent += sent as u64,
                Poll::Ready(Err(_)) => {
                    self.flow = Flow::Refused;
                    break;
                }
            }
            match sender.poll_recv() {
                Poll::Pending => break,
                Poll::Ready(Ok(Some(bytes))) => {
                    moved.received += bytes.len() as u64;
                    reader.start_send(bytes, false);
                }
                Poll::Ready(Ok(None)) => self.flow = Flow::Ending,
                Poll::Ready(Err(_)) => self.flow = Flow::Broken,
            }
        }
        if self.flow == Flow::Ending && reader.poll_shutdown().is_ready() {
            self.flow = Flow::Ended;
        }
        moved
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // Where it did not end by itself, the end of a drain met it.
        self.tell(Some(Cut::DrainTimeout));
        // Of a send that did not end well, what the kernel took has gone all the same.
        let sent = self.client.sent_bytes();
        self.counters.add(Column::BytesOut, sent);
        if let Some(seat) = self.seat {
            self.worker.seats().leave(seat);
        }
        self.worker.connection_closed();
    }
}

impl Drop for BackendEnd {
    fn drop(&mut self) {
        self.upstream.end_tunnel();
    }
}
