//! A session of an engine that computes for seconds before the next frame, in two threads. The maker makes the take and tells cues; the relay, who owns
//! the sink, hands them on, and meanwhile asks the sink whether anybody still wants the take, which the maker could not: it would be
//! asked between two frames only. Whoever is canceled does not wait for the maker, which leaves at its next look at the `Stagehand`.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::{
    EngineError, Frame, FrameSink, Report, Session, Stage, Stop, Stopped, Timing, VideoFormat, Warning,
};

/// How often the sink is asked while nothing is ready.
const PATIENCE: Duration = Duration::from_millis(100);
/// Cues that may wait for the sink: frames among them.
const IN_FLIGHT: usize = 4;

/// From the maker to the sink, in order.
#[derive(Debug)]
pub enum Cue {
    Stage(Stage, u64, u64),
    Begin(VideoFormat),
    Warning(Warning),
    Frame(Frame),
    Checkpoint(Vec<u8>),
}

/// Runs `make` in a thread called `name` and hands on what it tells, until it has ended or nobody wants the take any more: then nobody waits for it.
pub fn perform<T: Send + 'static>(
    name: &str,
    out: &mut dyn FrameSink,
    make: impl FnOnce(&Stagehand) -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let (relayed, maker) = relayed(name, out, make)?;
    // who is canceled need not wait for a block to end
    relayed?;
    ended(maker)
}

/// The same of a maker that leaves at once when it is stopped, and has something to clear away.
pub fn perform_to_the_end<T: Send + 'static>(
    name: &str,
    out: &mut dyn FrameSink,
    make: impl FnOnce(&Stagehand) -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let (relayed, maker) = relayed(name, out, make)?;
    let made = ended(maker);
    relayed?;
    made
}

type Maker<T> = JoinHandle<Result<T, EngineError>>;

fn relayed<T: Send + 'static>(
    name: &str,
    out: &mut dyn FrameSink,
    make: impl FnOnce(&Stagehand) -> Result<T, EngineError> + Send + 'static,
) -> Result<(Result<(), Stopped>, Maker<T>), EngineError> {
    let (cues, coming) = sync_channel(IN_FLIGHT);
    let stagehand = Stagehand { cues, stop: Stop::new() };
    let heard = Heard(stagehand.stop.clone());
    let maker = std::thread::Builder::new().name(name.into()).spawn(move || make(&stagehand));
    let maker = maker.map_err(|error| EngineError::Failed(format!("no thread could be started: {error}")))?;
    let relayed = relay(&coming, out);
    drop(heard);
    Ok((relayed, maker))
}

/// As long as it lives, somebody hears the maker; one that is still at it then, because the sink left or broke, is to stop.
struct Heard(Stop);

