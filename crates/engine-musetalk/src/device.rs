//! The thread that owns the device: it makes faces for all sessions, those that wait at the same time in one batch. A session
//! asks ahead and takes its faces in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use candle_core::Tensor;
use contract::EngineError;
use layers::Probe;

use crate::generator::Generator;

/// One face to be made.
struct Ask {
    generator: Arc<Generator>,
    latents: Arc<[f32]>,
    context: Tensor,
    /// The largest batch its session wants to be part of.
    batch: usize,
    reply: SyncSender<Made>,
    /// Gone with its session.
    wanted: Weak<()>,
}

impl Ask {
    /// A session asks far ahead; when it leaves, nobody waits for what it asked for.
    fn is_wanted(&self) -> bool {
        self.wanted.strong_count() > 0
    }
}

type Made = Result<Vec<u8>, EngineError>;

/// A face on its way.
pub struct Coming {
    made: Receiver<Made>,
    _wanted: Arc<()>,
}

impl Coming {
    /// RGB, 256 x 256; None: it is not there in time.
    pub fn within(&mut self, time: Duration) -> Option<Made> {
        match self.made.recv_timeout(time) {
            Ok(made) => Some(made),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                Some(Err(EngineError::Failed("the device's thread dropped a face (a panic)".into())))
            }
        }
    }
}

/// Cheap to clone; the thread ends with the last of them.
#[derive(Clone)]
pub struct Device {
    asks: Sender<Ask>,
}

impl Device {
    pub fn start() -> Result<Self, EngineError> {
        let (asks, waiting) = channel();
        std::thread::Builder::new()
            .name("musetalk-device".into())
            .spawn(move || run(&waiting))
            .map_err(|error| EngineError::Failed(format!("no thread could be started: {error}")))?;
        Ok(Self { asks })
    }

    pub fn ask(
        &self,
        generator: &Arc<Generator>,
        latents: &Arc<[f32]>,
        context: Tensor,
        batch: usize,
    ) -> Coming {
        let (reply, coming) = sync_channel(1);
        let wanted = Arc::new(());
        let ask = Ask {
            generator: Arc::clone(generator),
            latents: Arc::clone(latents),
            context,
            batch,
            reply,
            wanted: Arc::downgrade(&wanted),
        };
        // a thread that has ended drops the reply, which `wait` tells
        let _ = self.asks.send(ask);
        Coming { made: coming, _wanted: wanted }
    }
}

fn run(waiting: &Receiver<Ask>) {
    let mut next = None;
    while let Some(first) = next.take().or_else(|| waiting.recv().ok()) {
        if !first.is_wanted() {
            continue;
        }
        let (batch, after) = gather(first, waiting);
        next = after;
        make(batch);
    }
}

/// Those that wait already and can be made together, a power of two: each size of a batch has to be learned by the kernels once.
fn gather(first: Ask, waiting: &Receiver<Ask>) -> (Vec<Ask>, Option<Ask>) {
    let mut batch = vec![first];
    loop {
        let most = batch.iter().map(|ask| ask.batch).min().unwrap_or(1);
        if batch.len() >= most {
            return (batch, None);
        }
        match waiting.try_recv() {
            Ok(ask) if !ask.is_wanted() => {}
            Ok(ask) if fits(&ask, &batch) => batch.push(ask),
            Ok(other) => return (batch, Some(other)),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return (batch, None),
        }
    }
}

fn fits(ask: &Ask, batch: &[Ask]) -> bool {
    let first = &batch[0];
    Arc::ptr_eq(&ask.generator, &first.generator)
        && ask.context.dims() == first.context.dims()
        && ask.batch > batch.len()
}

fn make(batch: Vec<Ask>) {
    let mut rest = &batch[..];
    while !rest.is_empty() {
        let (now, after) = rest.split_at(1 << rest.len().ilog2());
        // what a net does wrong costs its sessions, not the others
        let made = catch_unwind(AssertUnwindSafe(|| faces(now)));
        let why = match made {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("a net panicked; this is a bug in talkie".to_owned()),
        };
        if let Some(why) = why {
            for ask in now {
                let _ = ask.reply.try_send(Err(EngineError::Failed(format!("making a face: {why}"))));
            }
        }
        rest = after;
    }
}

/// Makes them and hands them out.
fn faces(asks: &[Ask]) -> candle_core::Result<()> {
    let latents: Vec<&[f32]> = asks.iter().map(|ask| &*ask.latents).collect();
    let contexts: Vec<&Tensor> = asks.iter().map(|ask| &ask.context).collect();
    let generator = &asks[0].generator;
    let predicted = generator.predict(&latents, &contexts, &Probe::off())?; // (b, 32, 32, 4)
    // one picture keeps a CPU busy, and eight would need eight times the memory
    let at_once = if predicted.device().is_cpu() { 1 } else { asks.len() };
    for (i, part) in asks.chunks(at_once).enumerate() {
        let faces = generator.decode(&predicted.narrow(0, i * at_once, part.len())?)?;
        for (ask, face) in part.iter().zip(faces) {
            // a session that has left does not take it
            let _ = ask.reply.try_send(Ok(face));
        }
    }
    Ok(())
}
