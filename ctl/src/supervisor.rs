//! Keeps planes running, each by its [`Plane`], until a signal ends them.

use std::sync::mpsc::Sender;

use meridian_model::local::Listen;
use rustix::process::Signal;

use crate::event::Event;
use crate::failure::Failure;
use crate::output::Output;
use crate::plane_life::{News, Plane};
use crate::plane_process::DATAPLANE;
use crate::signals::{Asked, Signals};
use crate::usage::bookkeeper::Bookkeeper;

/// The supervisor of the planes of this host.
pub(crate) struct Supervisor<'a> {
    pub(crate) planes: Vec<Plane>,
    /// What the ready line names.
    pub(crate) listen: &'a Listen,
    pub(crate) signals: Signals,
    pub(crate) output: Output,
    /// Takes in what the dataplane leaves behind.
    pub(crate) bookkeeper: Bookkeeper,
    /// Told when the dataplane serves for the first time: what can wait until then begins.
    pub(crate) serving: Sender<()>,
}

impl Supervisor<'_> {
    /// Runs the planes until a signal ends them.
    ///
    /// # Errors
    /// When one can not be started, or ends before it was ready for the first time.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let mut revision = 0;
        // The first look starts them.
        self.look(&mut revision)?;
        while !self.planes.iter().all(Plane::is_over) {
            let wake_at = self.planes.iter().filter_map(Plane::wake_at).min();
            match self.signals.next(wake_at) {
                Some(Asked::Stop) => self.planes.iter_mut().for_each(Plane::stop),
                Some(Asked::OpenLogs) => {
                    let planes = self.planes.iter_mut();
                    planes.for_each(|plane| plane.signal(Signal::HUP));
                }
                Some(Asked::ChildEnded) | None => self.look(&mut revision)?,
            }
        }
        Ok(())
    }

    /// What follows when time has passed or a child ended. `revision` is what the dataplane serves.
    fn look(&mut self, revision: &mut u64) -> Result<(), Failure> {
        let mut is_first_time = false;
        for plane in &mut self.planes {
            let is_dataplane = plane.name() == DATAPLANE;
            let news = plane.look();
            if matches!(news, Ok(Some(News::Died)) | Err(_)) {
                self.bookkeeper.plane_died();
            }
            let Some(News::Ready { revision: live }) = news? else {
                continue;
            };
            is_first_time = true;
            if is_dataplane {
                *revision = live;
                // Who was told already does not listen any more.
                let _ = self.serving.send(());
            }
        }
        if is_first_time && self.planes.iter().all(Plane::was_ready) {
            self.output.event(&Event::Ready {
                revision: *revision,
                listen: self.listen,
            });
        }
        Ok(())
    }
}