impl Drop for Heard {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn ended<T>(maker: Maker<T>) -> Result<T, EngineError> {
    maker.join().map_err(|_| EngineError::Failed("making the take panicked".into()))?
}

fn relay(coming: &Receiver<Cue>, out: &mut dyn FrameSink) -> Result<(), Stopped> {
    let mut now = (Stage::Loading, 0, 0);
    loop {
        match coming.recv_timeout(PATIENCE) {
            Ok(Cue::Stage(stage, done, of)) => {
                now = (stage, done, of);
                out.stage(stage, done, of)?;
            }
            Ok(Cue::Begin(format)) => out.begin(format)?,
            Ok(Cue::Warning(warning)) => out.warn(warning)?,
            Ok(Cue::Frame(frame)) => out.frame(frame)?,
            Ok(Cue::Checkpoint(state)) => out.checkpoint(&state)?,
            Err(RecvTimeoutError::Timeout) => out.stage(now.0, now.1, now.2)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// The maker's side.
pub struct Stagehand {
    cues: SyncSender<Cue>,
    stop: Stop,
}

impl Stagehand {
    pub fn tell(&self, cue: Cue) -> Result<(), Stopped> {
        self.cues.send(cue).map_err(|_| Stopped)
    }

    /// Nobody wants the take any more.
    pub fn is_gone(&self) -> bool {
        self.stop.is_stopped()
    }

    /// Set when nobody wants the take any more: for what blocks on something outside.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Whether the maker may go on.
    pub fn check(&self) -> Result<(), EngineError> {
        if self.is_gone() { Err(EngineError::Stopped) } else { Ok(()) }
    }
}

/// A device that makes one take at a time.
#[derive(Debug, Default)]
pub struct Turn {
    taken: Mutex<bool>,
    free: Condvar,
}

/// The device is somebody's until it is dropped.
#[derive(Debug)]
pub struct TurnGuard<'a>(&'a Turn);

impl Turn {
    /// Waits until the device is free, or nobody wants the take any more.
    pub fn take(&self, stage: &Stagehand) -> Result<TurnGuard<'_>, EngineError> {
        let mut taken = self.lock();
        loop {
            stage.check()?;
            if !*taken {
                *taken = true;
                return Ok(TurnGuard(self));
            }
            let waited = self.free.wait_timeout(taken, PATIENCE);
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // nothing is done while it is held but this
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.free.notify_one();
    }
}

/// A session that `run` makes in a thread of its own, called `name`.
pub fn session(
    name: &str,
    run: impl FnOnce() -> Result<Report, EngineError> + Send + 'static,
) -> Result<Session, EngineError> {
    let (session, end) = Session::pair();
    let thread = std::thread::Builder::new().name(name.into());
    thread
        .spawn(move || end.finish(run()))
        .map_err(|error| EngineError::Failed(format!("no thread could be started: {error}")))?;
    Ok(session)
}

/// Time spent, by stage.
#[derive(Debug, Default)]
pub struct Clock(Vec<Timing>);

impl Clock {
    pub fn time<T>(&mut self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        let elapsed = begun.elapsed();
        match self.0.iter_mut().find(|timing| timing.stage == stage) {
            Some(timing) => timing.elapsed += elapsed,
            None => self.0.push(Timing { stage, elapsed }),
        }
        done
    }

    /// In the order in which the stages began.
    pub fn into_timings(self) -> Vec<Timing> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Fps, Layout, Size};
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    /// Takes everything until it was asked so often.
    struct Audience {
        seen: Vec<&'static str>,
        asked: usize,
        leaves_after: usize,
    }

    impl FrameSink for Audience {
        fn begin(&mut self, _: VideoFormat) -> Result<(), Stopped> {
            self.seen.push("begin");
            Ok(())
        }
        fn stage(&mut self, _: Stage, _: u64, _: u64) -> Result<(), Stopped> {
            self.asked += 1;
            if self.asked > self.leaves_after { Err(Stopped) } else { Ok(()) }
        }
        fn frame(&mut self, _: Frame) -> Result<(), Stopped> {
            self.seen.push("frame");
            Ok(())
        }
        fn warn(&mut self, _: Warning) -> Result<(), Stopped> {
            self.seen.push("warning");
            Ok(())
        }
        fn checkpoint(&mut self, _: &[u8]) -> Result<(), Stopped> {
            self.seen.push("checkpoint");
            Ok(())
        }
    }

    fn audience(leaves_after: usize) -> Audience {
        Audience { seen: Vec::new(), asked: 0, leaves_after }
    }

    fn frame(size: Size) -> Frame {
        Frame::new(size, Layout::Rgb24, vec![0; 12]).unwrap()
    }

    #[test]
    fn cues_arrive_in_their_order_and_the_makers_word_is_the_last() {
        let mut out = audience(usize::MAX);
        let made = perform("test", &mut out, |stage| {
            let size = Size::new(2, 2);
            stage.tell(Cue::Begin(VideoFormat { size, layout: Layout::Rgb24, fps: Fps::whole(7) }))?;
            stage.tell(Cue::Frame(frame(size)))?;
            stage.tell(Cue::Checkpoint(Vec::new()))?;
            stage.tell(Cue::Warning(Warning::new("late", "a remark".to_owned())))?;
            Ok(5)
        });
        assert_eq!(made.unwrap(), 5);
        assert_eq!(out.seen, ["begin", "frame", "checkpoint", "warning"]);
        let broken = perform("test", &mut out, |_| Err::<(), _>(EngineError::Failed("why".into())));
        assert_eq!(broken.unwrap_err().to_string(), "the engine failed: why");
        let panicked = perform_to_the_end("test", &mut out, |_| -> Result<(), _> { panic!("for the test") });
        assert!(panicked.unwrap_err().to_string().contains("panicked"));
    }

    #[test]
    fn a_sink_that_breaks_stops_its_maker() {
        struct Broken;
        impl FrameSink for Broken {
            fn begin(&mut self, _: VideoFormat) -> Result<(), Stopped> {
                Ok(())
            }
            fn stage(&mut self, _: Stage, _: u64, _: u64) -> Result<(), Stopped> {
                panic!("for the test")
            }
            fn frame(&mut self, _: Frame) -> Result<(), Stopped> {
                Ok(())
            }
            fn warn(&mut self, _: Warning) -> Result<(), Stopped> {
                Ok(())
            }
            fn checkpoint(&mut self, _: &[u8]) -> Result<(), Stopped> {
                Ok(())
            }
        }
        let (left, heard) = channel();
        let make = move |stage: &Stagehand| {
            stage.tell(Cue::Stage(Stage::Denoising, 0, 1))?;
            // it computes, and says nothing for long
            while !stage.is_gone() {
                std::thread::yield_now();
            }
            left.send(()).unwrap();
            Ok(())
        };
        let caught =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| perform("test", &mut Broken, make)));
        assert!(caught.is_err());
        heard.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn who_computes_is_left_by_an_audience_that_leaves() {
        let (left, has_left) = channel();
        let mut out = audience(1);
        let made = perform("test", &mut out, move |stage| {
            while !stage.is_gone() {
                std::thread::sleep(Duration::from_millis(5)); // a net at work
            }
            left.send(stage.check()).unwrap();
            stage.check()
        });
        assert!(matches!(made, Err(EngineError::Stopped)));
        assert!(matches!(has_left.recv().unwrap(), Err(EngineError::Stopped)), "the maker left too");
    }

    #[test]
    fn a_device_is_had_by_one_and_not_waited_for_in_vain() {
        let turn = Arc::new(Turn::default());
        let ((had, is_had), (give_back, is_wanted_back)) = (channel(), channel());
        let holder = {
            let turn = Arc::clone(&turn);
            std::thread::spawn(move || {
                perform("holder", &mut audience(usize::MAX), move |stage| {
                    let _turn = turn.take(stage)?;
                    had.send(()).unwrap();
                    is_wanted_back.recv().unwrap();
                    Ok(())
                })
            })
        };
        is_had.recv().unwrap();
        // canceled while it waits: it leaves though the device is not free
        let waiting = Arc::clone(&turn);
        let made = perform_to_the_end("waiter", &mut audience(0), move |stage| waiting.take(stage).map(drop));
        assert!(matches!(made, Err(EngineError::Stopped)));
        give_back.send(()).unwrap();
        let next = Arc::clone(&turn);
        let made = perform("next", &mut audience(usize::MAX), move |stage| next.take(stage).map(drop));
        assert!(made.is_ok());
        holder.join().unwrap().unwrap();
    }

    #[test]
    fn time_is_added_up_by_stage() {
        let mut clock = Clock::default();
        for stage in [Stage::Denoising, Stage::Decoding, Stage::Denoising] {
            clock.time(stage, || std::thread::sleep(Duration::from_millis(2)));
        }
        let timings = clock.into_timings();
        assert_eq!(timings.iter().map(|t| t.stage).collect::<Vec<_>>(), [Stage::Denoising, Stage::Decoding]);
        assert!(timings[0].elapsed >= Duration::from_millis(4), "{timings:?}");
    }
}
